"""saliency-train: train a network on your photographs, or run a recipe of the shipped weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..runtime.console import echo, make_app, refuse_idle_options, run_app
from .choices import Metric, Optimiser, Schedule
from .networks import network_names

app = make_app("saliency-train", "Train a visual saliency network.")

Output = Annotated[Path, typer.Option(help="Folder of the run: checkpoints, split, TensorBoard logs.")]
Checkpoint = Annotated[Path | None, typer.Option("--start", help="Checkpoint (.safetensors) to start from.")]
Vgg16 = Annotated[Path | None, typer.Option("--vgg16", help="VGG16 convolutions (.npz) to start MLNet from.")]
EfficientNet = Annotated[
    Path | None,
    typer.Option("--efficientnet", help="EfficientNet-Lite2 weights (.pth) to start lite2 from."),
]
Teachers = Annotated[
    list[Path] | None, typer.Option("--teacher", help="ONNX file of a teacher; give several for their mean.")
]
Workers = Annotated[int, typer.Option(min=0, help="Data-loading worker processes.")]


@app.command()
def fit(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="Folder: SALICON, CAT2000, MIT1003, OSIE or plain layout.")],
    output: Output,
    network: Annotated[str, typer.Option(help=f"Network: {', '.join(network_names())}.")] = "deep_half",
    size: Annotated[str | None, typer.Option(help="Train at another size, HxW in pixels.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="Dataset layout: salicon, cat2000, mit1003, osie or plain (default: detected)."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Training split, such as train (default: all).")] = None,
    validation_split: Annotated[
        str | None,
        typer.Option(
            help="Validation split, such as val (default: --validation-share of the training split)."
        ),
    ] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of images held out without --validation-split.")
    ] = 0.1,
    strict: Annotated[bool, typer.Option(help="Fail if an image or a map has no counterpart.")] = False,
    loss: Annotated[str, typer.Option(help="Weighted sum of kld, cc, nss, mse, mlnet.")] = "kld+0.2*cc",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 4000,
    batch: Annotated[int, typer.Option(min=1, help="Batch size, summed over all processes.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 4e-4,
    backbone_rate: Annotated[
        float, typer.Option(help="Learning-rate factor of the backbone; 0 freezes it.")
    ] = 0.1,
    frozen_blocks: Annotated[
        int, typer.Option(min=0, max=5, help="Number of first VGG16 blocks to freeze.")
    ] = 0,
    optimiser: Annotated[
        Optimiser, typer.Option(help="Optimiser; sgd uses Nesterov momentum 0.9.")
    ] = "adamw",
    schedule: Annotated[Schedule, typer.Option(help="Learning-rate schedule.")] = "cosine",
    ema: Annotated[
        float, typer.Option(help="Decay of the exponential moving average of the weights; 0 for none.")
    ] = 0.999,
    amp: Annotated[bool, typer.Option(help="Mixed precision: bfloat16 where it is safe.")] = True,
    metric: Annotated[
        Metric, typer.Option(help="Validation metric that selects the best checkpoint.")
    ] = "cc",
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 250,
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="Early stopping after this many validations without improvement; 0 for never."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Random seed of order, augmentation, dropout and split.")] = 0,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of unlabelled images to distil on.")
    ] = None,
    teacher: Teachers = None,
    distilled: Annotated[int, typer.Option(min=0, help="Number of distilled images in each batch.")] = 0,
    start: Checkpoint = None,
    vgg16: Vgg16 = None,
    workers: Workers = 0,
) -> None:
    """Train on your own data; started again with the same options, a stopped run goes on."""
    from ..runtime.options import check_range, parse_size
    from .fit import FitConfig
    from .losses import parse_loss
    from .run import FitOptions, Start, run_fit

    check_range("--learning-rate", learning_rate, 1e-9, 10)
    check_range("--batch", batch, 1, 65536)
    check_range("--validation-share", validation_share, 1e-6, 1 - 1e-6)
    refuse_idle_options(context, "without --distilled", photographs=distilled, teacher=distilled)
    refuse_idle_options(context, "with --start", vgg16=start is None)
    refuse_idle_options(context, "with --validation-split", validation_share=validation_split is None)
    parse_loss(loss)
    config = FitConfig(
        steps=steps,
        learning_rate=learning_rate,
        backbone_rate=backbone_rate,
        frozen_blocks=frozen_blocks,
        optimiser=optimiser,
        schedule=schedule,
        warmup=min(100, steps // 10),
        ema=ema,
        amp=amp,
        validate_every=validate_every,
        patience=patience,
        metric=metric,
        seed=seed,
        workers=workers,
    )
    options = FitOptions(
        dataset=dataset,
        output=output,
        network=network,
        size_hw=parse_size(size) if size is not None else None,
        layout=layout,
        split=split,
        validation_split=validation_split,
        validation_share=validation_share,
        strict=strict,
        loss=loss,
        batch=batch,
        photographs=photographs,
        teachers=tuple(teacher or ()),
        distilled=distilled,
        config=config,
        start=Start(checkpoint=start, vgg16=vgg16),
    )
    _say_where(run_fit(options))


@app.command()
def recipe(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="One stage of docs/weights.mk, such as deep_half_distilled.")],
    data: Annotated[
        Path, typer.Option(help="Folder with mit1003, crowd, scene500, salicon, fixmaps3005 and photos.")
    ],
    output: Output,
    teacher: Teachers = None,
    start: Checkpoint = None,
    vgg16: Vgg16 = None,
    efficientnet: EfficientNet = None,
    workers: Workers = 0,
) -> None:
    """Run a recipe of the shipped weights; started again, a stopped run goes on."""
    from .run import Start, run_recipe

    refuse_idle_options(context, "with --start", vgg16=start is None, efficientnet=start is None)
    begin = Start(checkpoint=start, vgg16=vgg16, efficientnet=efficientnet)
    _say_where(run_recipe(name, data, output, tuple(teacher or ()), begin, workers))


def _say_where(checkpoint: Path) -> None:
    echo(f"checkpoint  {checkpoint}\nnext        saliency-export --fp16 --weights {checkpoint}")


def main() -> None:
    """Entry point of `saliency-train`."""
    run_app(app)


if __name__ == "__main__":
    main()
