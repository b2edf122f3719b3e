"""Writing an engine with its receipt; `runtime/backends/tensorrt/receipt.py` has the receipt itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.artifact import atomic_file
from ...runtime.backends.tensorrt.receipt import Receipt, write_receipt

_MEMORY = re.compile(r"Total (?:Activation|Weights) Memory: (\d+) bytes")


def write_engine(path: Path, engine: bytes, receipt: Receipt) -> None:
    """Write an engine and its receipt, both or none.

    Raises:
        OutputError: the folder is missing, read-only or full.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(engine)
        write_receipt(path, receipt)


def device_memory_bytes(facts: Sequence[str]) -> int | None:
    """Add up what a build's log says of the memory for weights and tensors; None where it says nothing."""
    found = [int(size) for fact in facts for size in _MEMORY.findall(fact)]
    return sum(found) if found else None
