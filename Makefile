# The habits: setup, reproduce, test, lint, parity, clean.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: setup setup-dev lock reproduce test test-all sizes test-gpu gpu-acceptance test-cluster test-engines lint format clean bench parity kills

# What running needs, and what testing needs beside it.
setup: $(VENV)/.run
setup-dev: $(VENV)/.dev

# First all packages by their hashes but torch, whose wheels for CPU and for CUDA differ: that of the index which pip
# asks comes with this package (README.md).
$(VENV)/.run: pyproject.toml constraints.txt locks/run.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --require-hashes --no-deps --requirement locks/run.txt
	$(BIN)/pip install --constraint constraints.txt --editable '.[study]'
	# pip compiles all but this package; where PYTHONDONTWRITEBYTECODE is set, every process would compile it again.
	$(BIN)/python -m compileall -q hfprune
	touch $@

$(VENV)/.dev: $(VENV)/.run locks/test.txt
	$(BIN)/pip install --require-hashes --no-deps --requirement locks/test.txt
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

# The versions of all packages for every platform, without torch's build so that each of its wheels fits, and their hashes;
# and what jobs in environments of conda take. Versions in constraints.txt stay: for newer ones, remove their lines first.
COMPILE := uv pip compile --quiet --universal --no-annotate --custom-compile-command 'make lock' pyproject.toml
HASHES := --constraint constraints.txt --generate-hashes --no-emit-package torch --no-emit-package pip
lock: setup
	$(BIN)/pip install --quiet 'uv>=0.9'
	$(BIN)/$(COMPILE) --no-emit-package pip --extra dev --output-file constraints.txt
	$(BIN)/$(COMPILE) $(HASHES) --extra study --output-file locks/run.txt
	$(BIN)/$(COMPILE) $(HASHES) --extra dev --output-file locks/test.txt \
	  $$(sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' locks/run.txt)
	sed -i '/^  - pip:/q' workflow/envs/hfprune.yml
	$(BIN)/$(COMPILE) --no-header --no-deps --constraint constraints.txt --no-emit-package pip --no-emit-package snakemake \
	  --extra study | sed 's/^/      - /' >> workflow/envs/hfprune.yml

reproduce: setup
	@$(BIN)/snakemake --cores all

# Two processes, and each file in one of them, since tests of a file share what is slow to make; files in the order of
# tests/conftest.py, the longest first.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup-dev
	$(PYTEST)

# And what takes longer: kills, the page in a browser, LaTeX, the wheel, every command on simulated GPUs, every study;
# and the cluster, where root may start one.
test-all: setup-dev
	$(PYTEST) -m ''
	if [ "$$(id -u)" = 0 ] && command -v slurmctld slurmdbd mariadbd > /dev/null; then $(MAKE) test-cluster; fi

# Every command on GPUs that are simulated, which takes a C++ compiler; a part of `make test-all`.
test-gpu: setup-dev
	$(PYTEST) -m '' tests/gpu

# On a Slurm cluster of three nodes that it starts on this machine, as root, and ends.
test-cluster: setup-dev
	$(BIN)/pip install --quiet 'snakemake-executor-plugin-slurm>=2.8'
	nice $(BIN)/python -m pytest tests/cluster/on_slurm.py

# Exports read by other engines, each in an environment over this one, into docs/exports.md. What does not install is a
# refusal there; vLLM goes with this package, and without the torchaudio and torchcodec that it asks for.
ENGINES := transformers4 mlx vllm llama convert
test-engines: $(ENGINES:%=build/engines/%/.done)
	$(BIN)/hfprune fetch models/smollm2-135m-instruct-q4 models/qwen2.5-coder-0.5b-instruct-q4 corpora/c4-sample
	PYTHONPATH=tests $(BIN)/python tests/engines/matrix.py
	$(BIN)/python -m pytest tests/engines/on_vllm.py

build/engines/%/.done: tests/engines/%.txt | setup-dev
	$(BIN)/python -m venv --clear $(@D)
	$(BIN)/python -c "import sysconfig as s; print(s.get_path('purelib'))" > $$(echo $(@D)/lib/python*/site-packages)/suite.pth
	$(@D)/bin/python -m pip install --quiet --no-deps --requirement $< && touch $@ || true

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check .
	$(BIN)/mypy
	$(BIN)/snakemake --lint

# What the tests of the house count: lines, words, files, floors.
sizes: setup
	$(BIN)/python tests/house.py

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt .

# Ours against the official recipe and stock lm-eval, and exports beside each other; takes the model and tasks that the
# demo fetches.
bench: setup
	$(BIN)/hfprune fetch --study config/studies/demo.yaml
	$(BIN)/hfprune fetch tasks/mmlu_stem tasks/gsm8k_cot
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/exports.py

# Our scores and solved weights beside peers' own code and that of the authors, into docs/parity.md, benchmarks/grail.md and
# benchmarks/authors.md. What is no package is cloned into CLONES, and run at these commits, whose hashes say what is run.
CLONES ?= resources/clones
REPOSITORIES := TWWinde/GRAIL_Compensation@ba5e48b78c6e682b387b343efb9c0300cf969ccd
REPOSITORIES += visresearch/HFPrune@1f5b5d3e1c44517d083f34f82b63d4717e1b22d5
REPOSITORIES += visresearch/SDMPrune@95699614cc2c14a12565e67bc2b0a43a1801e5b1
parity: setup-dev
	for at in $(REPOSITORIES); do \
	  clone=$(CLONES)/$$(basename $${at%@*}); \
	  test -d $$clone || git clone --quiet https://github.com/$${at%@*} $$clone || exit; \
	  git -C $$clone checkout --quiet $${at#*@} || exit; \
	done
	$(BIN)/hfprune fetch models/smollm2-135m-instruct-q4 corpora/c4-sample
	$(BIN)/python benchmarks/parity.py
	$(BIN)/python benchmarks/authors.py $(CLONES)/HFPrune $(CLONES)/SDMPrune
	$(BIN)/python benchmarks/grail.py $(CLONES)/GRAIL_Compensation

# The first hour on a card: a 1B and a 7B model, random and made here, beside predictions and the CPU; writes
# benchmarks/gpu.md. `pytest tests/gpu/test_acceptance.py` runs it dry.
gpu-acceptance: setup
	$(BIN)/python benchmarks/acceptance.py

# The smoke study killed at twenty random moments, with a new seed each time; the suite does a few, with a fixed one.
kills: setup-dev
	HFPRUNE_KILLS=20 $(BIN)/python -m pytest -m '' tests/workflow/test_kills.py

# Removes what a run wrote, but not the downloads in resources/, nor the results that git holds.
clean:
	git clean -fdXq results figures logs .snakemake
