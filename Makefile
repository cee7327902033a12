# Everything a person does with this repository; `make` alone lists it.
# The first call builds .venv beside this file; later calls install again only when
# requirements.txt or pyproject.toml changed.

PYTHON ?= python3
SEEDS ?=
EPOCHS ?=
EXECUTOR ?= local

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
VERSION := import platform; print(platform.python_version())

.DEFAULT_GOAL := help
.PHONY: help install test test-slow study lab lock

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

install: $(INSTALLED) ## make .venv with the pinned packages; the other commands call it

test: $(INSTALLED) ## check style, types and notebooks, run every test but the slow ones
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest -m "not slow" --numprocesses 2 --dist loadfile
	$(RUN) -m pytest --nbval --nbval-current-env --numprocesses 2 --dist loadfile notebooks

test-slow: $(INSTALLED) ## run the tests that train for minutes
	$(RUN) -m pytest -m slow

study: $(INSTALLED) ## train what is lacking, run all notebooks; SEEDS=2 EPOCHS=2 to rehearse
	@$(RUN) -m lenet_keras everything --executor $(EXECUTOR) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(EPOCHS),--epochs $(EPOCHS))

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(RUN) -m jupyter lab --LabApp.default_url=/lab/tree/notebooks

lock: $(INSTALLED) ## pin the newest versions that pyproject.toml allows in requirements.txt
	$(RUN) -m pip install --quiet "uv>=0.8"
	$(VENV)/bin/uv pip compile --upgrade --universal --fork-strategy fewest --python-version 3.11 \
		--extra test --extra dask --extra tensorboard --extra jax pyproject.toml -o requirements.txt \
		--no-emit-find-links --no-emit-index-url --custom-compile-command "make lock"

# A .venv that somebody made in another way serves as well; it may lack pip.
$(INSTALLED): requirements.txt pyproject.toml
	@test -x $(RUN) || $(PYTHON) -c '$(SUPPORTED)' || { \
		echo "Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is" \
			"$$($(PYTHON) -c '$(VERSION)' 2>/dev/null || echo not there)." \
			"Name another: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -c '$(SUPPORTED)' || { \
		echo "$(VENV) holds Python $$($(RUN) -c '$(VERSION)'); 3.11, 3.12 or 3.13 is needed." \
			"Remove the folder $(VENV) and call make again." >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip
	@echo "Installing requirements.txt into $(VENV): once, some minutes on a new machine."
	@$(RUN) -m pip install --quiet --requirement requirements.txt
	@$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
