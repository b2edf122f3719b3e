"""saliency-eval: the official figures of a model on a dataset of human fixations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..runtime.console import echo, make_app, run_app, warn
from ..runtime.contract import Precision

if TYPE_CHECKING:
    from ..runtime.backends.backend import Model
    from .evaluate import Estimate, Evaluation, EvaluationConfig
    from .samples import Dataset, Sample

NOTES_SHOWN = 5

app = make_app(
    "saliency-eval", "Measure a model against human fixations, beside a centre prior and other people."
)


@app.command()
def evaluate_model(
    model: Annotated[Path, typer.Argument(help="Checkpoint, ONNX file or bundle.")],
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    layout: Annotated[
        str | None, typer.Option(help="salicon, cat2000, mit1003, osie or plain; found out by itself.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the dataset, such as val.")] = None,
    names: Annotated[Path | None, typer.Option(help="Text file: take only these images, one a line.")] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Take only the first ones.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a dataset with anything amiss.")] = False,
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Photographs of another aspect than their maps are meant so.")
    ] = False,
    precision: Annotated[
        Precision | None, typer.Option(help="Which model of a bundle; without it fp16 where there is one.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, help="Blur of raw fixations in pixels; 14/640 of the width.")
    ] = None,
    pixels_per_degree: Annotated[
        float | None, typer.Option(min=0, help="Take --sigma in degrees of visual angle.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn at random.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too, image by image.")] = None,
) -> None:
    """Measure a model against human fixations, beside a centre prior and other people."""
    from ..runtime.artifact import write_json
    from ..runtime.backends.select import load_model
    from .evaluate import EvaluationConfig, evaluate, predictor_of
    from .readers import read_dataset, read_names

    config = EvaluationConfig(sigma_px=_sigma_px(sigma, pixels_per_degree), seed=seed)
    chosen = read_dataset(
        dataset,
        layout=layout,
        split=split,
        names=read_names(names) if names else None,
        strict=strict,
        stretch=stretch,
    ).first(max_images)
    _print_notes(chosen)
    with closing(load_model(model, precision)) as engine:
        evaluation = evaluate(predictor_of(engine), chosen, config, _progress)
    echo(f"{model}: {engine.contract.network}, {engine.description}")
    echo(f"{chosen.name}: {len(chosen)} images; mean [95 % interval]\n")
    echo(_table(evaluation))
    if json is not None:
        write_json(json, _json_of(evaluation, chosen, model, engine, config))


def _table(evaluation: Evaluation) -> str:
    """Lay the figures out: a row for each metric and a column for each line, as far as they are defined."""
    from .evaluate import METRICS

    estimates = {line: evaluation.estimates(line) for line in evaluation.scores}
    columns = {line: values for line, values in estimates.items() if values}
    metrics = [name for name in METRICS if any(name in values for values in columns.values())]
    rows = [[name, *(_text(values.get(name)) for values in columns.values())] for name in metrics]
    return "\n".join(_aligned(cells) for cells in [["", *columns], *rows])


def _aligned(cells: list[str]) -> str:
    return f"{cells[0]:<11}" + "".join(f"{cell:<24}" for cell in cells[1:]).rstrip()


def _text(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.mean:.3f} [{estimate.low:.3f} {estimate.high:.3f}]"


def _sigma_px(sigma: float | None, pixels_per_degree: float | None) -> float | None:
    from ..runtime.errors import UsageError
    from .fixation_map import sigma_px_of

    if pixels_per_degree is None:
        return sigma
    if sigma is None:
        raise UsageError("--pixels-per-degree is given without --sigma. Give the sigma in degrees, such as 1")
    return sigma_px_of(sigma, pixels_per_degree)


def _progress(samples: Sequence[Sample], unit: str) -> Iterator[Sample]:
    from ..runtime.progress import progress

    with progress(unit, len(samples)) as advance:
        for sample in samples:
            yield sample
            advance()


def _print_notes(dataset: Dataset) -> None:
    """Say what is amiss with the dataset; the JSON file has all of it."""
    for note in dataset.notes[:NOTES_SHOWN]:
        warn(f"note: {note}")
    if len(dataset.notes) > NOTES_SHOWN:
        warn(f"note: and {len(dataset.notes) - NOTES_SHOWN} more such")


def _json_of(
    evaluation: Evaluation, dataset: Dataset, model: Path, engine: Model, config: EvaluationConfig
) -> dict[str, Any]:
    """Give everything that was found, and all that is needed to find it again; undefined scores are null."""
    from .evaluate import METRICS, MODEL

    estimates = {line: evaluation.estimates(line) for line in evaluation.scores}
    return {
        "model": str(model),
        "engine": engine.description,
        "contract": asdict(engine.contract),
        "dataset": dataset.name,
        "images": len(dataset),
        "config": asdict(config),
        "lines": {
            line: {name: asdict(one) for name, one in values.items()} for line, values in estimates.items()
        },
        "model_by_image": {
            name: {
                metric: None if math.isnan(score) else score
                for metric, score in zip(METRICS, row, strict=True)
            }
            for name, row in zip(evaluation.names, evaluation.scores[MODEL].tolist(), strict=True)
        },
        "notes": list(dataset.notes),
    }


def main() -> None:
    """Entry point of `saliency-eval`."""
    run_app(app)


if __name__ == "__main__":
    main()
