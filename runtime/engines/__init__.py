"""Engines: a model that turns frames into saliency maps, behind one protocol."""
