"""How much memory this process has, as Linux tells it."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Give the memory that is resident now, in bytes; None where the system does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_free_memory() -> None:
    """Let the allocator give what is free to the system: else a leak would fill holes before it shows.

    It is glibc's malloc_trim; other C libraries have no such function, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_resident_bytes() -> int | None:
    """Give the most memory that was ever resident, in bytes; None where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
