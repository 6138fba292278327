# `make study` and `make test` need only Python >= 3.11, make and git.
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= digits
READY := .venv/.ready

.PHONY: study up down test bench lint types setup test-cluster test-containers test-docs chaos test-browser docs docs-serve audit fuzz dist lock clean

study: $(READY)
	$(BIN)/python tune/run.py --study $(STUDY)

# PostgreSQL, MLflow, a Ray cluster and STUDY on it in containers; needs only Docker (or COMPOSE=podman-compose).
# `make down` stops them; volumes keep everything.
COMPOSE ?= docker compose
up: docker/.env
	STUDY=$(STUDY) $(COMPOSE) -f docker/compose.yaml up -d --build
	$(COMPOSE) -f docker/compose.yaml logs -f runner

down:
	$(COMPOSE) -f docker/compose.yaml down

docker/.env:
	@umask 077; $(PYTHON) -c 'import re, secrets; text = open("docker/env.example").read(); \
		print(re.sub(r"(?m)^(POSTGRES_PASSWORD|RAY_AUTH_TOKEN)=$$", lambda name: name[0] + secrets.token_hex(32), text))' >$@

test: $(READY)
	$(BIN)/pytest -q -n 2 --dist loadfile --timeout 300 -m "not cluster and not chaos and not browser and not compiler and not docs and not containers"

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

# The slow blocks of README and docs; PLML_DATA_DIR names the folder of real photos and weights.
test-docs: $(READY)
	$(BIN)/pytest -q -n 2 --dist loadgroup -m docs tests/docs

# The site, into the folder site. A link that leads nowhere is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8000

# Options of `podman build` that a machine needs: PLML_PODMAN_BUILD="--network=host" make test-containers
test-containers: $(READY)
	$(BIN)/pytest -q -m containers tests/containers

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

# Source archive and wheel, in dist/; every package, study, grid and recipe is in both.
dist: $(READY)
	$(BIN)/python -m build --outdir dist

# Writes requirements.lock anew from the lower bounds in pyproject.toml.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
		--upgrade -o requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
