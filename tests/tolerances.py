"""The one table of tolerances: how far maps may differ from PyTorch's.

The product has its own table, which may be stricter: `test_parity.py` holds it against this one.
"""

from __future__ import annotations

MAX_ABS = {"fp32": 1e-4, "fp16": 4e-3, "fp16_rounded": 2e-2, "bf16": 5e-2, "int8": 0.5}
MIN_CC = {"fp32": 0.99999, "fp16": 0.9999, "fp16_rounded": 0.9999, "bf16": 0.9995, "int8": 0.99}
