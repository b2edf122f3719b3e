"""Building TensorRT engines from a bundle, and proving what was built."""
