# saliency-edge: `make help` lists the targets. All of them set up what they need, in .venv.

PYTHON ?= python3
UV_VERSION := 0.13.9
# What makes a package, apart from .venv: a wheel takes seconds and no PyTorch.
DIST_TOOLS := build==1.6.1 twine==7.0.0 setuptools==80.10.2
TWINE := .cache/dist/bin/twine
SNAPSHOT := .cache/snapshot

BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q -q
LOCKED := .venv/.locked
READY := .venv/.ready
VIEW := .cache/view/saliency_edge
PACKAGES := runtime train calib export

API := $(patsubst tests/api/%.txt,.cache/api/%,$(wildcard tests/api/*.txt))

BUNDLE := demo/deep_half
OVERLAY := demo/overlay.mp4
BENCHED := deep_half mlnet_small mlnet
CLIP := calib/assets/big_buck_bunny.mp4

.DEFAULT_GOAL := help
.PHONY: help demo test check bench dist golden ranges ready-bundle weights api lock
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 16

demo: $(READY) ## export to fp16 ONNX and a TensorRT-RTX engine, then overlay a real clip with its saliency
	@mkdir -p demo
	$(BIN)/saliency-export --fp16 --int8 --engine auto --output $(BUNDLE)
	$(BIN)/saliency-run $(BUNDLE) $(CLIP) --output $(OVERLAY) --json demo/report.json
	@printf '\n'; printf '%s\n' "overlay  $(OVERLAY)" "bundle   $(BUNDLE)" "page     $(BUNDLE)/report.html" "timings  demo/report.json"

test: $(READY) $(TWINE) api ## run all tests, the house's (ruff, mypy, packaging) among them
	$(BIN)/python -m pytest

check: $(READY) $(VIEW) ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.cache/view $(BIN)/mypy $(addprefix -p saliency_edge.,$(PACKAGES))

bench: $(READY) $(BENCHED:%=demo/bench/%/manifest.json) ## frames per second here by network, precision and runtime, ours and others
	@for network in $(BENCHED); do \
		$(BIN)/python tests/bench/peers.py demo/bench/$$network --clip $(CLIP) \
			--json demo/bench/figures.json --markdown demo/bench.md > demo/bench/$$network.log || exit 1; \
	done; cat demo/bench.md

demo/bench/%/manifest.json: | $(READY)
	$(BIN)/saliency-export --network $* --fp16 --int8 --engine none --output demo/bench/$* || test -s $@

# From the last commit and with its dates: the same commit gives the same wheel, byte for byte.
dist: $(TWINE) ## build dist/*.whl, to copy to a device or to publish, and the source archive, both checked by twine
	@rm -rf dist $(SNAPSHOT) && mkdir -p $(SNAPSHOT)
	@umask 022 && git archive HEAD | tar -x -C $(SNAPSHOT)
	@umask 022 && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(dir $(TWINE))python -m build --no-isolation \
		--outdir dist $(SNAPSHOT) > .cache/dist.log 2>&1 || { tail -20 .cache/dist.log; exit 1; }
	@rm -rf $(SNAPSHOT)
	@$(TWINE) check --strict dist/*

$(TWINE):
	@$(PYTHON) -m venv --clear .cache/dist
	@.cache/dist/bin/python -m pip install -q -q $(DIST_TOOLS)

golden: $(READY) ## write the golden --help texts anew: look at the difference before you commit it
	$(BIN)/python tests/help_texts.py

ranges: $(READY) ## take the activation ranges of the shipped weights anew: make ranges PHOTOS=path/to/photos
	$(BIN)/python docs/shipped_ranges.py $(PHOTOS)

ready-bundle: $(READY) ## make the bundle that ships ready to run anew, after lite2's weights have changed
	$(BIN)/python docs/ready_bundle.py lite2

weights: $(READY) ## train the shipped weights anew, a night on two cores: make weights DATA=path/to/data
	$(MAKE) -f docs/weights.mk weights DATA=$(DATA) $(if $(EFFICIENTNET),EFFICIENTNET=$(EFFICIENTNET))

# Packages that go with no other: the runtime's calls are held against the interfaces of these versions.
api: $(API)
.cache/api/%: tests/api/%.txt | $(LOCKED)
	@mkdir -p $(@D)
	@$(PIP) --no-deps --require-hashes --target $@ -r $< 2> $@.log \
		|| echo "no $* for this machine: the tests that compare with it will be skipped"
	@mkdir -p $@ && touch $@

# uv resolves for all Pythons and processors at once; it lives apart, so a broken lock can always be mended.
lock: ## resolve the dependencies anew and write constraints.txt and constraints-oracle.txt
	@test -x .cache/uv/bin/uv || { $(PYTHON) -m venv .cache/uv && .cache/uv/bin/python -m pip install -q -q uv==$(UV_VERSION); }
	$(UV_COMPILE) --extra export --extra rtx --extra dev pyproject.toml -o constraints.txt
	$(UV_COMPILE) --extra oracle --constraint constraints.txt pyproject.toml -o constraints-oracle.txt

UV_COMPILE := .cache/uv/bin/uv pip compile -q --upgrade --universal --python-version 3.10 --generate-hashes \
	--custom-compile-command "make lock"

# mypy does not see setuptools' mapping of folders to import names: links show it the namespace.
$(VIEW):
	@mkdir -p $@
	@ln -sfn $(addprefix ../../../,$(PACKAGES)) $@

$(LOCKED): constraints.txt constraints-oracle.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python %d.%d found, 3.10 or later needed: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up .venv with $$($(PYTHON) --version): about 6 GB on disk, PyTorch with CUDA is most of it; minutes, once"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes -r constraints.txt
	@$(PIP) --require-hashes -r constraints-oracle.txt 2> .venv/oracle.log \
		|| echo "pysaliency could not be compiled here (.venv/oracle.log): the tests that compare with it will be skipped"
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
