"""saliency-calib: which frames calibrate int8, and which activation ranges they give."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from ..runtime.console import echo, make_app, run_app

app = make_app("saliency-calib", "Choose frames that calibrate int8, and take activation ranges of them.")

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Folders of images and clips, globs, images, clips, or manifests of select.",
        show_default=False,
    ),
]
Frames = Annotated[int, typer.Option("--frames", min=1, help="Maximum number of frames.")]
Seed = Annotated[int, typer.Option(help="Seed of the random choice of frames.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")]
Shown = Annotated[
    str | None,
    typer.Option(
        "--shown",
        metavar="HxW",
        help="Original size of images that were squashed to another aspect ratio.",
        show_default=False,
    ),
]


@app.command("select")
def select_command(
    sources: Sources,
    output: Annotated[
        Path, typer.Option(help="A folder for the frames, or a .json file for a list of them.")
    ],
    frames: Frames = 512,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Choose frames to calibrate with.

    Near-duplicates are dropped, clips are sampled over their length, and dark, bright, flat and colourful
    frames are represented.
    """
    from ..runtime.options import MAX_SEED, check_range
    from .selection import select_frames, selection_json, selection_text, write_folder, write_manifest

    check_range("--frames", frames, 1, 1_000_000)
    check_range("--seed", seed, 0, MAX_SEED)
    _check_output(sources, output, is_folder=output.suffix != ".json")
    selection = select_frames(sources, frames, seed)
    write = write_manifest if output.suffix == ".json" else write_folder
    write(selection, output)
    if json:
        echo(dumps({**selection_json(selection), "output": str(output)}, indent=2))
    else:
        echo(f"{selection_text(selection)}\nwritten     {output}")


@app.command("ranges")
def ranges_command(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A bundle, or its fp32.onnx.", show_default=False)
    ],
    sources: Sources,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the ranges go: a .json file.")],
    frames: Frames = 512,
    seed: Seed = 0,
    shown: Shown = None,
    json: Json = False,
) -> None:
    """Compute activation ranges of the fp32 model.

    Nothing is computed where FILE already holds the ranges of this model, these frames and this method.
    """
    from ..runtime.options import MAX_SEED, check_range, parse_size
    from .audit import ranges_text
    from .calibrate import make_ranges
    from .graph import load_model
    from .selection import select_frames, selection_json, selection_text

    check_range("--frames", frames, 1, 1_000_000)
    check_range("--seed", seed, 0, MAX_SEED)
    shown_hw = parse_size(shown, "--shown") if shown is not None else None
    _check_output(sources, output, model=model)
    loaded = load_model(model)
    selection = select_frames(sources, frames, seed)
    ranges, is_new = make_ranges(loaded, selection.refs, shown_hw=shown_hw, present=output)
    if is_new:
        ranges.save(output)
    if json:
        echo(dumps({**selection_json(selection), "output": str(output), "made": is_new}, indent=2))
    else:
        echo(f"{selection_text(selection)}\n\n{ranges_text(ranges)}\n")
        echo(f"{'written' if is_new else 'unchanged':<12}{output}")


@app.command("audit")
def audit_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Frames to audit, as select takes them.", show_default=False),
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ranges to audit: have they converged?", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Report what frames lack and whether ranges converged."""
    from ..runtime.errors import UsageError
    from .audit import audit_frames, audit_json, audit_text
    from .frames import find_frames
    from .ranges import ActivationRanges
    from .selection import inspect_frames

    if not sources and ranges is None:
        raise UsageError("nothing to audit. Give a SOURCE, or --ranges FILE")
    found = ActivationRanges.load(ranges) if ranges else None
    frames = audit_frames(inspect_frames(find_frames(sources))) if sources else None
    echo(dumps(audit_json(frames, found), indent=2) if json else audit_text(frames, found))


def _check_output(
    sources: list[str], output: Path, *, model: Path | None = None, is_folder: bool = False
) -> None:
    """See, before frames are read, that the output can be written and destroys nothing that is read.

    Raises:
        UsageError: the output is a source, a file of one, or lies in the model's bundle.
        OutputError: it cannot be written, or is a folder that holds what is not ours.
    """
    from ..runtime.outputs import OutputPlan
    from .frames import files_read
    from .selection import check_selection

    plan = OutputPlan()
    if model is not None:
        plan.read_model("MODEL", model)
    for path in files_read(sources):
        plan.read_file("SOURCE", path)
    if is_folder:
        plan.write_folder("--output", output, check_selection)
    else:
        plan.write_file("--output", output)
    plan.check()


def main() -> None:
    """Entry point of `saliency-calib`."""
    run_app(app)


if __name__ == "__main__":
    main()
