"""saliency-eval: the official figures of a model on a dataset of human fixations."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..runtime.console import echo, make_app, run_app, warn
from ..runtime.contract import Precision

if TYPE_CHECKING:
    from ..runtime.backends.backend import Model
    from .datasets.sample import Dataset, Sample
    from .evaluate import Estimate, Evaluation, EvaluationConfig

NOTES_SHOWN = 5

app = make_app(
    "saliency-eval", "Measure a model against human fixations, beside a centre prior and other people."
)


@app.command()
def evaluate_model(
    model: Annotated[Path, typer.Argument(help="Checkpoint, ONNX file or bundle.")],
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET...",
            help="Folders of datasets. Options of one alone follow it: FOLDER,split=val,stretch "
            "(layout, split, names, every, from, sigma, stretch, skip-first).",
        ),
    ],
    layout: Annotated[
        str | None, typer.Option(help="salicon, cat2000, mit1003, osie or plain; default: detected.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the dataset, such as val.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="Text file with the names of the images to take, one a line.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every Nth image, by name.")] = 1,
    start: Annotated[int, typer.Option("--from", min=1, help="Image that --every begins with.")] = 1,
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of images (default: all).")
    ] = None,
    skip_first: Annotated[
        bool, typer.Option("--skip-first", help="Leave out each viewer's first fixation.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if an image or a map has no counterpart.")
    ] = False,
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Accept images whose aspect ratio differs from their maps'.")
    ] = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Precision of the bundle's model (default: fp16 where there is one)."),
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, help="Blur of raw fixations in pixels; 14/640 of the longer side.")
    ] = None,
    pixels_per_degree: Annotated[
        float | None, typer.Option(min=0, help="Take --sigma in degrees of visual angle.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    json: Annotated[
        Path | None, typer.Option(help="Write the figures here too, image by image; - is stdout.")
    ] = None,
) -> None:
    """Measure a model against human fixations, beside a centre prior and other people."""
    from ..runtime.artifact import finite, write_json
    from ..runtime.backends.select import load_model
    from ..runtime.outputs import STDOUT, stdout_or
    from .evaluate import EvaluationConfig, evaluate, predictor_of

    common = _Choice(
        layout=layout,
        split=split,
        names=names,
        every=every,
        start=start,
        sigma_px=_sigma_px(sigma, pixels_per_degree),
        stretch=stretch,
        skip_first=skip_first,
    )
    json = stdout_or(json)
    for_people = sys.stderr if json == STDOUT else sys.stdout
    _check_output(json, model, [_chosen(text, common) for text in datasets])
    read = [_read(text, common, strict=strict, max_images=max_images) for text in datasets]
    chosen = [(dataset, EvaluationConfig(sigma_px=blur_px, seed=seed)) for dataset, blur_px in read]
    results: list[tuple[Dataset, EvaluationConfig, Evaluation]] = []
    with closing(load_model(model, precision)) as engine:
        echo(f"{model}: {engine.contract.network}, {engine.description}", for_people)
        for dataset, config in chosen:
            _print_notes(dataset)
            evaluation = evaluate(predictor_of(engine), dataset, config, _progress)
            results.append((dataset, config, evaluation))
            echo(f"\n{dataset.name}: {len(dataset)} images; mean [95 % interval]\n", for_people)
            echo(_table(_lines_of(evaluation)), for_people)
    if len(results) > 1:
        echo(f"\nmean over {len(results)} sets; of each metric, over the sets that define it\n", for_people)
        echo(_table(_mean_lines(results)), for_people)
    if json == STDOUT:
        echo(dumps(finite(_json_of(results, model, engine)), indent=2))
    elif json is not None:
        write_json(json, _json_of(results, model, engine))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Which images of a dataset, and how they are read."""

    layout: str | None
    split: str | None
    names: Path | None
    every: int
    start: int
    sigma_px: float | None
    stretch: bool
    skip_first: bool

    def changed_by(self, text: str, origin: str) -> _Choice:
        """Apply one `key=value`, or a flag's name, of a dataset's own options.

        Raises:
            UsageError: the key is unknown, or the value is not what it takes.
        """
        from ..runtime.errors import UsageError

        key, _, value = text.partition("=")
        try:
            match key:
                case "stretch" if not value:
                    return replace(self, stretch=True)
                case "skip-first" if not value:
                    return replace(self, skip_first=True)
                case "layout" if value:
                    return replace(self, layout=value)
                case "split" if value:
                    return replace(self, split=value)
                case "names" if value:
                    return replace(self, names=Path(value))
                case "every" if int(value) >= 1:
                    return replace(self, every=int(value))
                case "from" if int(value) >= 1:
                    return replace(self, start=int(value))
                case "sigma" if float(value) >= 0:
                    return replace(self, sigma_px=float(value))
        except ValueError:
            pass
        raise UsageError(
            f"{origin}: found {text!r}; expected layout=NAME, split=NAME, names=FILE, every=N, from=N, "
            "sigma=PIXELS, stretch or skip-first, with N from 1 on"
        )


def _chosen(text: str, common: _Choice) -> tuple[Path, _Choice]:
    """Understand a dataset given as `FOLDER` or `FOLDER,option,option`.

    Raises:
        UsageError: an option is unknown, or its value is not what it takes.
    """
    folder, *own = [text] if Path(text).is_dir() else text.split(",")
    choice = common
    for option in own:
        choice = choice.changed_by(option, text)
    return Path(folder), choice


def _check_output(json: Path | None, model: Path, datasets: Sequence[tuple[Path, _Choice]]) -> None:
    """See, before images are read, that the figures can be written and destroy nothing that is read.

    Raises:
        UsageError: their file belongs to the model or to a dataset.
        OutputError: it cannot be written.
    """
    from ..runtime.outputs import OutputPlan

    plan = OutputPlan()
    plan.read_model("MODEL", model)
    for folder, choice in datasets:
        plan.read_tree("DATASET", folder)
        plan.read_file("--names", choice.names)
    plan.write_file("--json", json, takes_stdout=True)
    plan.check()


def _read(
    text: str, common: _Choice, *, strict: bool, max_images: int | None
) -> tuple[Dataset, float | None]:
    """Read a dataset given as `FOLDER` or `FOLDER,option,option`, and the sigma for its fixations."""
    from .datasets import read_dataset, read_names

    folder, choice = _chosen(text, common)
    dataset = read_dataset(
        folder,
        layout=choice.layout,
        split=choice.split,
        names=read_names(choice.names) if choice.names else None,
        strict=strict,
        stretch=choice.stretch,
    ).every(choice.every, choice.start)
    if choice.skip_first:
        dataset = dataset.without_first_fixations()
    return dataset.first(max_images), choice.sigma_px


def _lines_of(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    from .evaluate import NORMALISED

    lines = {line: evaluation.estimates(line) for line in evaluation.scores}
    return {**lines, NORMALISED: evaluation.normalised()}


def _mean_lines(
    results: Sequence[tuple[Dataset, EvaluationConfig, Evaluation]],
) -> dict[str, dict[str, Estimate]]:
    from .evaluate import means_over_sets

    return means_over_sets([evaluation for _, _, evaluation in results])


def _table(estimates: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Lay the figures out: a row for each metric and a column for each line, as far as they are defined."""
    from .evaluate import METRICS

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
    from .datasets.sample import sigma_px_of

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
    results: Sequence[tuple[Dataset, EvaluationConfig, Evaluation]], model: Path, engine: Model
) -> dict[str, Any]:
    """Everything that was found, and all that is needed to find it again; undefined scores are null."""
    return {
        "model": str(model),
        "engine": engine.description,
        "contract": asdict(engine.contract),
        "sets": [_set_json(*result) for result in results],
        "mean over sets": _lines_json(_mean_lines(results)),
    }


def _set_json(dataset: Dataset, config: EvaluationConfig, evaluation: Evaluation) -> dict[str, Any]:
    from .evaluate import METRICS, MODEL

    return {
        "dataset": dataset.name,
        "images": len(dataset),
        "config": asdict(config),
        "lines": _lines_json(_lines_of(evaluation)),
        "model_by_image": {
            name: {
                metric: None if math.isnan(score) else score
                for metric, score in zip(METRICS, row, strict=True)
            }
            for name, row in zip(evaluation.names, evaluation.scores[MODEL].tolist(), strict=True)
        },
        "notes": list(dataset.notes),
    }


def _lines_json(lines: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {line: {name: asdict(one) for name, one in values.items()} for line, values in lines.items()}


def main() -> None:
    """Entry point of `saliency-eval`."""
    run_app(app)


if __name__ == "__main__":
    main()
