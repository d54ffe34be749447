# `make help` lists the targets. Each one sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
SPACES := .venv-spaces

.DEFAULT_GOAL := help
.PHONY: help install test test-fast test-spaces test-common fuzz lint format docs demo spaces train-demo train-demo-video train-demo-weak benchmark readme-results

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(VENV)/.installed: setup.cfg pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[dev]'
	@touch $@

# apart from .venv because gradio 6 needs Pillow below 13, which rounds other pixels than those of the golden numbers
$(SPACES)/.installed: setup.cfg pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(SPACES)
	$(SPACES)/bin/python -m pip install --quiet --upgrade pip
	$(SPACES)/bin/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[spaces-dev]'
	@touch $@

install: $(VENV)/.installed ## set up .venv with all that tests, checks and demos need

# loadgroup hands tests out one at a time, so that a few long ones do not wait behind each other
test: install ## every test, the common tests of transformers included
	$(RUN)/python -m pytest --numprocesses 2 --dist loadgroup --ignore tests/spaces

test-fast: install ## the tests that need neither a network nor much time
	$(RUN)/python -m pytest --numprocesses 2 --dist loadgroup --ignore tests/spaces -m 'not slow and not network'

test-spaces: $(SPACES)/.installed ## the pages of spaces/ in a headless browser
	$(SPACES)/bin/python -m pytest tests/spaces

test-common: install ## the common tests of transformers against every model
	$(RUN)/python -m pytest --ignore tests/spaces -m common -rs

# each finding is written to tests/fixtures/fuzz, and is then a case of tests/test_stranger_files.py
FUZZ_SECONDS ?= 600
fuzz: install ## damage files for ten minutes and see that every reader gives a result or our error
	PYTHONPATH=tests/helpers $(RUN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

lint: install ## style, types, spelling
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/ty check src
	$(RUN)/codespell

format: install ## rewrite the code in the project's style
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

docs: install ## the pages of docs/ and the API reference as HTML; a warning is an error
	$(RUN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

demo_data/trees: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/tree_crowns.py $@

demo_data/street: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/street_video.py $@

demo_data/weak_crops: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/weak_crops.py $@

demo: install | demo_data/trees demo_data/street demo_data/weak_crops ## count trees, segment a video, find things by their names
	$(RUN)/python scripts/demo/demo_counting.py demo_data/trees --output demo_output
	$(RUN)/python scripts/demo/demo_video.py demo_data/street --output demo_output
	$(RUN)/python scripts/demo/demo_weak.py demo_data/weak_crops --output demo_output

spaces: $(SPACES)/.installed ## serve the pages of spaces/ on this machine, until Ctrl-C
	$(SPACES)/bin/python spaces/serve.py

train-demo: install | demo_data/trees ## train the bundled model again, with three seeds
	$(RUN)/python scripts/demo/train_demo_counting.py demo_data/trees --output runs/trees

train-demo-video: install | demo_data/street ## train small CFFM, MRCFA and SegFormer on real video, with three seeds
	$(RUN)/python scripts/demo/train_demo_video.py demo_data/street --output runs/street

train-demo-weak: install | demo_data/weak_crops ## train small MCIS on real crops, the ablations of the thesis, three seeds
	$(RUN)/python scripts/demo/train_demo_weak.py demo_data/weak_crops --output runs/weak

benchmark: install ## speed of all models, as ratios, and their memory
	$(RUN)/python benchmarks/counting.py
	$(RUN)/python benchmarks/video.py
	$(RUN)/python benchmarks/weak.py

# what the three trainings of the demo have left; without it, the kept numbers are written again
RESULTS := runs/trees/results.json runs/street/results.json runs/weak/results.json
readme-results: install ## put the numbers of the demos' trainings into README.md and the model cards
	$(RUN)/python scripts/demo/make_model_cards.py $(wildcard $(RESULTS))
