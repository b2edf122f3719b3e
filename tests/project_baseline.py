"""The project's own baseline: both networks, fp32 and int8, in ONNX Runtime. See `bench/test_project.py`.

Their weights are random, from a seed: new shipped weights change nothing here. When a change makes something
slower or larger on purpose, save the baseline anew, and commit it with the change:

    PYTHONPATH=tests python tests/project_baseline.py
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench_bundles import PAD, STRETCH, quick_plan, save_seeded_bundle
from saliency_edge.runtime.bench.baseline import save_baseline
from saliency_edge.runtime.bench.measure import BenchPlan, measure

BASELINE = Path(__file__).parent / "bench" / "baselines" / "project.json"
START_UPS = 3
PATIENCE_S = 20.0


def project_plan(folder: Path) -> BenchPlan:
    """Write the bundles into a folder, and plan what is measured of them."""
    bundles = [save_seeded_bundle(folder / network, network) for network in (STRETCH, PAD)]
    plan = quick_plan(*bundles, frames=60, seconds=PATIENCE_S, precisions=("fp32", "int8"))
    models = [replace(spec, backend="onnxruntime") for spec in plan.models]  # on every machine the same one
    return replace(plan, models=models, start_ups=START_UPS)


def main() -> None:
    """Measure, and write the baseline."""
    with tempfile.TemporaryDirectory() as folder:
        save_baseline(measure(project_plan(Path(folder)), print), BASELINE)
    print(BASELINE)


if __name__ == "__main__":
    main()
