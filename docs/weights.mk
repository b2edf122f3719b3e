# The way from photographs to the shipped weights, stage by stage: `make weights DATA=folder`.
# The stages, how long they take and what comes out of them: model_cards.md.
#
# DATA holds salicon, scene500, photos/train, teachers/glimpse/*.onnx and backbones/vgg16_conv_hed_fp16.npz.
# A line names what a stage makes and what it starts from: a checkpoint or VGG16, and its teachers; one that
# stands twice counts twice. A stage that was stopped goes on where it was.

RUNS ?= runs
BIN ?= .venv/bin

GLIMPSE := $(wildcard $(DATA)/teachers/glimpse/*.onnx)
ifeq ($(GLIMPSE),)
$(error DATA=$(DATA) holds no teachers/glimpse/*.onnx. Give the folder of the data: make weights DATA=path/to/data)
endif
VGG16 := $(DATA)/backbones/vgg16_conv_hed_fp16.npz

deep_half = $(RUNS)/deep_half_$(1)/deep_half.safetensors
mlnet_small = $(RUNS)/mlnet_$(1)/mlnet_small.safetensors
mlnet = $(RUNS)/mlnet_$(1)/mlnet.safetensors

MLNET_COARSE := $(RUNS)/teachers_coarse/mlnet_small/fp32.onnx
MLNET_LONG := $(RUNS)/teachers_long/mlnet_small/fp32.onnx
DEEP_HALF_LAST := $(RUNS)/teachers_last/deep_half/fp32.onnx

FIRST_TEACHERS := $(GLIMPSE)
NEXT_TEACHERS := $(GLIMPSE) $(MLNET_COARSE) $(MLNET_COARSE)
LAST_TEACHERS := $(GLIMPSE) $(DEEP_HALF_LAST) $(DEEP_HALF_LAST) $(MLNET_LONG) $(MLNET_LONG)

.PHONY: weights
.SECONDARY:
weights: $(call deep_half,last) $(call mlnet,more)
	@echo "trained: $^. To ship them, copy them into train/weights, then: make ranges PHOTOS=$(DATA)/photos/train"

$(call mlnet_small,coarse): $(VGG16) $(FIRST_TEACHERS)
$(call mlnet,fine): $(call mlnet_small,coarse) $(NEXT_TEACHERS)
$(call mlnet,long): $(call mlnet,fine) $(NEXT_TEACHERS)
$(call mlnet,final): $(call mlnet,long) $(LAST_TEACHERS)
$(call mlnet,more): $(call mlnet,final) $(LAST_TEACHERS)

$(call deep_half,coarse): $(FIRST_TEACHERS)
$(call deep_half,fine): $(call deep_half,coarse) $(FIRST_TEACHERS)
$(call deep_half,final): $(call deep_half,fine) $(NEXT_TEACHERS)
$(call deep_half,long): $(call deep_half,final) $(NEXT_TEACHERS)
$(call deep_half,last): $(call deep_half,long)

$(MLNET_COARSE): $(call mlnet_small,coarse)
$(MLNET_LONG): $(call mlnet,long)
$(DEEP_HALF_LAST): $(call deep_half,last)

$(RUNS)/%.safetensors:
	$(BIN)/saliency-train recipe $(notdir $(@D)) --data $(DATA) --output $(@D) \
		$(addprefix --start ,$(filter %.safetensors,$+)) $(addprefix --vgg16 ,$(filter %.npz,$+)) \
		$(addprefix --teacher ,$(filter %.onnx,$+))

$(RUNS)/%.onnx:
	$(BIN)/saliency-export --fp32 --engine none --network $(notdir $(@D)) --weights $< --output $(@D)
