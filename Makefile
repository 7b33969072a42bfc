PYTHON ?= $(shell python3.11 -c "print('python3.11')" 2>/dev/null || echo python3)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: env demo test quick robustness fuzz lint format docs bench bench-speed screenshot clean
env: $(STAMP)

# The constraint must bind at the first install: plain `pip install torch` may bring CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[bench,dev,ray]"
	touch $@

demo: env
	$(BIN)/python benchmarks/demo.py

# A process for each core, with one thread each.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

test: env
	$(PYTEST)

quick: env
	$(PYTEST) -m "not slow"

# The full sets of tests/robustness, of which `make test` runs quick ones. ARGS="-k truncation"
robustness: env
	$(PYTEST) tests/robustness --full --timeout 0 $(ARGS)

# Fuzzing guided by coverage: 15,000 files. ARGS="-seed=2"
fuzz: env
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[fuzz]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/robustness/guided_fuzzing.py $(ARGS)

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# docs/cli.md, api.md, structure.md and the figures: made from the code and from docs/results.md.
docs: env
	$(BIN)/python tools/make_docs.py

# CLIPS="a.mkv b.mkv" ARGS="--lambdas 0.3,1,3 --preset medium --codecs innvc,x265-ra --jobs 2"
CLIPS ?= $(wildcard tests/data/*.mkv)
bench: env
	$(BIN)/innvc bench $(CLIPS) -o bench-out $(ARGS)

# CLIPS="a.mkv" ARGS="--frames 0:10 --lambda .8 --threads 1"
bench-speed: env
	$(BIN)/python benchmarks/speed.py $(if $(filter command line,$(origin CLIPS)),$(CLIPS)) $(ARGS)

# The picture of a report in docs/; needs Chromium.
screenshot: env
	$(BIN)/python benchmarks/screenshot.py docs/report.png

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
	find innvc tests -name "*.nb[ic]" -delete
