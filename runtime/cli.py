"""`saliency-run`: a model and a video in, saliency maps and an overlay out."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import run_app, stop_request
from .contract import Precision

if TYPE_CHECKING:
    from .video.summary import RunSummary

_STDOUT = Path("-")

app = typer.Typer(
    name="saliency-run", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)


@app.command()
def run(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A bundle (folder or .zip), an .onnx, an .engine, or a .safetensors checkpoint.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of images, an image, or a quoted glob such as 'shots/*.png'.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write a video of the maps over the frames: .mp4, .mkv, .avi or .mov.", metavar="FILE"
        ),
    ] = None,
    view: Annotated[
        Literal["overlay", "side-by-side"], typer.Option(help="How that video shows frame and map.")
    ] = "overlay",
    opacity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the overlay where saliency is highest.")
    ] = 0.75,
    colormap: Annotated[
        str, typer.Option(help="An OpenCV colour map: inferno, turbo, viridis, jet, magma, hot, ...")
    ] = "inferno",
    fps: Annotated[
        float | None,
        typer.Option(min=0.1, help="Of that video; without it, the source's divided by --every."),
    ] = None,
    save_maps: Annotated[
        Path | None, typer.Option(help="Write one map per frame into this folder.", metavar="DIR")
    ] = None,
    maps_format: Annotated[
        Literal["png16", "npy"],
        typer.Option(help="png16: frame's size, 0 to 65535. npy: float32 0 to 1, as the network gave it."),
    ] = "png16",
    every: Annotated[int, typer.Option(min=1, help="Take one frame in so many.")] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Which model of a bundle; without it fp16 where there is one.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That compute one inference on the CPU; without it, all cores.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write what was done and what it cost as JSON; - is stdout.", metavar="FILE"),
    ] = None,
) -> None:
    """Compute saliency maps of a video or of images, and show what people would look at."""
    from .artifact import check_writable
    from .video.render import RenderOptions
    from .video.run import RunOptions, run_to_files

    options = RunOptions(
        model=model,
        source=source,
        precision=precision,
        threads=threads,
        output=output,
        fps=fps,
        render=RenderOptions(view=view, opacity=opacity, colormap=colormap),
        save_maps=save_maps,
        maps_format=maps_format,
        every=every,
        max_frames=max_frames,
    )
    if json is not None and json != _STDOUT:
        check_writable(json)
    for_people = sys.stderr if json == _STDOUT else sys.stdout
    with stop_request() as stop:
        summary = run_to_files(options, stop, say=lambda line: print(line, file=for_people, flush=True))
        print(f"\n{summary.to_text()}", file=for_people)
        if json is not None:
            _write_json(summary, json)
    stop.exit_if_made()


def _write_json(summary: RunSummary, path: Path) -> None:
    from .artifact import write_json

    if path == _STDOUT:
        print(dumps(summary.to_json(), indent=2))
    else:
        write_json(path, summary.to_json())


def main() -> None:
    """Entry point of `saliency-run`."""
    run_app(app)


if __name__ == "__main__":
    main()
