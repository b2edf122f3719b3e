"""What --qp-map does to an encode of the same size: where the error goes down, and where it goes up.

The clip is encoded twice in two passes at one bit rate, plainly and by the filter graph of `saliency-run
--qp-map`. PSNR and SSIM of the luma are taken on the most and on the least salient pixels of each frame, and
over all, evenly and weighted by saliency. The saliency is the model's own: this shows where the bits go, not
whether people agree.

    python tests/bench/qp_map_gain.py BUNDLE CLIP --output folder
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from saliency_edge.runtime.artifact import write_json
from saliency_edge.runtime.console import make_app, run_app

MOST, LEAST = 0.9, 0.5  # quantiles: the upper tenth, and the lower half
# Of SSIM, as Wang et al. 2004 give them for 8 bits.
SSIM_SIGMA_PX, SSIM_C1, SSIM_C2 = 1.5, 6.5025, 58.5225

app = make_app("qp_map_gain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """An encode against the clip: PSNR in dB and SSIM, each over four sets of pixels."""

    bytes: int
    psnr_db: dict[str, float]
    ssim: dict[str, float]


@app.command()
def main(
    model: Annotated[Path, typer.Argument(help="A bundle, or an .onnx.")],
    clip: Annotated[Path, typer.Argument(help="A video.")],
    output: Annotated[Path, typer.Option(help="Folder for maps, encodes and figures.")],
    codec: Annotated[str, typer.Option(help="libx264 or libx265.")] = "libx264",
    bitrate: Annotated[str, typer.Option(help="Of both encodes.")] = "400k",
    strength: Annotated[float, typer.Option(help="As in saliency-run.")] = 10.0,
) -> None:
    """Encode, measure, and print the table."""
    graph, maps = run_model(model, clip, output, strength)
    encodes = {
        "plain": encode(clip, output / f"plain_{codec}.mp4", codec, bitrate, ["-map", "0:v"]),
        "by saliency": encode(
            clip,
            output / f"saliency_{codec}.mp4",
            codec,
            bitrate,
            ["-filter_complex_script", str(graph), "-map", "[v]"],
        ),
    }
    qualities = {name: quality_of(clip, path, maps) for name, path in encodes.items()}
    print_table(qualities)
    write_json(output / f"{codec}.json", {name: asdict(quality) for name, quality in qualities.items()})


def run_model(model: Path, clip: Path, output: Path, strength: float) -> tuple[Path, list[Path]]:
    """Run saliency-run once for the graph and the maps; what is there already is kept."""
    graph, folder = output / f"strength{strength:g}.filter", output / "maps"
    if not graph.exists():
        output.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).parent / "saliency-run"
        options = [f"--qp-map={graph}", f"--qp-strength={strength}", f"--save-maps={folder}", "--smooth=0.2s"]
        subprocess.run([program, model, clip, "--maps-format=npy", *options], check=True)
    return graph, sorted(folder.glob("*.npy"))


def encode(clip: Path, path: Path, codec: str, bitrate: str, graph: list[str]) -> Path:
    """Encode in two passes with one thread, so that the result is the same each time."""
    log = path.with_suffix(".log")
    common = ["ffmpeg", "-loglevel", "error", "-y", "-i", clip, *graph, "-an", "-c:v", codec, "-b:v", bitrate]
    for number in (1, 2):
        passes = {
            "libx264": ["-pass", str(number), "-passlogfile", log, "-threads", "1"],
            "libx265": ["-x265-params", f"log-level=error:pools=1:pass={number}:stats={log}"],
        }
        subprocess.run([*common, *passes[codec], path], check=True)
    return path


def quality_of(clip: Path, encoded: Path, maps: list[Path]) -> Quality:
    """Average each frame's squared error and SSIM over its sets of pixels, then over the frames."""
    errors, ssims = [], []
    for original, copy, path in zip(lumas(clip), lumas(encoded), maps, strict=True):
        saliency = cv2.resize(np.load(path), original.shape[::-1])
        weights = weights_of(np.asarray(saliency, np.float32))
        errors.append(means((original - copy) ** 2, weights))
        ssims.append(means(ssim_of(original, copy), weights))
    names = list(weights_of(np.ones((1, 1), np.float32)))
    psnr_db = 10 * np.log10(255**2 / np.mean(errors, axis=0))
    return Quality(
        bytes=encoded.stat().st_size,
        psnr_db=dict(zip(names, psnr_db.tolist(), strict=True)),
        ssim=dict(zip(names, np.mean(ssims, axis=0).tolist(), strict=True)),
    )


def weights_of(saliency: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Give the sets of pixels as weights."""
    most, least = np.quantile(saliency, [MOST, LEAST])
    return {
        "all": np.ones_like(saliency),
        "weighted": saliency,
        "most salient 10%": (saliency >= most).astype(np.float32),
        "least salient 50%": (saliency <= least).astype(np.float32),
    }


def means(values: NDArray[np.float32], weights: dict[str, NDArray[np.float32]]) -> list[float]:
    """Average the values by each of the weights."""
    return [float(np.average(values, weights=one)) for one in weights.values()]


def ssim_of(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the map of SSIM, with the Gaussian window of the paper."""

    def local(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), SSIM_SIGMA_PX), np.float32)

    mean, other_mean = local(one), local(other)
    variance, other_variance = local(one * one) - mean**2, local(other * other) - other_mean**2
    covariance = local(one * other) - mean * other_mean
    numerator = (2 * mean * other_mean + SSIM_C1) * (2 * covariance + SSIM_C2)
    return numerator / ((mean**2 + other_mean**2 + SSIM_C1) * (variance + other_variance + SSIM_C2))


def lumas(path: Path) -> Iterator[NDArray[np.float32]]:
    """Read a video's luma, (H, W), 0 to 255."""
    capture = cv2.VideoCapture(str(path))
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2YUV)[..., 0].astype(np.float32)


def print_table(qualities: dict[str, Quality]) -> None:
    """Print a line for each encode, and their difference."""
    names = list(next(iter(qualities.values())).psnr_db)
    print(f"{'PSNR dB / SSIM':16}{'bytes':>9}" + "".join(f"{name:>20}" for name in names))
    for label, quality in qualities.items():
        cells = (f"{quality.psnr_db[name]:.2f} / {quality.ssim[name]:.4f}" for name in names)
        print(f"{label:16}{quality.bytes:9}" + "".join(f"{cell:>20}" for cell in cells))
    plain, guided = qualities.values()
    cells = (
        f"{guided.psnr_db[name] - plain.psnr_db[name]:+.2f} / {guided.ssim[name] - plain.ssim[name]:+.4f}"
        for name in names
    )
    print(
        f"{'difference':16}{guided.bytes / plain.bytes - 1:9.2%}" + "".join(f"{cell:>20}" for cell in cells)
    )


if __name__ == "__main__":
    run_app(app)
