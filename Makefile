# The commands of this project. Only Python 3.11 to 3.14 is needed; see install.sh.
#   CORES=2                  how many cores the demo uses (default: all)
#   PYTHON=/path/to/python   what .venv is built on (default: python3, or the newest on PATH)
#   TESTS=tests/unit         which tests to run (default: all that need no service)
#   WORKERS=2                how many test files run side by side
#   LOCK_FLAGS=--upgrade     how to resolve the pins anew (default: change as few as possible)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-slurm lock clean

CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
TESTS ?= tests --ignore=tests/slurm --ignore=tests/browser
WORKERS ?= 2
REPORT := results/reports/demo

unexport PYTHONPATH PYTHONHOME
IN_ENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s  %s\n", $$1, $$2}' Makefile

install: ## build .venv from requirements.lock, if it is not up to date
	@PYTHON='$(PYTHON)' sh install.sh

demo: install ## run the default experiment and print its comparison table
	@$(IN_ENV) snakemake --cores $(CORES)
	@printf '\nResults: %s\nReport:  %s\n\n' '$(REPORT)/' '$(REPORT)/report.html'
	@cat $(REPORT)/table.md

test: install ## check style and run the test suite
	$(IN_ENV) ruff check .
	$(IN_ENV) ruff format --check .
	$(IN_ENV) snakefmt --check Snakefile rules
	$(IN_ENV) python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(TESTS)

test-slow: install ## run the tests that take minutes each
	$(IN_ENV) python -m pytest -n $(WORKERS) --dist loadfile -m slow $(TESTS)

# Installs Debian's Slurm, as root; anywhere else the tests are skipped and say why.
test-slurm: install ## run the tests that need Slurm: root on Debian or Ubuntu
	sh tests/slurm/cluster.sh install || true
	$(IN_ENV) python -m pytest tests/slurm

lock: install ## resolve pyproject.toml into requirements.lock and environment.yml
	@command -v uv >/dev/null || test -x .venv/bin/uv || .venv/bin/python -m pip install uv
	$(IN_ENV) uv pip compile --quiet --universal --python-version 3.11 --group dev --no-header \
		$(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	$(IN_ENV) python -m workflow_scripts.environment

# .snakemake stays: it remembers which results are incomplete.
clean: ## remove .venv and caches, never results
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
	find . \( -path ./results -o -path ./.git -o -path ./.snakemake \) -prune \
		-o -type d -name __pycache__ -prune -exec rm -rf {} +
