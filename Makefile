# Every target sets up what it needs with venv and pip. Needs Python 3.11+ and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PIP := $(BIN)/pip install -q --disable-pip-version-check
CPU_TORCH := 2.13.0+cpu
CPU_TORCHVISION := 0.28.0
installed = @begun=$$(date +%s); $(PIP) -c $(VENV)/constraints.txt -e '$(1)' && \
	echo "make: $(1) in $$(($$(date +%s) - begun)) s, $$(du -sm $(VENV) | cut -f1) MB in $(VENV)"
NUMERIC := tests/layers tests/losses tests/students tests/export
OLD_CPU := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell

.PHONY: demo test test-all check docs setup clean help

help:
	@echo "make demo   teach readable students from 100 labels and print the verdict"
	@echo "make test   lint, types, import contracts, doctests and tests"
	@echo "make test-all  the rest: slow and rare tests, pages in a browser, real data, the numeric ones as on an older CPU"
	@echo "make check  the quick half of make test: lint, types, import contracts"
	@echo "make docs   the site in build/site, offline"

setup: $(VENV)/.installed

# Without a GPU: the torch for CPUs, where pip finds one (its index: PIP_EXTRA_INDEX_URL or pip's configuration); 2.5 GB in place of 7.
$(VENV)/.demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stillhouse needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	@grep -vE '^(torch|torchvision|triton|cuda[a-z-]*|nvidia[a-z0-9-]*)==' constraints.txt > $(VENV)/constraints.txt
	@printf 'torch==%s\ntorchvision==%s\n' '$(CPU_TORCH)' '$(CPU_TORCHVISION)' >> $(VENV)/constraints.txt
	@if [ ! -e /dev/nvidiactl ] && $(PIP) -c $(VENV)/constraints.txt torch 2>/dev/null; then \
		echo "make: torch for CPUs, $(CPU_TORCH)"; \
	else \
		echo "make: fetching torch with CUDA, 5.3 GB on the disk (a GPU is here, or pip found no build for CPUs)"; \
		cp constraints.txt $(VENV)/constraints.txt; \
	fi
	$(call installed,.[train])
	@touch $@

$(VENV)/.installed: $(VENV)/.demo
	$(call installed,.[dev])
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/stillhouse demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow and not browser and not assets"  # what a file prepares is made once; one thread a worker: more would wait for each other

test-all: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) -m "slow or browser or assets"
	OMP_NUM_THREADS=1 $(OLD_CPU) $(BIN)/pytest -n $(WORKERS) -q -m "not slow" $(NUMERIC)  # again, as a CPU with AVX2 and nothing newer

clean:
	rm -rf $(VENV) runs

docs: setup
	$(BIN)/mkdocs build --strict --quiet
	@echo "docs: build/site/index.html; to search in them: $(BIN)/python -m http.server -d build/site"
