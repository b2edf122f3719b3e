"""`saliency-run`: a model and a video or a camera in, saliency maps and an overlay out."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import echo, make_app, refuse_idle_options, run_app, stop_request, warn
from .contract import Precision
from .errors import InputError

if TYPE_CHECKING:
    from .backends.select import BackendReport
    from .stream.regions import RegionOptions
    from .stream.run import RunSummary
    from .stream.run_options import RunOptions
    from .web.web_options import WebOptions

app = make_app("saliency-run")


@app.command()
def run(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A bundle (folder or .zip), an .onnx, an .engine, a .safetensors checkpoint, "
            "or the name of a bundle that ships: lite2.",
            show_default=False,
        ),
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of images, an image, or a quoted glob such as 'shots/*.png'; "
            "camera:0, csi:0, rtsp://..., 'gst:PIPELINE', 'ffmpeg:ARGS', - for Y4M on stdin, "
            "raw:width=640,height=360,fps=30 for raw frames there, or test: for a moving pattern.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write a video of the maps over the frames: .mp4, .mkv, .avi or .mov.", metavar="FILE"
        ),
    ] = None,
    view: Annotated[
        Literal["overlay", "side-by-side"],
        typer.Option(help="Layout of rendered frames: map blended over the frame, or beside it."),
    ] = "overlay",
    opacity: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Maximum overlay opacity, reached where saliency is highest."),
    ] = 0.75,
    colormap: Annotated[
        str, typer.Option(help="An OpenCV colour map: inferno, turbo, viridis, jet, magma, hot, ...")
    ] = "inferno",
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1000.0,
            help="Frame rate of the video and of --raw y4m (default: the source's, divided by --every). "
            "A lower one saves CPU time on a live source.",
        ),
    ] = None,
    save_maps: Annotated[
        Path | None, typer.Option(help="Write one map per frame into this folder.", metavar="DIR")
    ] = None,
    maps_format: Annotated[
        Literal["png16", "npy"],
        typer.Option(
            help="png16: 16-bit PNG at the frame's size. npy: float32, 0 to 1, at the network's map size."
        ),
    ] = "png16",
    jsonl: Annotated[
        Path | None,
        typer.Option(
            help="Write one line of JSON per frame: time, age, peak, entropy, regions; - is stdout.",
            metavar="FILE",
        ),
    ] = None,
    raw: Annotated[
        Literal["bgr24", "y4m"] | None,
        typer.Option(
            help="Write rendered frames to stdout, uncompressed, for another program: bgr24 or y4m."
        ),
    ] = None,
    window: Annotated[
        bool, typer.Option("--window", help="Show rendered frames in a window; closing it ends the run.")
    ] = False,
    web: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve a live view for browsers at this port: 8080 for this machine alone, "
            "0.0.0.0:8080 for others too.",
        ),
    ] = None,
    web_token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="SALIENCY_WEB_TOKEN",
            help="Token that browsers must give (default: a random one where other machines can connect, "
            "else none).",
        ),
    ] = None,
    compare: Annotated[
        Precision | None,
        typer.Option(
            help="Precision of a second model of the bundle, to compare with the first in the web view."
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Reduce flicker: time constant of an average over time, such as 0.2s (default: off).",
        ),
    ] = None,
    regions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of regions of interest, as boxes and in --jsonl (default: none).",
        ),
    ] = None,
    qp_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write per-block QP offsets for a video encoder, lower where saliency is high: .npy, or "
            ".filter for ffmpeg.",
        ),
    ] = None,
    qp_strength: Annotated[
        float,
        typer.Option(min=1.0, max=24.0, help="QP difference between saliency 0 and saliency 1, in --qp-map."),
    ] = 10.0,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="newest|all|deadline=MS",
            help="Which frames are processed when they arrive faster than the model runs "
            "(default: newest for a live source, all for a file).",
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Process every Nth frame.")] = 1,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of frames of each source (default: all).")
    ] = None,
    open_timeout: Annotated[
        float, typer.Option(min=0.1, help="Time-out for a live source's first frame, in seconds.")
    ] = 10.0,
    read_timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Time-out for a live source's next frame, in seconds; the source is then reopened."
        ),
    ] = 5.0,
    give_up: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="End the run when a source has been lost for this many seconds (default: keep trying).",
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Precision of the bundle's model (default: the fastest that matches PyTorch here)."
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="auto|tensorrt|openvino|onnxruntime|pytorch",
            help="Inference backend; auto selects the fastest that matches PyTorch on this machine.",
        ),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads per inference (default: all cores).")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail instead of falling back to another backend when the TensorRT engine, or what "
            "--backend names, cannot run.",
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Rebuild the bundle's TensorRT engine if it is missing or was built for another machine.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check every backend that can run the bundle here against PyTorch's maps of its golden "
            "frames, without a SOURCE.",
        ),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            help="Write a summary with the time of each stage as JSON; - is stdout.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Compute saliency maps of videos, images or cameras: where people would look."""
    from .backends.backend import LoadOptions
    from .options import check_threads
    from .outputs import stdout_or
    from .stream.render import RenderOptions
    from .stream.run_options import RunOptions
    from .stream.scheduler import Policy
    from .stream.sinks.open_sinks import SinkOptions
    from .stream.sinks.qp_map import QpMapOptions
    from .stream.sources.source import SourceOptions

    jsonl, json = stdout_or(jsonl), stdout_or(json)
    options = RunOptions(
        model=model,
        sources=sources or (),
        precision=precision,
        load=LoadOptions(backend=backend, threads=check_threads(threads), strict=strict, rebuild=rebuild),
        check=check,
        source=SourceOptions(
            every=every,
            max_frames=max_frames,
            open_timeout_s=open_timeout,
            read_timeout_s=read_timeout,
            give_up_s=give_up,
        ),
        policy=Policy.parse(policy) if policy is not None else None,
        sinks=SinkOptions(
            output=output,
            fps=fps,
            save_maps=save_maps,
            maps_format=maps_format,
            jsonl=jsonl,
            raw=raw,
            window=window,
        ),
        render=RenderOptions(view=view, opacity=opacity, colormap=colormap),
        smooth_s=_time_constant_of(smooth) if smooth is not None else None,
        regions=_regions_of(regions) if regions else None,
        qp_map=qp_map,
        qp=QpMapOptions(strength=qp_strength),
        web=_web_of(web, web_token, opacity, colormap) if web is not None else None,
        compare=compare,
        json=json,
    )
    _refuse_idle(context, options)
    (_check_and_report if check else _run_and_report)(options)


def _refuse_idle(context: typer.Context, options: RunOptions) -> None:
    """Refuse what would do nothing beside the other options.

    Raises:
        UsageError: one of them was given.
    """
    from .stream.run_options import is_live_by_name

    if options.check:
        for_check = (
            "model",
            "sources",
            "precision",
            "backend",
            "threads",
            "strict",
            "rebuild",
            "check",
            "json",
        )
        refuse_idle_options(context, "with --check", except_for=for_check)
    sinks, web = options.sinks, options.web
    rendered = sinks.output or sinks.raw or sinks.window
    shown = rendered or web
    written = shown or sinks.save_maps or sinks.jsonl or options.qp_map
    live = any(map(is_live_by_name, options.sources))
    refuse_idle_options(context, "without --output or --raw y4m", fps=sinks.output or sinks.raw == "y4m")
    refuse_idle_options(context, "without --output, --raw or --window", view=rendered)
    refuse_idle_options(context, "without --output, --raw, --window or --web", opacity=shown, colormap=shown)
    refuse_idle_options(context, "without --save-maps", maps_format=sinks.save_maps)
    refuse_idle_options(context, "without --web", web_token=web)
    refuse_idle_options(context, "without --qp-map", qp_strength=options.qp_map)
    refuse_idle_options(context, "where nothing shows or lists them", regions=shown or sinks.jsonl)
    refuse_idle_options(context, "where no map is shown or written", smooth=written)
    refuse_idle_options(
        context, "with files and patterns", open_timeout=live, read_timeout=live, give_up=live
    )


def _time_constant_of(text: str) -> float:
    from .stream.smoothing import parse_time_constant

    return parse_time_constant(text)


def _regions_of(top: int) -> RegionOptions:
    from .stream.regions import RegionOptions

    return RegionOptions(top=top)


def _web_of(address: str, token: str | None, opacity: float, colormap: str) -> WebOptions:
    from .web.web_options import WebOptions, parse_address

    host, port = parse_address(address)
    return WebOptions(host=host, port=port, token=token, opacity=opacity, colormap=colormap)


def _check_and_report(options: RunOptions) -> None:
    from .backends.select import check_model
    from .outputs import STDOUT
    from .stream.run_options import check_outputs

    check_outputs(options)
    report = check_model(options.model, options.precision, options.load)
    echo(report.to_text(), sys.stderr if options.json == STDOUT else sys.stdout)
    _write_json(report, options.json)
    report.check()


def _run_and_report(options: RunOptions) -> None:
    from .outputs import STDOUT
    from .stream.run import run_sources

    for_people = sys.stderr if options.json == STDOUT or options.sinks.uses_stdout else sys.stdout
    with stop_request() as stop:
        try:
            summary = run_sources(
                options,
                stop,
                say=lambda line: echo(line, for_people),
                warn=warn,
            )
        except InputError:
            stop.exit_if_made()  # while a source was opened: no frame is no fault then
            raise
    _write_json(summary, options.json)  # first: it is wanted even where nobody can be told
    echo(f"\n{summary.to_text()}", for_people)
    stop.exit_if_made()


def _write_json(summary: RunSummary | BackendReport, path: Path | None) -> None:
    from .artifact import write_json
    from .outputs import STDOUT

    if path == STDOUT:
        echo(dumps(summary.to_json(), indent=2))
    elif path is not None:
        write_json(path, summary.to_json())


def main() -> None:
    """Entry point of `saliency-run`."""
    run_app(app)


if __name__ == "__main__":
    main()
