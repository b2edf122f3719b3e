"""Checking a bundle's models: in every implementation of ONNX that is at hand, against PyTorch's maps."""
