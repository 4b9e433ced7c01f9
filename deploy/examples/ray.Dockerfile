# RLlib's example as an image: Ray's own, with this package and its extra rllib. Ray and Python are those of the base.
#   buildah build --tag syllabus-training-ray:0.1.0 -f deploy/examples/ray.Dockerfile .
ARG BASE=rayproject/ray:2.60.0-py311-cpu
FROM ${BASE}
WORKDIR /home/ray/training
COPY pyproject.toml README.md LICENSE ./
COPY syllabus_client syllabus_client
COPY syllabus_service syllabus_service
COPY examples examples
# hadolint ignore=DL3013 # what is installed is this source tree
RUN pip install --no-cache-dir '.[rllib,service]'
