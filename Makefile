# Every target builds what it needs; nothing has to be installed by hand but Python 3.11, git and make.
PYTHON ?= python3.11
BIN := .venv/bin
PIP_FLAGS := --quiet --disable-pip-version-check

.PHONY: demo test test-ray lint format proto proto-check serve bench image clean

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) -e '.[dev]'
	touch $@

.venv-ray/ready: pyproject.toml
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip install $(PIP_FLAGS) -e '.[dev,ray]'
	touch $@

.venv-proto/ready: pyproject.toml
	test -x .venv-proto/bin/python || $(PYTHON) -m venv .venv-proto
	.venv-proto/bin/pip install $(PIP_FLAGS) grpcio-tools==1.75.1
	touch $@

demo: .venv/ready  ## Train on a task family with the embedded service, and compare two curricula
	$(BIN)/python -m examples.demo

test: .venv/ready  ## The whole suite; Ray in its own environment and network namespace
	$(BIN)/python -m pytest

lint: .venv/ready proto-check  ## Style, types, import rules, contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: .venv-proto/ready  ## Generate the stubs from the contract
	.venv-proto/bin/python -m grpc_tools.protoc -Isyllabus_client/wire=proto/syllabus/v1 \
	  --python_out=. --pyi_out=. --grpc_python_out=. syllabus_client/wire/curriculum.proto
	.venv-proto/bin/python -m grpc_tools.protoc -Isyllabus_service=proto/syllabus/journal/v1 \
	  --python_out=. --pyi_out=. syllabus_service/journal.proto

proto-check: .venv/ready proto  ## The contract is well formed, breaks nobody, and the stubs are in sync with it
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	git diff --exit-code -- '*_pb2.py' '*_pb2.pyi' '*_pb2_grpc.py'

proto-release: .venv/ready  ## Freeze the contract: what proto-check compares against
	$(BIN)/buf build -o proto/released.binpb

serve: .venv/ready  ## A service on loopback
	$(BIN)/syllabus-service serve --listen 127.0.0.1:50051

clean:
	rm -rf .venv .venv-ray .venv-proto build dist *.egg-info
