# Everything that is done with this repository. `make` alone lists it.
# Settings: PYTHON is the interpreter to set up with (3.11 or newer), VENV where to, BENCH what to measure.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.set-up
DEV := $(VENV)/.set-up-dev
DEPLOY := $(VENV)/.set-up-deploy
BENCH_TOOLS := $(VENV)/.set-up-bench-tools
INSTALL := sh deploy/install-lock $(BIN)/python
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

.NOTPARALLEL:
.PHONY: help setup run demo test test-clients test-newest test-deploy test-replicas test-restarts unit lint format bench corpus bench-tools soak image sbom lock lock-npm clean

help: ## list what can be made (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: $(RUN) ## install what running needs into .venv, exactly as locked, where that is not done yet

run: setup ## serve on the default ports; with no XERO_PROXY_UPSTREAM, in front of the built-in simulator
	@$(BIN)/xero-proxy serve $(if $(XERO_PROXY_UPSTREAM),,--simulator)

demo: setup ## simulator, sidecar and a sample load together
	@$(BIN)/xero-proxy demo

test: lint unit ## run every check: lint, then all tests, with every branch of proxy/core covered

unit: $(DEV) ## run the tests alone: those of the pure core with every branch covered, then the others
	$(BIN)/python -m pytest tests/core --cov --numprocesses 2
	$(BIN)/python -m pytest --ignore tests/core --numprocesses 3 --dist worksteal

test-deploy: $(DEPLOY) ## check everything in deploy/ with its own tool, and say which tools are missing
	$(BIN)/mypy -p deploy -p tests.deploy
	$(BIN)/python -m pytest tests/deploy

test-replicas: $(DEV) ## let replicas share a real server that fails in every way, in real time: six minutes
	$(BIN)/python -m pytest tests/replicas -s

test-restarts: $(DEV) ## kill a sidecar under load 200 times, and see what the next one knows
	RESTARTS=200 $(BIN)/python -m pytest tests/faults/test_kills.py

test-clients: $(DEV) ## drive real clients through the sidecar; installs them first, and says which cannot be (Node 20)
	$(BIN)/python -m tests.clients.install
	$(BIN)/python -m pytest tests/clients --numprocesses 4 --dist worksteal

test-newest: $(DEV) ## try what speaks with Xero on the newest aiohttp, alphas included; nothing depends on it
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(VENV)/newest --prerelease allow --no-deps --upgrade aiohttp
	PYTHONPATH=$(VENV)/newest $(BIN)/python -c "import aiohttp; print('aiohttp', aiohttp.__version__)"
	PYTHONPATH=$(VENV)/newest $(BIN)/python -m pytest tests/http tests/corpus tests/request/test_failures.py tests/faults/test_upstream*.py --numprocesses 2

lint: $(DEV) ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## let ruff put right what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## measure limits and speed beside others, in 8 minutes; less: make bench BENCH="peers --quick", or --help
	@$(BIN)/python -m tests.bench $(BENCH)

bench-tools: $(BENCH_TOOLS) ## install Envoy for the bench, and say what else it compares with
	@$(BIN)/python -m tests.bench.peers.tools

corpus: $(DEV) ## print what xero-proxy, nginx and HAProxy do with a corpus of hostile messages (RAW_HTTP_CORPUS names it)
	@$(BIN)/python -m tests.corpus

soak: $(DEV) ## load sidecar and simulator with faults for ten minutes and check every request (SOAK="--seconds 60")
	@$(BIN)/python -m tests.soak $(SOAK)

image: setup ## build the container image and print what it takes; where no Docker engine answers, root starts one for it
	@$(BIN)/python -m deploy.image

sbom: $(DEPLOY) ## list what the image is made of in deploy/sbom.cdx.json, from the lock
	$(BIN)/python -m deploy.sbom

lock: $(DEV) ## resolve the locks again after a change of what is wanted (newest of all: make lock UPGRADE=--upgrade)
	$(BIN)/uv $(COMPILE) $(UPGRADE) pyproject.toml --output-file requirements.lock
	$(BIN)/uv $(COMPILE) $(UPGRADE) pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(BIN)/uv $(COMPILE) $(UPGRADE) pyproject.toml --group deploy --constraint requirements-dev.lock --output-file deploy/requirements.lock
	for name in xero-python pyxero requests httpx localstack-xero; do $(BIN)/uv $(COMPILE) $(UPGRADE) tests/clients/locks/$$name.in --output-file tests/clients/locks/$$name.txt || exit; done
	$(BIN)/uv $(COMPILE) $(UPGRADE) --no-deps tests/clients/locks/openapi.in --output-file tests/clients/locks/openapi.txt
	echo hatchling | $(BIN)/uv $(COMPILE) --constraint requirements-dev.lock - --output-file deploy/build.lock

lock-npm: ## the same for the Node programs that make test-clients installs
	for name in xero-node xero-mcp-server prism; do (cd tests/clients/locks/$$name && npm update --package-lock-only --omit-lockfile-registry-resolved) || exit; done

clean: ## remove what was made here, the virtual environments too
	rm -rf .venv .venv3* .clients .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find proxy config tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made anew whenever a lock changes, so nothing is left in it from an older one.
$(RUN): pyproject.toml requirements.lock requirements-dev.lock deploy/build.lock deploy/install-lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	@echo "Setting up $(VENV) with $$($(PYTHON) --version), once; this can take a minute."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) deploy/build.lock requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUN)
	@echo "Adding what the checks need to $(VENV)."
	@$(INSTALL) requirements-dev.lock
	@touch $@

$(DEPLOY): $(DEV) deploy/requirements.lock
	@$(INSTALL) deploy/requirements.lock
	@touch $@

$(BENCH_TOOLS): $(DEV) tests/bench/peers/tools.txt
	@$(INSTALL) tests/bench/peers/tools.txt
	@touch $@
