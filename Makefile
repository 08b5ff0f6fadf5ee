# make help lists the targets. Every target sets up .venv first when it is stale.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && { command -v "$$p"; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
DEMO ?= runs/demo

.PHONY: help venv demo test slow lint clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

venv: $(STAMP) ## set up .venv from the pinned constraints

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: asc_tf needs Python 3.11 or 3.12 on the" \
	"PATH; or name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up .venv with $(PYTHON) (TensorFlow is a large download) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv --clear .venv
	@# compat: the clone itself is on the path, so that Python finds the package from the
	@# folder above too, where the clone's own folder has the package's name.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat \
	--constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## train, evaluate, export and predict on synthetic scenes
	@$(BIN)/asc-tf demo --workdir=$(DEMO)

test: $(STAMP) ## run the tests (not the slow ones)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

slow: $(STAMP) ## run the slow tests
	@$(BIN)/python -m pytest -q -m slow

lint: $(STAMP) ## style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove .venv, caches and runs/demo
	rm -rf .venv runs/demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
