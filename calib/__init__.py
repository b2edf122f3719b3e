"""Calibration: which frames, which activation ranges."""
