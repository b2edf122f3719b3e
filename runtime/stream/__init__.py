"""A frame's way: source, fit, infer, render, sinks."""
