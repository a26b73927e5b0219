# Everything from a fresh clone with python3 (>= 3.11) and make: each target sets up what it needs.
#   make reproduce                              quickstart: every method on real handwritten digits, ends in verdicts
#   make reproduce SUITE=tod/cifar10 PROFILE=smoke METHODS=random,tod SEEDS=0 EXECUTOR=local
#   make test | plan | compare | report | ui | faults | bench | lint | clean

SUITE    ?= quickstart/digits
PROFILE  ?= paper
VARIANT  ?= as_published
METHODS  ?=
SEEDS    ?=
EXECUTOR ?= local
JOBS     ?=
DATA     ?= $(or $(ALBENCH_DATA),data)
RUNS     ?= runs
ARGS     ?=
PYTHON   ?= python3

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ALBENCH := $(BIN)/albench --data "$(DATA)" --runs "$(RUNS)"
SELECT := $(SUITE) --profile $(PROFILE) --variant $(VARIANT) $(if $(METHODS),--methods $(METHODS)) $(if $(SEEDS),--seeds $(SEEDS))

.PHONY: setup reproduce plan compare report readme ui test faults bench lint format lock clean

setup: $(READY)

# uv installs torch and torchvision together from the index named by the machine's own configuration; hashes are checked.
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "albench needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock requirements-uv.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	touch $(READY)

reproduce: $(READY)
	$(ALBENCH) run $(SELECT) --executor $(EXECUTOR) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)
	$(ALBENCH) report $(SELECT)
	$(ALBENCH) compare $(SELECT)

plan compare report: $(READY)
	$(ALBENCH) $@ $(SELECT) $(ARGS)

readme: $(READY)
	$(BIN)/python -m benchmark.report.showcase README.md

ui: $(READY)
	$(ALBENCH) ui $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n auto $(ARGS)

# Hundreds of faults into real trials, each outcome held to the uninterrupted one's; SEED=1 for others.
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.campaign --faults $(or $(FAULTS),220) --seed $(or $(SEED),0) $(ARGS)

# Ratios against plain implementations, kept in results/bench and shown in docs/performance.md.
bench: $(READY)
	$(BIN)/python -m pytest -n 0 tests/bench --benchmark-enable --benchmark-only --benchmark-json=.benchmarks/last.json $(ARGS)
	PYTHONPATH=tests $(BIN)/python -m bench.record .benchmarks/last.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Registries are named by the machine, never by these files.
lock: $(READY)
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml -o requirements.lock
	echo 'uv' | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o requirements-uv.lock
	for name in worker mlflow ray; do $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --constraints requirements.lock requirements-$$name.in -o requirements-$$name.lock || exit; done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info report
