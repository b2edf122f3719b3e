"""`saliency-doctor`: what this machine has for `saliency-run`, and what to do where something is missing."""
