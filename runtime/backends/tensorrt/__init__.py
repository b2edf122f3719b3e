"""TensorRT and TensorRT-RTX: engines built for one GPU, checked by their receipts before they are loaded."""
