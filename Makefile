# Two commands: `make reports` and `make test`. Settings are given behind the target or in the environment:
#   make smile PROFILE=laptop DATA=../shared/data/facehack WEIGHTS=imagenet SET="epochs=3 learning_rate=1e-4" WORKERS=4
PYTHON ?= python3
PROFILE ?= sample
DATA ?=
WEIGHTS ?=
SET ?=
export PROFILE DATA WEIGHTS SET WORKERS SCHEDULER RUNS PORT COUNT EPOCHS SEED
ifeq ($(PROFILE),sample)
# One thread an operation, also in JupyterLab and nbval: so small networks gain little from two, and one gives the same values on
# any number of processors.
export TF_NUM_INTRAOP_THREADS ?= 1
endif
# As facekit sets it; a notebook that JupyterLab or nbval runs loads TensorFlow before facekit.
export TF_ENABLE_ONEDNN_OPTS ?= 1

TASKS := $(sort $(basename $(notdir $(wildcard notebooks/*.ipynb))))
PROFILES := sample laptop report full
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := .venv/ready
DEMO := .venv/demo
CLUSTER := .venv/cluster
MADE := .facekit/made
MADE_FROM = $(wildcard $(or $(FACEKIT_CACHE),.facekit)/data/sample/*/facekit.json) $(shell find facekit -type f ! -path '*/__pycache__/*')

# Each problem is one line and an exit status, before anything is made: $(error) is the only way in which make adds no second line.
can_run = $(shell command -v "$(PYTHON)")
good_python = $(shell "$(PYTHON)" -c 'import sys; print("yes" if (3, 11) <= sys.version_info[:2] <= (3, 13) else sys.version.split()[0])' 2>&1 | tail -n 1)
has_venv = $(shell "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null && echo yes)
define check_python
$(if $(can_run),,$(error $(PYTHON) is not there; install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)))
$(if $(filter yes,$(good_python)),,$(error $(PYTHON) is Python $(good_python); expected 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)))
$(if $(has_venv),,$(error $(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu install the package python3-venv))
endef
ifneq (,$(filter $(TASKS),$(MAKECMDGOALS)))
$(if $(filter $(PROFILE),$(PROFILES)),,$(error unknown profile '$(PROFILE)'; expected one of $(PROFILES)))
endif

.PHONY: FORCE help reports test check site demo lab tensorboard sample sample-weights table format constraints cluster gpu clean $(TASKS)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@for task in $(TASKS); do printf '  make %-15s %s\n' "$$task" "Run this experiment; PROFILE=, DATA=, WEIGHTS= and SET= change it"; done

# The longest first, as their profiles say, so that none is left over at the end.
longest_first = $(shell grep -Hom1 'minutes: [0-9.]*' notebooks/parameters/*.yaml | sort -t: -k3rn | sed 's,.*/,,; s,\.yaml:.*,,')

reports: $(READY) sample ## Run every experiment on synthetic faces, two at a time, and write the page of all reports
	@$(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j2) PROFILE=sample DATA= WEIGHTS= SET= \
	  $(addprefix $(MADE)/,$(filter $(TASKS),$(longest_first)) $(filter-out $(longest_first),$(TASKS)))
	@$(BIN)/facekit site --profile sample

site: $(READY) ## Write reports/index.html, the page of all runs, and what it links to
	@$(BIN)/facekit site

demo: $(READY) $(DEMO) ## Open a page on which every trained network predicts your photo; RUNS= and PORT= change it
	@set -f; $(BIN)/facekit demo $$RUNS $${PORT:+--port "$$PORT"}

test: check $(DEMO) $(CLUSTER) ## Run all tests, and every committed sample report again to compare it
	$(BIN)/python -m pytest -rs -n 2 --dist worksteal
	$(BIN)/python -m pytest -o addopts= --nbval-lax --nbval-current-env -n 2 --dist loadscope reports/sample

check: $(READY) sample ## Lint, format, and the rules of the project: notebooks, reports, expected results, register of claims
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_project.py
	@if [ -n "$$CI" ]; then $(BIN)/python reports/tables.py --check; fi  # your own runs may differ in a digit

lab: $(READY) sample ## Open the notebooks in JupyterLab, which asks nothing from elsewhere
	@$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
	$(BIN)/jupyter-lab notebooks

tensorboard: $(READY) ## Open TensorBoard on the logs of the trainings
	$(BIN)/tensorboard --logdir "$${FACEKIT_CACHE:-.facekit}/tensorboard" --host 127.0.0.1

sample: $(READY) ## Make the synthetic faces
	@$(BIN)/facekit data sample

table: $(READY) ## Write the tables of published and reproduced values into README.md and reports/CLAIMS.md
	@$(BIN)/python reports/tables.py

sample-weights: $(READY) ## Train the small network of profile sample anew on synthetic faces; COUNT=, EPOCHS= and SEED= change it
	$(BIN)/python -m facekit.synthetic.pretrain $${COUNT:+--count $$COUNT} $${EPOCHS:+--epochs $$EPOCHS} $${SEED:+--seed $$SEED}

format: $(READY) ## Format code and notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Where several run at a time, each writes whole lines: two moving lines would overwrite each other.
define run_task
@set -f; $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),TTY_COMPATIBLE=0) $(BIN)/facekit run $(1) --profile "$$PROFILE" \
  $${DATA:+--data "$$DATA"} $${WEIGHTS:+--weights "$$WEIGHTS"} $${SET:+--set $$SET} \
  $${WORKERS:+--workers "$$WORKERS"} $${SCHEDULER:+--scheduler "$$SCHEDULER"}
endef
RUNS_ON := $(READY) $(if $(WORKERS)$(SCHEDULER),$(CLUSTER))

$(TASKS): $(RUNS_ON) $(if $(filter sample,$(PROFILE)),sample)
	$(call run_task,$@)

# A stamp says that the report of profile sample is what notebook, facekit and faces give: an interrupted `make reports` goes on,
# and a second one has nothing to do. A report that was written or lost after its stamp is made again; `make TASK` always runs.
.SECONDEXPANSION:
$(MADE)/%: $(RUNS_ON) notebooks/%.ipynb notebooks/parameters/%.yaml $(MADE_FROM) $$(or $$(wildcard reports/sample/$$*/metrics.json),FORCE)
	$(call run_task,$*)
	@mkdir -p $(@D) && touch $@

$(READY): requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	$(check_python)
	@mkdir .venv.lock 2>/dev/null || { echo "another make is installing packages; wait for it, or remove .venv.lock if there is none" >&2; exit 1; }
	@trap 'rmdir .venv.lock' EXIT; trap 'exit 130' INT TERM HUP; \
	echo "installing packages into .venv; this takes some minutes, and is done again only when the requirements change"; \
	( test -x $(BIN)/python || "$(PYTHON)" -m venv .venv || exit 1; \
	for group in $$(seq 2 $$(awk -v RS= 'END { print NR }' requirements.txt)); do \
	  awk -v RS= -v group=$$group 'NR == group { split($$0, line, "\n"); print "  " substr(line[1], 3) }' requirements.txt; \
	  awk -v RS= -v group=$$group 'NR == group' requirements.txt | $(PIP) -r /dev/stdin -c constraints.txt || exit 1; \
	done; echo "  tests" && $(PIP) -r requirements-dev.txt -c constraints.txt && $(PIP) --no-deps --editable . && touch $@ ) \
	|| { echo "pip could not install the packages, for the reason above, often a missing network: with one, or a mirror named by PIP_INDEX_URL, run make again; what is installed stays" >&2; exit 1; }

# --no-deps: gradio asks for a Pillow below the one that the rest of the project is tested with.
$(DEMO): $(READY) requirements-demo.txt
	@$(PIP) --no-deps -r requirements-demo.txt
	@touch $@

$(CLUSTER): $(READY) requirements-cluster.txt
	@echo "installing Dask"; $(PIP) -r requirements-cluster.txt -c constraints.txt
	@touch $@

cluster: $(CLUSTER) ## Install Dask, for WORKERS= and SCHEDULER=

gpu: $(READY) ## Put TensorFlow with NVIDIA's libraries into .venv in place of the CPU wheel (Linux)
	$(BIN)/python -m pip uninstall --yes tensorflow-cpu tensorflow
	$(BIN)/python -m pip install -r requirements-gpu.txt -c constraints.txt

constraints: ## Resolve anew what the requirements bring along, in a clean environment; use PYTHON=python3.11, the oldest
	$(check_python)
	rm -rf .facekit/resolve
	"$(PYTHON)" -m venv .facekit/resolve
	.facekit/resolve/bin/python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed \
	  --report .facekit/resolve/report.json -r requirements-dev.txt -r requirements-gpu.txt -r requirements-cluster.txt
	@printf '# Made by `make constraints`: every package that the requirements bring along.\n' > constraints.txt
	@.facekit/resolve/bin/python -c 'import json; print("\n".join(sorted("{name}=={version}".format(**row["metadata"]) for row in json.load(open(".facekit/resolve/report.json"))["install"])))' >> constraints.txt
	rm -rf .facekit/resolve

clean: ## Remove .venv and what can be made again; downloaded data stays
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache .hypothesis build
	find . -name __pycache__ -prune -exec rm -rf {} +
	if [ -d .facekit ]; then find .facekit -mindepth 1 -maxdepth 1 ! -name data -exec rm -rf {} +; fi
	rm -rf .facekit/data/sample

.DEFAULT:
	$(error no target '$@'; the experiments are: $(TASKS); `make help` lists every target)
