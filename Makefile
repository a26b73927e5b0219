# Everything from a fresh clone with python3 (>= 3.11) and make: each target sets up what it needs.
#   make reproduce                              quickstart: every method on real handwritten digits, ends in verdicts
#   make reproduce SUITE=tod/cifar10 PROFILE=smoke METHODS=random,tod SEEDS=0 EXECUTOR=local
#   make test | plan | compare | report | ui | faults | bench | lint | docs | clean

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

# A value as one word of the shell, whatever is in it: METHODS="random(2),diam(2)", SUITE='tod/*', paths with spaces.
quoted = '$(subst ','\'',$(1))'

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ALBENCH := $(BIN)/albench --data $(call quoted,$(DATA)) --runs $(call quoted,$(RUNS))
SELECT = $(foreach suite,$(SUITE),$(call quoted,$(suite))) --profile $(call quoted,$(PROFILE)) --variant $(call quoted,$(VARIANT)) \
    $(if $(METHODS),--methods $(call quoted,$(METHODS))) $(if $(SEEDS),--seeds $(call quoted,$(SEEDS)))

# The user's own settings of Python, pip and uv that would put packages elsewhere. Indexes, proxies and certificates stay.
OWN := env -u PYTHONHOME -u PYTHONPATH -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_DRY_RUN -u PIP_NO_DEPS \
    -u UV_TARGET -u UV_PREFIX -u UV_SYSTEM_PYTHON -u UV_BREAK_SYSTEM_PACKAGES -u UV_PROJECT_ENVIRONMENT PIP_USER=0

# Whether the environment works here: it was finished in this very place, its Python starts, and finds this project and torch.
define WORKS
test "$$(cat $(READY) 2>/dev/null)" = "$$(pwd -P)" && $(OWN) $(BIN)/python -I -c 'import importlib.util as u, pathlib, sys; \
found = u.find_spec("benchmark"); sys.exit(not (u.find_spec("torch") and found and \
pathlib.Path(found.origin).resolve().parents[1] == pathlib.Path.cwd().resolve()))' >/dev/null 2>&1 && test -x $(BIN)/albench
endef
ifneq ($(MAKECMDGOALS),clean)
ifneq ($(shell { $(WORKS); } && echo yes),yes)
$(shell rm -f $(READY))
endif
endif

.PHONY: setup reproduce plan compare report pages pictures readme ui test faults bench lint docs format lock clean

setup: $(READY)

# uv installs torch and torchvision together from the index named by the machine's own configuration; hashes are checked.
# An environment that was interrupted, moved or copied does not work; it is made anew. One that does is brought up to date.
$(READY): requirements.lock requirements-uv.lock pyproject.toml
	@echo 'setting up $(VENV)'
	@$(OWN) $(call quoted,$(PYTHON)) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "albench needs Python 3.11 or newer")'
	@test -e $(READY) || rm -rf $(VENV)
	@rm -f $(READY)
	@test -d $(VENV) || $(OWN) $(call quoted,$(PYTHON)) -m venv $(VENV)
	@$(OWN) $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(OWN) $(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock requirements-uv.lock
	@$(OWN) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@pwd -P > $(READY)

reproduce: $(READY)
	$(if $(filter frozen/%,$(SUITE)),$(foreach suite,$(filter frozen/%,$(SUITE)),$(ALBENCH) features $(call quoted,$(suite)) &&) true)
	$(ALBENCH) run $(SELECT) --executor $(call quoted,$(EXECUTOR)) $(if $(JOBS),--jobs $(call quoted,$(JOBS))) --no-verdicts $(ARGS)
	$(ALBENCH) report $(SELECT)
	$(ALBENCH) compare $(SELECT)

plan compare report: $(READY)
	$(ALBENCH) $@ $(SELECT) $(ARGS)

# The committed pages again from the committed measurements, and the README's pictures of them (these need Chromium).
pages: $(READY)
	$(ALBENCH) report '*' --republish

pictures: $(READY)
	$(BIN)/python -m tests.reports.pictures

readme: $(READY)
	$(BIN)/python -m benchmark.reports.readme README.md

ui: $(READY)
	$(ALBENCH) ui $(ARGS)

# The pretended CUDA device changes what torch is loaded with, so its tests run in processes of their own.
test: $(READY)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -n auto --ignore=tests/simcuda
	$(BIN)/python -m pytest -n auto tests/simcuda
else
	$(BIN)/python -m pytest -n auto $(ARGS)
endif

# Hundreds of faults into real trials, each outcome held to the uninterrupted one's; SEED=1 for others.
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.campaign --faults $(call quoted,$(or $(FAULTS),220)) --seed $(call quoted,$(or $(SEED),0)) $(ARGS)

# Ratios against plain implementations, kept in results/bench and shown in docs/performance.md.
bench: $(READY)
	$(BIN)/python -m pytest -n 0 tests/bench --benchmark-enable --benchmark-only --benchmark-json=.benchmarks/last.json $(ARGS)
	$(BIN)/python -m tests.bench.record .benchmarks/last.json

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_style.py

# The site of docs/, in site/. Never with --quiet: it hides warnings from --strict. Its tools have an environment of their own, as no other part needs them.
docs: $(READY)
	test -d $(VENV)/docs || $(OWN) $(BIN)/uv venv --quiet --python $(BIN)/python $(VENV)/docs
	$(OWN) $(BIN)/uv pip sync --quiet --require-hashes --python $(VENV)/docs/bin/python requirements-docs.lock
	NO_MKDOCS_2_WARNING=1 $(OWN) $(VENV)/docs/bin/mkdocs build --strict

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Registries are named by the machine, never by these files.
lock: $(READY)
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml -o requirements.lock
	echo 'uv' | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate - -o requirements-uv.lock
	for name in worker mlflow ray slurm timm features docs; do $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --constraints requirements.lock requirements-$$name.in -o requirements-$$name.lock || exit; done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info report
