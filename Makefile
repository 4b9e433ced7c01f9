# Every target builds what it needs; nothing has to be installed by hand but Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP_FLAGS := -qq --disable-pip-version-check --no-input
# make image: the builder, the image that it starts from (Debian with Python 3.11, venv and pip), and its other flags.
BUILDER ?= $(shell command -v buildah || command -v docker)
BASE ?= python:3.11.13-slim-bookworm
IMAGE ?= syllabus-service
IMAGE_FLAGS ?=
# make demo: for example DEMO_FLAGS='--seconds 20 --seed 2'.
DEMO_FLAGS ?=
LISTEN ?= 127.0.0.1:50051
# make test: how many test files run side by side.
WORKERS ?= 2
# make bench: for example BENCH_FLAGS='--only main_job ingest'.
BENCH_FLAGS ?=
BENCH_RAY = $(if $(wildcard .venv-ray/ready),.venv-ray/ready,.venv-bench-ray/ready)

.PHONY: help demo test test-ray test-libraries test-syllabus lint format proto proto-check proto-release serve bench bench-growth bench-ray flamegraph test-bench soak chart image test-image test-hosts clean
.PHONY: lint-style lint-types lint-imports lint-image

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

# The environments, and the extras of pyproject.toml that each has. What is heavy has one of its own.
.venv/ready: EXTRAS := dev
.venv-ray/ready: EXTRAS := dev,ray,rllib
.venv-libraries/ready: EXTRAS := dev,libraries
.venv-syllabus/ready: EXTRAS := dev,bench
# Ray for the benchmarks where there is no .venv-ray: without RLlib and what it trains with.
.venv-bench-ray/ready: EXTRAS := dev,ray
.venv-chart/ready: EXTRAS := dev,chart
.venv/ready .venv-ray/ready .venv-bench-ray/ready .venv-libraries/ready .venv-syllabus/ready .venv-chart/ready: %/ready: pyproject.toml
	@test -x $*/bin/python || $(PYTHON) -m venv $*
	@$*/bin/pip install $(PIP_FLAGS) -e '.[$(EXTRAS)]'
	@touch $@

.venv-proto/ready: pyproject.toml
	@test -x .venv-proto/bin/python || $(PYTHON) -m venv .venv-proto
	@.venv-proto/bin/pip install $(PIP_FLAGS) grpcio-tools==1.75.1
	@touch $@

demo: .venv/ready  ## Train on a family of tasks with the embedded service, and compare two curricula (2 to 3 minutes)
	@$(BIN)/python -m examples.demo $(DEMO_FLAGS)

test: .venv/ready  ## The whole suite, but for what the other test targets run
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not ray and not libraries and not syllabus and not chart and not image and not hosts and not bench' tests
	$(BIN)/python -m pytest --doctest-modules --ignore syllabus_service/ray_engine/link_process.py syllabus_client syllabus_service  # it imports Ray

test-ray: .venv-ray/ready  ## Ray's tests, in an environment and a network namespace of their own
	@.ci/with-loopback-only true; status=$$?; \
	if [ $$status -eq 77 ]; then \
	  echo "test-ray: skipped: no network namespace can be made here, and Ray must not listen outside of one"; \
	elif [ $$status -ne 0 ]; then exit $$status; \
	else .ci/with-loopback-only .venv-ray/bin/python -m pytest -m ray tests/ray --ignore tests/ray/test_rllib.py \
	  && .ci/with-loopback-only .venv-ray/bin/python -m pytest -m ray tests/ray/test_rllib.py; fi  # one cluster a process

test-libraries: .venv-libraries/ready  ## The training libraries' tests, in an environment of their own
	.venv-libraries/bin/python -m pytest -m libraries tests/libraries

test-syllabus: .venv-syllabus/ready  ## Curricula of the published Syllabus, hosted
	.venv-syllabus/bin/python -m pytest -m syllabus tests/syllabus

lint: lint-style lint-types lint-imports lint-image proto-check  ## Style, types, import rules, the Dockerfile, the contract

lint-style: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: .venv/ready
	$(BIN)/mypy

lint-imports: .venv/ready
	$(BIN)/lint-imports --no-cache

lint-image: .venv/ready
	$(BIN)/hadolint Dockerfile deploy/examples/*.Dockerfile

format: .venv/ready  ## Bring the sources into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: .venv-proto/ready  ## Generate the stubs from the contract
	.venv-proto/bin/python -m grpc_tools.protoc -Isyllabus_client/wire=proto/syllabus/v1 \
	  --python_out=. --pyi_out=. --grpc_python_out=. syllabus_client/wire/curriculum.proto
	.venv-proto/bin/python -m grpc_tools.protoc -Isyllabus_service=proto/syllabus/journal/v1 \
	  --python_out=. --pyi_out=. syllabus_service/journal.proto
	.venv-proto/bin/python -m grpc_tools.protoc -Isyllabus_service/ray_engine=proto/syllabus/ray/v1 \
	  --python_out=. --pyi_out=. syllabus_service/ray_engine/calls.proto

proto-check: .venv/ready proto  ## The contract is well formed, breaks nobody, and the stubs are in sync with it
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	git diff --exit-code -- '*_pb2.py' '*_pb2.pyi' '*_pb2_grpc.py'

proto-release: .venv/ready  ## Freeze the contract: what proto-check compares against
	$(BIN)/buf build -o proto/released.binpb

serve: .venv/ready  ## A service on loopback, or on LISTEN=
	@$(BIN)/syllabus-service serve --listen $(LISTEN)

bench: .venv/ready  ## The budget, measured beside what else there is: tables, benchmarks/results, the docs (15 minutes, once the environments are there)
	-@$(MAKE) --no-print-directory --keep-going .venv-syllabus/ready $(BENCH_RAY)
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

bench-growth: .venv/ready  ## Curves: environments, processes, sessions, tasks, episode length (20 minutes)
	-@$(MAKE) --no-print-directory .venv-syllabus/ready
	$(BIN)/python -m benchmarks --growth $(BENCH_FLAGS)

bench-ray: .venv/ready  ## What front doors and actors on Ray cost (5 minutes)
	-@$(MAKE) --no-print-directory $(BENCH_RAY)
	$(BIN)/python -m benchmarks --only ray_front_doors $(BENCH_FLAGS)

flamegraph: .venv/ready  ## Where a client's and a service's time goes, as pictures by py-spy
	$(BIN)/python -m benchmarks.flamegraph

test-bench: .venv/ready  ## Every benchmark as a smoke run
	$(BIN)/python -m pytest -m bench tests/benchmarks

soak: .venv/ready  ## Faults for a long time: kills, cut connections, replaced workers
	$(BIN)/python -m tests.soak

chart: .venv-chart/ready  ## The Helm chart, rendered by Helm's engine and checked against Kubernetes' schemas, and deploy/examples
	.venv-chart/bin/python -m pytest -p no:cloudcoil -m chart tests/deploy

image:  ## The container image, by buildah or docker; BASE=, IMAGE= and IMAGE_FLAGS= change it
	@test -n "$(BUILDER)" || { echo "image: needs buildah or docker; see docs/operations.md"; exit 1; }
	$(BUILDER) build $(if $(findstring buildah,$(BUILDER)),--format docker) --build-arg BASE=$(BASE) --tag $(IMAGE) $(IMAGE_FLAGS) .

test-image: .venv-chart/ready  ## The image, built on Debian's packages and run read-only as nobody (root only)
	@if [ "$$(id -u)" -ne 0 ]; then echo "test-image: skipped: building a root and entering it takes root"; \
	elif ! command -v apt-get >/dev/null; then echo "test-image: skipped: the base image is made of Debian's packages"; \
	else deploy/install-image-tools && .venv-chart/bin/python -m pytest -p no:cloudcoil -m image tests/deploy; fi

test-hosts: .venv/ready  ## A cluster on hosts of its own, in network namespaces: loss, partition, dead hosts (root only)
	@if [ "$$(id -u)" -ne 0 ] || [ ! -e /dev/net/tun ]; then echo "test-hosts: skipped: it takes root and /dev/net/tun"; \
	elif ! command -v ip >/dev/null; then echo "test-hosts: skipped: it takes iproute2"; \
	else unshare --net --mount --pid --fork --kill-child --mount-proc \
	  sh -c 'ip link set lo up && $(BIN)/python -m pytest -m hosts tests/hosts; exit $$?'; fi

clean:  ## Remove what was built
	rm -rf .venv .venv-chart .venv-ray .venv-bench-ray .venv-libraries .venv-syllabus .venv-proto build dist *.egg-info demo-output .image-base
