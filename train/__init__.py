"""PyTorch: networks, datasets, losses, fitting, evaluation, checkpoints, shipped weights."""
