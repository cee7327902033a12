# Everything a person does with this repository; `make` alone lists it.
# Each command is one of uv's, which works without make too. uv keeps .venv as uv.lock says; where
# uv is missing, the first call puts it into .uv.

PYTHON ?= python3
SEEDS ?=
EPOCHS ?=
EXECUTOR ?= local

UV := $(shell command -v uv)
ifeq ($(UV),)
UV := .uv/bin/uv
export PATH := $(CURDIR)/.uv/bin:$(PATH)
endif

.DEFAULT_GOAL := help
.PHONY: help install test test-slow study lab demo site links lock

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

install: $(UV) ## make .venv with what a reader needs; the other commands do it too
	$(UV) sync

test: $(UV) ## check style, types and notebooks, run every test but the slow ones
	$(UV) run poe test

test-slow: $(UV) ## run the tests that train for minutes
	$(UV) run poe test-slow

study: $(UV) ## train what is lacking, run all notebooks; SEEDS=2 EPOCHS=2 to rehearse
	@$(UV) run poe study --executor $(EXECUTOR) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(EPOCHS),--epochs $(EPOCHS))

lab: $(UV) ## open the notebooks in JupyterLab
	$(UV) run poe lab

demo: $(UV) ## show in a browser what the network makes of a picture of yours
	$(UV) run poe demo

site: $(UV) ## make runs/site, the notebooks as web pages; nothing is trained
	$(UV) run poe site

links: $(UV) ## write CITATION.cff's address into the notebooks and badges
	$(UV) run python -m lenet_study links

lock: $(UV) ## pin the newest versions that pyproject.toml allows in uv.lock
	$(UV) lock --upgrade

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv
