"""Backends: what runs a model here, each behind one protocol, and the loop that chooses between them."""
