"""Which of several points no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Give the places of the points that no other, different one reaches in all.

    Args:
        points: merits of each; larger is better.
    """
    return [
        place
        for place, point in enumerate(points)
        if not any(other != point and _reaches(other, point) for other in points)
    ]


def _reaches(other: tuple[float, ...], point: tuple[float, ...]) -> bool:
    return all(its >= own for its, own in zip(other, point, strict=True))
