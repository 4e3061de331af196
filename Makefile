# `make demo` shows the main job without AWS, `make test` runs all tests; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo dev test chaos screenshots bench contract test-lowest test-newest check sbom image-steps recoveries format lock clean

demo: $(READY)
	$(BIN)/python -m bedrock_batch_assets.local.demo $(if $(KEEP),--keep)

dev: $(READY)
	$(BIN)/python -m bedrock_batch_assets.local.dev

test: $(READY)
	$(BIN)/pytest

# Batches while processes are killed and the service fails: twenty minutes. `make test` runs a sample of it.
chaos: $(READY)
	$(BIN)/python -m bedrock_batch_assets_tests.chaos

# The pictures of the README, taken from the real UI. Needs Chromium.
screenshots: $(READY)
	$(BIN)/python -m bedrock_batch_assets_tests.browser.screenshots

# Speed, memory and the queue: a quarter of an hour, on a machine that does nothing else. Writes benchmarks/report/.
bench: $(READY)
	$(BIN)/python -m benchmarks

# The private parts of Dagster, botocore and moto that are used, checked against another Dagster.
contract: $(READY)
	PYTHON=$(PYTHON) .ci/contract $(or $(DAGSTER),$(error say which, as in: make contract DAGSTER=1.13.29))

# Tests with the lowest, and with the newest, versions that pyproject.toml allows; TESTS says which tests.
test-lowest: $(READY)
	PYTHON=$(PYTHON) .ci/resolved lowest-direct $(TESTS)

test-newest: $(READY)
	PYTHON=$(PYTHON) .ci/resolved highest $(TESTS)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/deptry .
	$(BIN)/cfn-lint deploy/data.yaml deploy/hosting.yaml

# What the image of deploy/Dockerfile is made of, as CycloneDX. The tool has an environment of its own, since it holds
# packages back.
sbom:
	$(PYTHON) -m venv .scratch/sbom
	.scratch/sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	.scratch/sbom/bin/cyclonedx-py requirements deploy/requirements.lock --output-reproducible --output-file .scratch/sbom.cdx.json

# The steps of deploy/Dockerfile, without a container engine.
image-steps: $(READY)
	$(BIN)/python -m bedrock_batch_assets_tests.hosting.image

# How long each launcher takes to go on after a kill, a cancel, an outage and a redeploy: docs/deployment.md has the table.
recoveries: $(READY)
	$(BIN)/python -m bedrock_batch_assets_tests.hosting

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pins for all supported Python versions, with hashes and without addresses: of all, and of the image.
lock: $(READY)
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
		--all-extras --group dev --quiet pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --constraint requirements.lock \
		--extra delta --extra ecs --extra huggingface --extra postgres --group build --quiet pyproject.toml \
		--output-file deploy/requirements.lock

clean:
	rm -rf $(VENV) .scratch .dagster .local_aws

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed; choose one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(READY)
