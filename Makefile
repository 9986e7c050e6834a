# Everything a fresh machine needs: Python ≥ 3.11, Node ≥ 20 and make. Stamps in .make/ keep what is done from being
# done again.

PYTHON ?= python3
NPM ?= npm
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := .make
PAGES := frontend/dist/index.html
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
FUZZ_CASES ?= 10000

# Tests run in a process per processor (WORKERS=0: in one), and what they import is compiled once, not by each of them.
WORKERS ?= auto
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

FRONTEND_SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -path frontend/dist -prune -o -type f -print 2>/dev/null)
TORCH := $(shell grep '^torch==' constraints.txt)

# The parts of `make check`, side by side; an old make cannot keep the output of each together.
CHECKS := check-style check-layers check-declared check-types check-contract check-page-style check-page-types check-page-tests
TOGETHER := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run serve test test-all test-fast check $(CHECKS) fmt fuzz faults bench openapi types e2e screenshots stories featured wheel docs clean python browser

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(STAMPS)/python $(PAGES) ## Set up what is missing and serve http://127.0.0.1:8000 (HOST=, PORT=)
	$(BIN)/unweave serve --host $(HOST) --port $(PORT) $(ARGS)

test: $(STAMPS)/test $(PAGES) $(STAMPS)/browser $(STAMPS)/postgres ## Set up what tests need and run them (ARGS=…)
	$(PYTEST) -m "not long" $(ARGS)

test-all: $(STAMPS)/test $(PAGES) $(STAMPS)/browser $(STAMPS)/postgres ## Those too that others cover more briefly
	$(PYTEST) $(ARGS)

test-fast: $(STAMPS)/test ## The tests that take seconds
	$(PYTEST) -m "not slow and not real and not e2e" $(ARGS)

e2e: $(STAMPS)/test $(PAGES) $(STAMPS)/browser ## The tests that drive a browser
	$(PYTEST) tests/e2e $(ARGS)

screenshots: $(STAMPS)/test $(PAGES) $(STAMPS)/browser ## Pictures of every page for docs/ (ARGS=PAGE …)
	$(BIN)/python -m tests.e2e.screenshots $(ARGS)

stories: $(STAMPS)/test $(PAGES) $(STAMPS)/browser ## Walk ten stories on the page: clicks and times (ARGS="--keyboard STORY …")
	$(BIN)/python -m tests.e2e.stories $(ARGS)

check: $(STAMPS)/test $(STAMPS)/node ## Lint, formatting, import rules, dependencies, types, contract, front-end tests
	@$(MAKE) --no-print-directory $(TOGETHER) -j $(JOBS) $(CHECKS)

check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-layers:
	$(BIN)/lint-imports

# Once without the test tools, which the product must do without, and once with the tests, where all are used.
check-declared:
	$(BIN)/python -m deptry . --no-ansi
	$(BIN)/python -m deptry . --no-ansi --optional-dependencies-dev-groups postgres --exclude '\.venv'

check-types:
	$(BIN)/basedpyright

check-contract:
	$(BIN)/python -m backend.openapi --check

check-page-style:
	cd frontend && $(NPM) run --silent lint

check-page-types:
	cd frontend && $(NPM) run --silent typecheck

check-page-tests:
	cd frontend && $(NPM) run --silent test

fmt: $(STAMPS)/test $(STAMPS)/node ## Format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd frontend && $(NPM) run --silent format

fuzz: $(STAMPS)/test ## 10,000 made-up requests against the API's own document (FUZZ_CASES=)
	FUZZ_CASES=$(FUZZ_CASES) $(PYTEST) tests/api/test_schema.py $(ARGS)

faults: $(STAMPS)/test $(STAMPS)/postgres ## Kill, fill and damage things, one JSON object a fault (KILLS=, SEED=, ARGS=)
	$(BIN)/python -m tests.faults $(ARGS)

bench: $(STAMPS)/test ## Benchmarks, one JSON object a line
	$(BIN)/python -m tests.bench $(ARGS)

openapi: $(STAMPS)/python $(STAMPS)/node ## Write frontend/openapi.json and the TypeScript types from it
	$(BIN)/python -m backend.openapi
	cd frontend && $(NPM) run --silent gen

featured: $(STAMPS)/python ## Compute the featured findings anew from backend/featured/specs.yaml
	$(BIN)/python -m backend.commands.feature $(ARGS)

wheel: $(STAMPS)/test $(PAGES) ## Build dist/unweave-….whl and .tar.gz
	$(BIN)/python -m build --no-isolation

docs: $(STAMPS)/test ## Build the site of the documentation into build/site
	$(BIN)/python -m mkdocs build --quiet --strict --config-file .ci/mkdocs.yml

clean: ## Remove what was built here (not the home folder)
	rm -rf $(STAMPS) $(VENV) frontend/node_modules frontend/dist

# --- set-up -----------------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Unweave needs Python 3.11 or newer; this is %d.%d. Give another with PYTHON=…" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch comes first and by itself: resolved together with the rest, another build of it may be chosen.
$(STAMPS)/python: pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p $(STAMPS)
	@echo "Installing $(TORCH) (the largest piece; minutes on a slow line)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@echo "Installing Unweave and its packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(STAMPS)/test: $(STAMPS)/python
	@echo "Installing what the tests and checks need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

# `npm ci` refuses a lock file that lacks the optional packages of another platform; `npm install` finds them and keeps
# every version that is locked.
$(STAMPS)/node: frontend/package-lock.json
	@mkdir -p $(STAMPS)
	@node -e 'if (+process.versions.node.split(".")[0] < 20) { console.error("Unweave needs Node 20 or newer; this is " + process.version); process.exit(1) }'
	@echo "Installing the front-end's packages"
	@cd frontend && ($(NPM) ci --silent --no-audit --no-fund || $(NPM) install --no-save --loglevel=error --no-audit --no-fund)
	@touch $@

$(PAGES): $(STAMPS)/node $(FRONTEND_SOURCES)
	@echo "Building the front-end"
	@cd frontend && $(NPM) run --silent build
	@touch $@

# The tests on PostgreSQL are skipped where there is none.
$(STAMPS)/postgres: $(STAMPS)/test
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		echo "PostgreSQL is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing PostgreSQL"; \
		(apt-get install -y -qq postgresql >/dev/null 2>&1) || \
			(apt-get update -qq && apt-get install -y -qq postgresql >/dev/null) || true; \
	fi
	@touch $@

# A Chromium that is there is used; else the system's package where we may install it, else Playwright's own.
$(STAMPS)/browser: $(STAMPS)/test
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then \
		echo "A browser is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing chromium"; \
		(apt-get install -y -qq chromium >/dev/null 2>&1) || \
			(apt-get update -qq && apt-get install -y -qq chromium >/dev/null) || $(BIN)/playwright install chromium; \
	else \
		$(BIN)/playwright install chromium; \
	fi
	@touch $@
