# make serve   a vision-language model server on http://127.0.0.1:8000, nothing to download but Python packages
# make test    the tests            make check   style, types, architecture
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
.DEFAULT_GOAL := help
.PHONY: help install serve test check evaluate train clean

help:
	@sed -n 's/^# //p' Makefile

install: .venv/installed

serve: .venv/installed
	$(BIN)/foveal serve --host $(HOST) --port $(PORT)

test: .venv/tested-with
	$(BIN)/python -m pytest

check: .venv/tested-with
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

evaluate: .venv/tested-with
	$(BIN)/python -m training.evaluate --url http://$(HOST):$(PORT)/v1

train: .venv/tested-with
	$(BIN)/python -m training.train training/mini.toml

clean:
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Foveal needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	@echo "Installing Foveal into .venv (torch is the large part; this takes a minute or two) ..."
	$(PIP) --editable .
	@touch $@

.venv/tested-with: .venv/installed
	$(PIP) --editable '.[test,check]'
	@touch $@
