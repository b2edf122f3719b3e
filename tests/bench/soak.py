"""Watches a long run from outside: its memory, descriptors, threads and CPU time, sampled into a CSV.

    python tests/bench/soak.py --minutes 60 --csv soak.csv -- saliency-run deep_half test: --web 8080

The run is ended with SIGTERM when its time is over, and must end with its exit code. Growth is the median of
the last tenth of the samples over the median of the tenth after the first, in which buffers fill. Linux only.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from saliency_edge.runtime.console import make_app, run_app
from saliency_edge.runtime.errors import SaliencyError, UsageError

app = make_app("soak")

_ENDED_BY_SIGTERM = 128 + signal.SIGTERM
_FEWEST_SAMPLES = 20


class SoakError(SaliencyError):
    """A run that grew, or ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process holds at one moment."""

    time_s: float
    rss_kib: int
    descriptors: int
    threads: int
    children: int
    cpu_s: float


@app.command()
def main(
    command: Annotated[list[str], typer.Argument(help="What is run, after --.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between samples.")] = 5.0,
    csv_path: Annotated[Path | None, typer.Option("--csv", help="Write the samples there.")] = None,
    largest_growth: Annotated[float, typer.Option(help="Of the memory, in percent; more fails.")] = 1.0,
) -> None:
    """Run a command, sample it, and print how it grew."""
    if minutes * 60 / every < _FEWEST_SAMPLES:
        raise UsageError(
            f"{minutes:g} minutes hold too few samples {every:g} s apart; take {_FEWEST_SAMPLES}"
        )
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        samples = watch(process, minutes * 60, every, csv_path)
    finally:
        process.terminate()
        code = process.wait(60)
    print_report(samples)
    if code != _ENDED_BY_SIGTERM:
        raise SoakError(f"the run ended with code {code}, expected {_ENDED_BY_SIGTERM} after SIGTERM")
    if growth_percent([sample.rss_kib for sample in samples]) > largest_growth:
        raise SoakError(f"memory grew by more than {largest_growth:g}%")


def watch(
    process: subprocess.Popen[bytes], length_s: float, every_s: float, csv_path: Path | None
) -> list[Sample]:
    """Sample until the time is over; the CSV is whole after each line."""
    samples: list[Sample] = []
    start_s = time.monotonic()
    while time.monotonic() - start_s < length_s:
        time.sleep(every_s)
        if process.poll() is not None:
            raise SoakError(f"the run ended by itself, with code {process.returncode}")
        samples.append(sample_of(process.pid, time.monotonic() - start_s))
        if csv_path is not None:
            append(csv_path, samples)
    return samples


def sample_of(pid: int, time_s: float) -> Sample:
    """Read what the kernel knows of a process; see proc(5)."""
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    after_name = (folder / "stat").read_text().rpartition(")")[2].split()
    return Sample(
        time_s=round(time_s, 1),
        rss_kib=int(status["VmRSS"].split()[0]),
        descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=int(status["Threads"]),
        children=len((folder / "task" / str(pid) / "children").read_text().split()),
        cpu_s=(int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK"),
    )


def append(path: Path, samples: Sequence[Sample]) -> None:
    """Write the last sample, after a header where it is the first one."""
    with path.open("w" if len(samples) == 1 else "a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        if len(samples) == 1:
            writer.writeheader()
        writer.writerow(asdict(samples[-1]))


def print_report(samples: Sequence[Sample]) -> None:
    """Print the first, the largest and the last value of each count, and how the memory grew."""
    print(f"{len(samples)} samples in {samples[-1].time_s / 60:.1f} minutes")
    print(f"{'':14}{'begin':>10}{'most':>10}{'end':>10}{'growth %':>10}")
    for name in ("rss_kib", "descriptors", "threads", "children"):
        values = [getattr(sample, name) for sample in samples]
        begin, end = tenths(values)
        print(f"{name:14}{begin:10.0f}{max(values):10}{end:10.0f}{growth_percent(values):10.2f}")
    busy = (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].time_s - samples[0].time_s)
    print(f"CPU            {busy:.0%} of one core")


def tenths(values: Sequence[int]) -> tuple[float, float]:
    """Give the medians of the second and of the last tenth."""
    tenth = len(values) // 10
    return median(values[tenth : 2 * tenth]), median(values[-tenth:])


def growth_percent(values: Sequence[int]) -> float:
    """Give the growth from the second to the last tenth."""
    begin, end = tenths(values)
    return (end / begin - 1) * 100 if begin else 0.0


if __name__ == "__main__":
    run_app(app)
