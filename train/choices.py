"""Options that are one of a few words."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["cosine", "plateau", "constant"]
Optimiser = Literal["adamw", "sgd"]
Metric = Literal["cc", "kld", "nss"]
