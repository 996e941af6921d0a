# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-notebooks lint docs notebook lock sbom clean

setup: .venv/.ready

.venv/.ready: pyproject.toml requirements.txt tools/installer.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'ecmvae needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tools/installer.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/ecmvae demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_imports.py
	$(BIN)/python tools/check_words.py
	$(BIN)/python tools/check_links.py
	$(BIN)/pip-licenses --python=$(BIN)/python >/dev/null

# Bytecode is kept even where the environment says otherwise: the tests start dozens of processes, and without it each
# of them compiles torch and Lightning again, which takes longer than what is tested.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2

test: lint
	$(PYTEST) --dist loadfile --no-loadscope-reorder -m 'not slow and not notebook and not gpu and not network'

# The notebooks of the docs from top to bottom, and whether what they show is true.
test-notebooks: setup
	$(PYTEST) -m notebook tests/test_notebooks.py

notebook: setup
	$(BIN)/python tools/run_notebook.py docs/notebooks/*.ipynb

docs: setup
	$(BIN)/mkdocs build --strict

# Versions and hashes of everything that `make setup` installs. UPGRADE=--upgrade takes the newest versions.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11.5 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command 'make lock' --quiet $(UPGRADE)
lock: setup
	$(COMPILE) pyproject.toml --extra all --extra dev --output-file requirements.txt
	echo uv | $(COMPILE) - --output-file tools/installer.txt

# A CycloneDX list of what is installed, with licences.
sbom: setup
	mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment $(BIN)/python \
		--pyproject pyproject.toml --output-reproducible --output-file dist/ecmvae.cdx.json

clean:
	rm -rf .venv site dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
