# Everything the project does, by the names its pages and its CI use.

PYTHON ?= python3
OUT ?= out
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq
PHOTOS ?=
REMBG ?= $(wildcard $(VENV)/bin/rembg)
ON_GPU := $(RUN) -m portrayer bench --require-gpu --batch 1,2,4,8,16,32,64
STAMP := $(VENV)/.installed
OLD := import sys; sys.exit(sys.version_info < (3, 11) and "Portrayer needs Python 3.11 or newer and \
	this is %d.%d: name another, as in make PYTHON=python3.12" % sys.version_info[:2])

.DEFAULT_GOAL := help
.PHONY: help install demo run test cluster check bench bench-gpu screenshots clean

help: ## say what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: $(STAMP) ## set up .venv with Portrayer and its tools; again costs nothing

$(STAMP): pyproject.toml constraints.txt
	@$(RUN) -c '' 2>/dev/null || { $(PYTHON) -c '$(OLD)' && $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing into $(VENV); the first time takes some minutes, torch is large."
	@$(PIP) install -c constraints.txt -e ".[demo,dev]"
	@touch $@

demo: install ## cut out a folder of portraits into OUT (out)
	@$(RUN) -m portrayer demo --out $(OUT)

run: install ## serve the HTTP API on this machine
	@$(RUN) -m portrayer serve

test: install ## run the tests
	@$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile

cluster: install ## run the tests that need a Ray cluster; its nodes are on this machine
	@$(PIP) install -c constraints.txt -e ".[ray]"
	@$(RUN) -m pytest -m cluster tests/jobs/test_cluster.py

check: install ## lint, format, types and the floors
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy --strict portrayer
	@$(VENV)/bin/lint-imports

bench: install ## measure; with PHOTOS=FOLDER also side by side with its peers
	@$(RUN) -m portrayer bench $(if $(PHOTOS),--photos "$(PHOTOS)")
	@$(if $(PHOTOS),$(RUN) bench/run.py "$(PHOTOS)" $(if $(REMBG),--rembg "$(REMBG)"), \
		echo "Peers need photos: make bench PHOTOS=FOLDER")

bench-gpu: install ## measure on an NVIDIA GPU: both precisions, then with 4 and 6 GiB of it
	@for precision in float16 float32; do $(ON_GPU) --precision $$precision || exit; done
	@for memory in 4GiB 6GiB; do $(ON_GPU) --gpu-memory $$memory --hard-cap || exit; done

screenshots: install ## draw docs/screenshots in the system's Chromium
	@$(PIP) install -c constraints.txt -e ".[browser]"
	@$(RUN) docs/screenshots.py

clean: ## remove what was made, except .venv
	@rm -rf out build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find portrayer tests train bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
