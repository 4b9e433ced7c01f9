# The cluster example as an image: the service's, and examples/. Learner and workers are run from it.
#   buildah build --build-arg IMAGE=syllabus-service:0.1.0 --tag syllabus-training:0.1.0 -f deploy/examples/training.Dockerfile .
ARG IMAGE=syllabus-service:0.1.0
FROM ${IMAGE}
COPY examples /opt/training/examples
WORKDIR /opt/training
ENTRYPOINT ["python3", "-m"]
CMD ["examples.cluster.worker", "--help"]
