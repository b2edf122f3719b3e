"""Measuring a model as a device runs it, and holding the figures against a baseline."""
