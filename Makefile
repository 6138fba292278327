# `make study` and `make test` need only Python >= 3.11, make and git.
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= digits
READY := .venv/.ready

.PHONY: study test bench lint types setup test-cluster chaos test-browser audit fuzz lock clean

study: $(READY)
	$(BIN)/python tune/run.py --study $(STUDY)

test: $(READY)
	$(BIN)/pytest -q -n 2 --dist loadfile --timeout 300 -m "not cluster and not chaos and not browser and not compiler"

# BENCH="--data-root VOCdevkit --weights mobilenet_v2.safetensors" measures on real photos.
bench: $(READY)
	$(BIN)/python benchmarks/bench.py $(BENCH)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

test-cluster: $(READY)
	$(BIN)/pytest -q -m cluster

chaos: $(READY)
	$(BIN)/pytest -q -n 2 --dist loadfile --max-worker-restart 0 -m chaos tests tests/chaos

test-browser: $(READY)
	$(BIN)/pytest -q -m browser

# Fails as well when a package could not be looked up: what was not audited is not safe.
audit: $(READY)
	$(BIN)/bandit -q -c pyproject.toml -r plml tune ablations benchmarks
	$(BIN)/pip-audit -r requirements.lock --no-deps --disable-pip --strict --progress-spinner off || \
		{ echo "audit: pip-audit failed; the packages of requirements.lock are not all known to be safe" >&2; exit 1; }

# Damaged files for every loader: FUZZ_SECONDS for each of about 80 targets; the figures go to fuzz.jsonl.
FUZZ_SECONDS ?= 30
fuzz: $(READY)
	PLML_FUZZ_SECONDS=$(FUZZ_SECONDS) PLML_FUZZ_REPORT=fuzz.jsonl $(BIN)/pytest -q --maxfail 1000 tests/security -k fuzz

setup: $(READY)

# The exact versions of requirements.lock, then the project itself, editable.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plml needs Python 3.11 or newer; run make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (PyTorch is large; a minute or a few)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $(READY)

# Writes requirements.lock anew from the lower bounds in pyproject.toml.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
		--upgrade -o requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
