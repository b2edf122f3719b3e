"""What `saliency-export BUNDLE --PRECISION --json` does, for the double of TensorRT; run by `--rebuild`."""

from __future__ import annotations

import sys
from pathlib import Path

from engine_files import save_toy_engine
from saliency_edge.runtime.artifact import sha256_of
from saliency_edge.runtime.contract import Precision
from toy_models import toy_contract


def build(bundle: Path, precision: Precision) -> None:
    print(f"toy {precision}: 50%", file=sys.stderr)
    if (bundle / "cannot be built").exists():
        sys.exit("error: the toy network cannot be built. Try another")
    path = bundle / "engines" / f"orin-tensorrt10.3.0-{precision}.engine"
    onnx_sha256 = sha256_of(bundle / f"{precision}.onnx")
    save_toy_engine(path, toy_contract(precision=precision), onnx_sha256=onnx_sha256)


if __name__ == "__main__":
    build(Path(sys.argv[1]), sys.argv[2].removeprefix("--"))  # type: ignore[arg-type]
