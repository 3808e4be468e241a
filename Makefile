# Every target sets up what it needs: uv if it is there, else venv + pip. Needs Python 3.11+ and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
QUIET := $(if $(CI),-q)
NUMERIC := tests/layers tests/losses tests/students tests/export
OLD_CPU := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell

.PHONY: demo test check docs setup clean help

help:
	@echo "make demo   distil a clause student on bundled digits and print the verdict"
	@echo "make test   lint, types, import contracts, doctests and tests, the numeric ones on an older CPU too"
	@echo "make check  the quick half of make test: lint, types, import contracts"
	@echo "make docs   the site in build/site, offline"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stillhouse needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@echo "make setup: fetching everything that stillhouse's tests need into $(VENV), 7 GB on the disk; torch with CUDA is 5.3 GB of it."
	@echo "            Less: pip install . (0.3 GB, no torch), or torch for CPUs first; see docs/scale.md"
	@if command -v uv >/dev/null 2>&1; then \
		([ -x $(BIN)/python ] || uv venv -q --python $(PYTHON) $(VENV)) && \
		uv pip install $(QUIET) --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		([ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)) && \
		$(BIN)/pip install $(QUIET) --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

demo: setup
	$(BIN)/stillhouse demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile  # what a file prepares is made once; one thread a worker: more would wait for each other
	OMP_NUM_THREADS=1 $(OLD_CPU) $(BIN)/pytest -n $(WORKERS) -q $(NUMERIC)  # again, as a CPU with AVX2 and nothing newer

clean:
	rm -rf $(VENV) runs

docs: setup
	$(BIN)/mkdocs build --strict --quiet
	@echo "docs: build/site/index.html"
