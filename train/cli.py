"""saliency-train: train a network on your photographs, or run a recipe of the shipped weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..runtime.console import run_app

app = typer.Typer(
    name="saliency-train",
    help="Train a visual saliency network.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

Output = Annotated[
    Path, typer.Option(help="Folder of the run: best checkpoint, state to resume, TensorBoard.")
]


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="Which recipe: see train/recipes.py.")],
    data: Annotated[Path, typer.Option(help="Folder with salicon, scene500 and photos.")],
    output: Output,
    teacher: Annotated[list[Path] | None, typer.Option(help="ONNX file of a teacher; give several.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    vgg16: Annotated[Path | None, typer.Option(help="VGG16 convolutions (.npz) to start MLNet from.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read ahead.")] = 0,
) -> None:
    """Run a recipe of the shipped weights; started again, a stopped run goes on."""
    from .run import run_recipe

    run_recipe(name, data, output, tuple(teacher or ()), start, vgg16, workers)


def main() -> None:
    """Entry point of `saliency-train`."""
    run_app(app)


if __name__ == "__main__":
    main()
