"""`saliency-run MODEL --check`: parity on the device, without PyTorch."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..bundle import MANIFEST_NAME, Bundle
from ..contract import Precision
from ..errors import UsageError
from .bundled_engine import record_golden
from .golden import GoldenReport, check_golden
from .load import DEFAULTS, load_engine
from .load_options import LoadOptions
from .ort_engine import OrtEngine
from .preflight import bundle_of
from .trt_engine import TrtEngine


def check_model(
    model: Path, precision: Precision | None = None, options: LoadOptions = DEFAULTS
) -> GoldenReport:
    """Run a bundle's golden frames through the engine that would run its videos.

    What is found about a TensorRT engine is written into its receipt too.

    Args:
        model: a bundle, or an engine or `.onnx` inside one.
        precision: as for `load_engine`.
        options: as there.

    Raises:
        UsageError: the model lies in no bundle.
        SaliencyError: it cannot be loaded, or fails.
    """
    engine = load_engine(model, precision, options)
    with closing(engine), Bundle.open(_bundle_around(model)) as bundle:
        on_gpu = isinstance(engine, OrtEngine | TrtEngine) and engine.on_gpu
        report = check_golden(engine, bundle.golden_file(), on_gpu=on_gpu)
        if isinstance(engine, TrtEngine):
            record_golden(engine.path, report)
    return report


def _bundle_around(model: Path) -> Path:
    if model.is_dir() or model.suffix == ".zip":
        return model
    folder = bundle_of(model) if model.suffix == ".engine" else model.parent
    if folder is None or not (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{model} lies in no bundle, and golden frames do. Give the bundle to --check")
    return folder
