"""saliency-export: weights to a bundle, and a bundle to engines."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..runtime.console import echo, make_app, refuse_idle_options, run_app
from ..runtime.contract import Precision
from ..runtime.errors import UsageError
from ..runtime.options import check_range, parse_size
from ..train.networks import network_names
from .options import (
    DEFAULT_OPSET,
    asked_precisions,
    check_opset,
    int8_options,
    parse_batch,
    parse_targets,
    refuse_given,
)

if TYPE_CHECKING:
    from .export_checkpoint import ExportPlan
    from .foreign import ForeignFormat, OutputKind
    from .int8.options import Int8Options
    from .tensorrt.build import EnginePlan, Say

DEFAULT_NETWORK = "deep_half"
ENGINE_OPTIONS = (
    "target",
    "workspace",
    "optimization",
    "version_compatible",
    "hardware_compatible",
    "tf32",
)
MODELS_ARE_MADE = "is for an export, but a bundle's models are made. Leave out the one or the other"

app = make_app("saliency-export")


@app.command()
def export(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Build only the engines of this bundle: on a device, without PyTorch. Or --check it.",
            show_default=False,
        ),
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Make the fp16 model beside the fp32 one; the default.")
    ] = False,
    fp32: Annotated[
        bool, typer.Option("--fp32", help="Make the fp32 model alone; with --fp16, engines of both.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Make the int8 model too, if its maps pass the gate against PyTorch."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare BUNDLE's models with PyTorch's maps in every ONNX runtime installed."
        ),
    ] = False,
    onnx: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="ONNX file of another project instead of weights; needs --input and --output-is.",
            show_default=False,
        ),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FORMAT",
            help="Input of that file: order of the channels, range of the pixels, their mean and std after "
            "scaling to it, layout, fit; such as 'rgb, 0..1, mean=0.485,0.456,0.406, std=0.229,0.224,0.225, "
            "nchw, stretch'.",
            show_default=False,
        ),
    ] = None,
    output_is: Annotated[
        Literal["density", "logits", "log-density", "saliency"] | None,
        typer.Option(
            help="Output of that file: a density (not negative, any scale), logits of a sigmoid, "
            "the logarithm of a density, or saliency from 0 to 1.",
            show_default=False,
        ),
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Output of that file that is the map (default: the only one that can be).",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=f"Network: {', '.join(network_names())} "
            f"(default: what the weights hold, or {DEFAULT_NETWORK}).",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A .safetensors checkpoint (default: the shipped weights).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the bundle (default: ./ and the network's name).",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Input size (default: the network's own).", show_default=False),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Batch size: fixed, such as 4, or a range, such as 1-8 (default: 1).",
            show_default=False,
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help=f"ONNX opset, 18 to 23 (default: {DEFAULT_OPSET}).", show_default=False)
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Images, clips or folders of them for int8: some calibrate, others are the gate's "
            "(default: the ranges and frames that ship).",
            show_default=False,
        ),
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Activation ranges of saliency-calib, in the place of those that ship.",
            show_default=False,
        ),
    ] = None,
    min_cc: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN,WORST",
            help="Gate: minimum correlation with PyTorch's maps (default: 0.998,0.99).",
            show_default=False,
        ),
    ] = None,
    max_kld: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN,WORST",
            help="Gate: maximum Kullback-Leibler divergence (default: 0.002,0.01).",
            show_default=False,
        ),
    ] = None,
    max_peak_shift: Annotated[
        float | None,
        typer.Option(
            metavar="CELLS",
            min=0,
            help="Gate: maximum 95th percentile of the peak shift (default: 1).",
            show_default=False,
        ),
    ] = None,
    search_budget: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMES,SETS",
            help="Frames per layer probe, and layer sets evaluated (default: 4,24).",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        Literal["auto", "none", "rtx", "tensorrt"],
        typer.Option(help="Build engines with TensorRT-RTX or TensorRT; auto: with the one that works here."),
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="sm86,...",
            help="GPUs that TensorRT-RTX builds for ahead of time (default: the one here, else all).",
            show_default=False,
        ),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            min=1,
            help="Maximum workspace memory of a TensorRT layer (default: all).",
            show_default=False,
        ),
    ] = None,
    optimization: Annotated[
        int | None,
        typer.Option(
            metavar="LEVEL",
            min=0,
            max=5,
            help="TensorRT builder optimization level, 0 to 5 (default: TensorRT's own).",
            show_default=False,
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Engines that later TensorRT of the same major runs too."),
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Engines that every GPU from Ampere on runs.")
    ] = False,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let fp32 engines round convolutions' inputs to 10 bits.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Export weights, or a foreign ONNX file, to a bundle: ONNX models that agree with the original, and
    TensorRT engines of them.
    """
    from ..runtime.backends.tensorrt.receipt import BuildOptions
    from .tensorrt.build import EnginePlan, build_bundle

    check_range("--workspace", 1 if workspace is None else workspace, 1, 1 << 20)
    if check:
        refuse_idle_options(context, "with --check", except_for=("bundle", "check", "json"))
    if engine == "none":
        others = [name for name in context.params if name not in ENGINE_OPTIONS]
        refuse_idle_options(context, "with --engine none", except_for=others)
    precisions = asked_precisions(fp32=fp32, fp16=fp16, int8=int8)
    built = BuildOptions(
        workspace_mib=workspace,
        optimization_level=optimization,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        tf32=tf32,
    )
    engines = EnginePlan(flavour=engine, targets=parse_targets(target), options=built)
    say = _say_nothing if json else _say
    if check:
        _check(bundle, say, as_json=json)
        return
    gate = {"min-cc": min_cc, "max-kld": max_kld, "max-peak-shift": max_peak_shift}
    for_int8 = {"calib": calib, "ranges": ranges, **gate, "search-budget": search_budget}
    if bundle is not None:
        given = {"network": network, "weights": weights, "output": output, "size": size, "batch": batch}
        given |= {"onnx": onnx, "input": input_format, "output-is": output_is, "output-name": output_name}
        refuse_given({**given, "opset": opset, **for_int8}, MODELS_ARE_MADE)
        document = build_bundle(bundle, precisions, engines, say)
    else:
        if not int8:
            refuse_given(for_int8, "is for int8: give --int8 too")
        if onnx is not None:
            refuse_given(
                {"network": network, "weights": weights}, "is for a checkpoint: leave it out, or --onnx"
            )
        plan = _plan(
            weights=weights if onnx is None else onnx,
            foreign=_foreign_format(onnx, input_format, output_is, output_name),
            network=network,
            output=output,
            size_hw=parse_size(size) if size is not None else None,
            precisions=precisions,
            batch=parse_batch(batch) if batch is not None else None,
            opset=DEFAULT_OPSET if opset is None else check_opset(opset),
            engines=engines,
            int8=int8_options(calib, ranges, min_cc, max_kld, max_peak_shift, search_budget),
        )
        document = _export(plan, say)
    if json:
        echo(dumps(document, indent=2))


def _foreign_format(
    onnx: Path | None, input_format: str | None, output_is: OutputKind | None, output_name: str | None
) -> ForeignFormat | None:
    """Read how a foreign ONNX file is meant; None for a checkpoint.

    Raises:
        UsageError: the options do not go together.
    """
    if onnx is None:
        given = {"input": input_format, "output-is": output_is, "output-name": output_name}
        refuse_given(given, "is for a foreign ONNX file: give --onnx FILE too")
        return None
    from .foreign import INPUT_EXAMPLE, ForeignFormat, InputFormat

    if input_format is None:
        raise UsageError(f"--onnx {onnx} needs --input, what the file takes; {INPUT_EXAMPLE}")
    if output_is is None:
        raise UsageError(
            f"--onnx {onnx} needs --output-is: density, logits, log-density or saliency (0 to 1)"
        )
    return ForeignFormat(input=InputFormat.parse(input_format), output=output_is, output_name=output_name)


def _plan(
    *,
    weights: Path | None,
    foreign: ForeignFormat | None,
    network: str | None,
    output: Path | None,
    size_hw: tuple[int, int] | None,
    precisions: tuple[Precision, ...],
    batch: tuple[int, int] | None,
    opset: int,
    engines: EnginePlan,
    int8: Int8Options,
) -> ExportPlan:
    """Fill in the weights that ship, where none are given."""
    from ..train.checkpoint import shipped_weights
    from .export_checkpoint import ExportPlan

    if weights is None:
        network = network or DEFAULT_NETWORK
        weights = shipped_weights(network)
    return ExportPlan(
        weights=weights,
        foreign=foreign,
        network=network,
        size_hw=size_hw,
        output=output,
        precisions=precisions,
        batch=batch,
        opset=opset,
        engines=engines,
        int8=int8,
    )


def _export(plan: ExportPlan, say: Say) -> dict[str, Any]:
    from .export_checkpoint import export_checkpoint

    exported = export_checkpoint(plan, say)
    say(f"next: saliency-run {exported.bundle} VIDEO --output overlay.mp4")
    return exported.to_json()


def _check(bundle: Path | None, say: Say, *, as_json: bool) -> None:
    from .check.check_bundle import check_bundle

    if bundle is None:
        raise UsageError("--check needs a bundle: saliency-export --check BUNDLE")
    report = check_bundle(bundle, say)
    if as_json:
        echo(dumps(report.to_json(), indent=2))
    report.check()
    say(f"{bundle} agrees with PyTorch wherever it ran")


def _say(line: str) -> None:
    echo(line)


def _say_nothing(_line: str) -> None:
    """Leave stdout to the JSON document."""


def main() -> None:
    """Entry point of `saliency-export`."""
    run_app(app)


if __name__ == "__main__":
    main()
