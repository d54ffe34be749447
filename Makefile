# `make help` lists the targets. Each one sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
SPACES := .venv-spaces

.DEFAULT_GOAL := help
.PHONY: help install test test-fast test-spaces test-common smoke-test coverage mutate test-lowest test-newest test-pythons fuzz soak lint format docs demo spaces space-requirements train-demo train-demo-nuclei train-demo-video train-demo-weak benchmark gpu-check profile readme-results

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(VENV)/.installed: setup.cfg pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip
	$(RUN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[dev]'
	@touch $@

# apart from .venv because gradio 6 needs Pillow below 13, which rounds other pixels than those of the golden numbers;
# all that both need is taken from .venv, so that minutes and gigabytes are not spent twice
$(SPACES)/.installed: $(VENV)/.installed
	$(PYTHON) -m venv --clear $(SPACES)
	$(SPACES)/bin/python -m pip install --quiet --upgrade pip
	$(SPACES)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $(SPACES)/place
	$(RUN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$$(cat $(SPACES)/place)/of_venv.pth"
	$(SPACES)/bin/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[spaces-dev]'
	@touch $@

install: $(VENV)/.installed ## set up .venv with all that tests, checks and demos need

# two processes of one thread: with the threads that PyTorch starts by itself, four wait for two cores.
# loadgroup hands tests out one at a time, so that a few long ones do not wait behind each other
PYTEST := OMP_NUM_THREADS=1 $(RUN)/python -m pytest --numprocesses 2 --dist loadgroup --ignore tests/spaces
test: install ## every test; the quick ones must have run 95 % of the lines of src
	$(PYTEST) --cov --cov-report=
	$(RUN)/python tests/helpers/covered_lines.py 95

test-fast: install ## the tests that need neither a network nor much time
	$(PYTEST) -m 'not slow and not network'

test-spaces: $(SPACES)/.installed ## the pages of spaces/ in a headless browser
	$(SPACES)/bin/python -m pytest tests/spaces

test-common: install ## the common tests of transformers against every model
	$(RUN)/python -m pytest --ignore tests/spaces -m common -rs

# an environment with other versions than .venv, made anew and removed. NAME of it, PYTHON, and OPTIONS of pip
OTHER := .venv-$(NAME)
EXTRAS := tensorboard,demo,video,segmentation-models,flow,test
smoke-test: ## every model, pipeline and script once, in a new environment: NAME, PYTHON, OPTIONS of pip
	rm -rf $(OTHER)
	$(PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet --upgrade pip
	$(OTHER)/bin/python -m pip install --quiet --no-cache-dir $(OPTIONS) --editable '.[$(EXTRAS)]'
	$(OTHER)/bin/python -m pip list
	$(OTHER)/bin/python -m pytest -p no:cacheprovider --ignore tests/spaces -m smoke
	rm -rf $(OTHER)

test-lowest: ## every model, pipeline and script once, with the lowest versions that setup.cfg allows
	$(PYTHON) tests/helpers/lowest_versions.py > .venv-lowest.txt
	$(MAKE) smoke-test NAME=lowest OPTIONS='--constraint .venv-lowest.txt'

test-newest: ## the same with the newest versions
	$(MAKE) smoke-test NAME=newest EXTRAS=$(EXTRAS),adapters OPTIONS='--upgrade --upgrade-strategy eager'

# on the path, or where pyenv has them
PYTHON_OF = $(or $(shell python$(1) -c 'import sys; print(sys.executable)' 2>/dev/null),$(lastword $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python)))
PYTHONS = $(call PYTHON_OF,3.12) $(call PYTHON_OF,3.13)
test-pythons: ## the same on Python 3.12 and 3.13, where they exist
	@echo "found: $(or $(strip $(PYTHONS)),none)"
	for python in $(PYTHONS); do $(MAKE) smoke-test NAME=other PYTHON=$$python OPTIONS='--constraint tests/constraints.txt' || exit 1; done

# each finding is written to tests/fixtures/fuzz, and is then a case of tests/test_stranger_files.py
FUZZ_SECONDS ?= 600
fuzz: install ## damage files for ten minutes and see that every reader gives a result or our error
	PYTHONPATH=tests/helpers $(RUN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

# a program each, looked at from outside; SOAK=0.01 for a hundredth of it
SOAK ?= 1
soak: install ## 65,000 images and frames through the programs: memory, open files and threads must not grow
	PYTHONPATH=tests/helpers $(RUN)/python tests/soak/soak.py --share $(SOAK)

coverage: install ## lines and branches of src that the last `make test` did not run
	$(RUN)/coverage report --show-missing

mutate: install ## changes in metrics, losses and readers that no test notices
	$(RUN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[dev,mutation]'
	$(RUN)/mutmut run --max-children 2
	$(RUN)/python tests/helpers/unexplained_mutants.py

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

demo_data/nuclei: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/nuclei_picture.py $@

demo_data/trees: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/tree_crowns.py $@

demo_data/street: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/street_video.py $@

demo_data/weak_crops: | $(VENV)/.installed
	$(RUN)/python dataset_scripts/weak_crops.py $@

demo: install | demo_data/nuclei demo_data/trees demo_data/street demo_data/weak_crops ## count nuclei and trees, segment a video, find things by their names
	$(RUN)/python scripts/demo/demo_nuclei.py demo_data/nuclei --output demo_output
	$(RUN)/python scripts/demo/demo_counting.py demo_data/trees --output demo_output
	$(RUN)/python scripts/demo/demo_video.py demo_data/street --output demo_output
	$(RUN)/python scripts/demo/demo_weak.py demo_data/weak_crops --output demo_output

spaces: $(SPACES)/.installed ## serve the pages of spaces/ on this machine, until Ctrl-C
	$(SPACES)/bin/python spaces/serve.py

# a Space installs dense_hf from the repository, at a commit that is there: push it before the Space
space-requirements: ## spaces/*/requirements.txt name the current commit
	sed -i -E "s/@[0-9a-f]{40}$$/@$$(git rev-parse HEAD)/" spaces/*/requirements.txt

train-demo: install | demo_data/trees ## train the bundled model again, with three seeds
	$(RUN)/python scripts/demo/train_demo_counting.py demo_data/trees --output runs/trees

# the data are a download: https://bbbc.broadinstitute.org/BBBC038, stage1_train, unpacked and then
# python dataset_scripts/dsb2018.py stage1_train data/dsb2018 --size 256
DATA ?= data/dsb2018/dark
train-demo-nuclei: install | demo_data/nuclei ## train the bundled counter of nuclei again, with three seeds: DATA
	$(RUN)/python scripts/demo/train_demo_nuclei.py $(DATA) --output runs/nuclei --elsewhere demo_data/nuclei

train-demo-video: install | demo_data/street ## train small CFFM, MRCFA and their per-frame baseline on real video, with three seeds
	$(RUN)/python scripts/demo/train_demo_video.py demo_data/street --output runs/street

train-demo-weak: install | demo_data/weak_crops ## train small MCIS on real crops, the ablations of the thesis, three seeds
	$(RUN)/python scripts/demo/train_demo_weak.py demo_data/weak_crops --output runs/weak

benchmark: install ## speed of all models, as ratios, and their memory
	$(RUN)/python benchmarks/counting.py
	$(RUN)/python benchmarks/counting.py --counters
	$(RUN)/python benchmarks/video.py
	$(RUN)/python benchmarks/weak.py
	$(RUN)/python benchmarks/throughput.py

gpu-check: install ## every model on this GPU against its CPU, and how fast; small models where there is no GPU
	PYTHONPATH=tests/helpers $(RUN)/python benchmarks/gpu_check.py --output gpu_check

TASK ?= count
profile: install ## where the time of one picture or frame goes: TASK=count, segment or localize
	PYTHONPATH=tests/helpers $(RUN)/python benchmarks/profile_task.py $(TASK)

# what the trainings of the demo have left; without it, the kept numbers are written again
RESULTS := runs/nuclei/results.json runs/trees/results.json runs/street/results.json runs/weak/results.json
readme-results: install ## put the numbers of the demos' trainings into README.md, the model cards and docs/results.md
	$(RUN)/python scripts/demo/make_model_cards.py $(wildcard $(RESULTS))
	$(RUN)/python scripts/demo/results_page.py
