"""One of the sources of a run, with what is its own: policy, journal, filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..telemetry import Counters
from .frame import SaliencyMap
from .journal import Journal
from .policy import ALL, NEWEST, Policy
from .sources import Source

MapFilter: TypeAlias = Callable[[SaliencyMap], SaliencyMap]
"""Changes a stream's maps, such as smoothing in time; it gets them in order, without those dropped."""


def unchanged(saliency: SaliencyMap) -> SaliencyMap:
    """Filter nothing."""
    return saliency


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A source on its way through the pipeline.

    Attributes:
        source: of its frames.
        journal: what happens on the way.
        policy: which of its frames are computed.
        map_filter: changes its maps before they are shown; a filter belongs to one stream.
    """

    source: Source
    journal: Journal
    policy: Policy
    map_filter: MapFilter = unchanged

    @classmethod
    def of(cls, source: Source, counters: Counters, policy: Policy | None = None) -> Stream:
        """Make a stream that nobody else hears of; without a policy it gets its source's own."""
        return cls(source=source, journal=Journal(counters), policy=policy or default_policy(source))


def default_policy(source: Source) -> Policy:
    """Keep up with what is live; leave out nothing of a file."""
    return NEWEST if source.is_live else ALL
