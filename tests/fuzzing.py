"""What all fuzzers share: damage to bytes and to JSON, and the one outcome that is allowed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from saliency_edge.runtime.console import one_line
from saliency_edge.runtime.errors import SaliencyError

# The same examples each time and so many of them: bounded in time, and no failure comes and goes.
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner)
)
"""Any JSON value."""


def refuses(read: Callable[[], object]) -> bool:
    """Read something damaged.

    Returns:
        Whether it was refused. Any other exception than a `SaliencyError` comes through.
    """
    text = None
    try:
        read()
    except SaliencyError as error:
        text = one_line(error)  # as the commands print it
    assert text is None or (text.strip() and text.isprintable())
    return text is not None


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut bytes off, or change, drop or insert some."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(damaged) - 1)))
        kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "zero", "ones"]))
        if kind == "cut" and draw(st.booleans()):
            del damaged[place:]
        elif kind == "drop":
            del damaged[place : place + draw(st.integers(1, 16))]
        elif kind == "insert":
            damaged[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind in ("zero", "ones"):
            count = min(draw(st.integers(1, 8)), len(damaged) - place)
            damaged[place : place + count] = (b"\0" if kind == "zero" else b"\xff") * count
        elif damaged:
            damaged[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(damaged)


@st.composite
def damaged_json(draw: st.DrawFn, document: Any) -> str:
    """Change a document: at a random place another value, one less, one more; or its text."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = None, None
        inner = document
        while isinstance(inner, dict | list) and inner and (holder is None or draw(st.integers(0, 3))):
            holder = inner
            key = draw(st.sampled_from(sorted(inner))) if isinstance(inner, dict) else draw(_place_in(inner))
            inner = holder[key]
        if holder is None:
            return json.dumps(draw(VALUES))
        kind = draw(st.sampled_from(["other", "other", "remove", "add"]))
        if kind == "remove":
            del holder[key]
        elif kind == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(VALUES)
        else:
            holder[key] = draw(VALUES)
    text = json.dumps(document)
    if draw(st.integers(0, 4)):
        return text
    return draw(damaged_bytes(text.encode())).decode("utf-8", "replace")


def _place_in(items: list[Any]) -> st.SearchStrategy[int]:
    return st.integers(0, len(items) - 1)
