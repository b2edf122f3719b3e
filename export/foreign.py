"""A network that somebody else exported: its ONNX file, wrapped into the deployed graph.

Frames in, uint8 (N, H, W, 3) BGR, become what the file takes; what it gives becomes a map in 0 to 1. The file
itself, in ONNX Runtime in fp32 on the CPU, is the reference that every graph is compared with, as PyTorch is
for checkpoints. Between both ends the graph is the original's, after ONNX Runtime's basic optimisations
(constants folded, batch normalisation multiplied into convolutions) and at our opset where ONNX's converter
reaches it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..calib.frames import shipped_frames
from ..calib.graph import read_onnx
from ..runtime.artifact import refuse_pickle, sha256_of, temporary_folder
from ..runtime.backends.onnxruntime_backend import first_line, open_session
from ..runtime.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract, Fit
from ..runtime.errors import ArtifactError, BackendError, ContractError, UsageError
from ..runtime.progress import progress
from .frames import fitted
from .to_onnx import check_model, opset_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

OutputKind = Literal["density", "logits", "log-density", "saliency"]

_IR_VERSION = 8
OLDEST_OPSET = 11
NEWEST_OPSET = 23
_LEAST_SIDE = 4
"""Cells: what is smaller in height or width is a score, not a map."""
_SLACK = 0.01
"""By how much a density may fall below 0 or a saliency leave 0 to 1, as bicubic enlarging does; it is cut."""
_SMALLEST_PEAK = 1e-12
_RESERVED = ("input.", "output.")
INPUT_EXAMPLE = 'such as --input "rgb, 0..1, mean=0.485,0.456,0.406, std=0.229,0.224,0.225, nchw"'


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFormat:
    """What a network takes: x = (pixel / 255 * (high - low) + low - mean) / std.

    Attributes:
        channel_order: of its three channels.
        low: what a pixel of 0 is before mean and std.
        high: what a pixel of 255 is.
        mean: of the three channels, in `channel_order`.
        std: likewise.
        layout: `nchw` or `nhwc`.
        fit: how a frame is brought to the size: `stretch`, or `pad`, which keeps its aspect ratio.
    """

    channel_order: Literal["rgb", "bgr"]
    low: float
    high: float
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"
    fit: Fit = "stretch"

    @classmethod
    def parse(cls, text: str) -> InputFormat:
        """Read `rgb, 0..1, mean=0.485,0.456,0.406, std=0.229,0.224,0.225, nchw, stretch`.

        Order and range are needed, the rest has defaults; `mean` and `std` take one number or three.

        Raises:
            UsageError: a part cannot be read, is missing, or stands twice.
        """
        found: dict[str, Any] = {}
        numbers: dict[str, list[float]] = {}
        current: str | None = None
        for part in filter(None, re.split(r"[,\s]+", text.strip().lower())):
            name, given = _word_of(part)
            if name == "number" and current is not None:
                numbers[current].append(given)
                continue
            if name in found or name in numbers or name in ("unknown", "number"):
                why = "stands twice" if name in found or name in numbers else "is not understood"
                raise UsageError(f"--input {text!r}: {part!r} {why}; expected {INPUT_EXAMPLE}")
            current = name if name in ("mean", "std") else None
            if current is not None:
                numbers[current] = [] if given is None else [given]
            else:
                found[name] = given
        for needed, words in (("channel_order", "rgb or bgr"), ("range", "the range of pixels")):
            if needed not in found:
                raise UsageError(f"--input {text!r} lacks {words}; expected {INPUT_EXAMPLE}")
        low, high = found.pop("range")
        for name, values in numbers.items():
            if len(values) not in (1, 3) or (name == "std" and min(values, default=0) <= 0):
                raise UsageError(
                    f"--input {text!r}: {name} takes one number or three"
                    f"{', above 0' if name == 'std' else ''}; expected {INPUT_EXAMPLE}"
                )
            found[name] = tuple(values * 3)[:3] if len(values) == 1 else tuple(values)
        return cls(low=low, high=high, **found)

    def affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same as x = pixel * scale + shift, each (3,) in `channel_order`."""
        mean, std = np.array(self.mean, np.float64), np.array(self.std, np.float64)
        return (self.high - self.low) / 255 / std, (self.low - mean) / std

    def tensor(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the original takes for frames, (N, H, W, 3) BGR."""
        pixels = frames[..., ::-1] if self.channel_order == "rgb" else frames
        scale, shift = self.affine()
        values = (pixels * scale + shift).astype(np.float32)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values)


def _word_of(part: str) -> tuple[str, Any]:
    """What a word of `--input` says: the field's name, and its value."""
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
    if part in ("rgb", "bgr"):
        return "channel_order", part
    if part in ("nchw", "nhwc"):
        return "layout", part
    if part in ("pad", "stretch"):
        return "fit", part
    if limits := re.fullmatch(rf"({number})\.\.({number})", part):
        low, high = float(limits[1]), float(limits[2])
        return ("range", (low, high)) if low < high else ("unknown", None)
    if value := re.fullmatch(rf"(mean|std)=({number})?", part):
        return value[1], float(value[2]) if value[2] else None
    return ("number", float(part)) if re.fullmatch(number, part) else ("unknown", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFormat:
    """How a foreign ONNX file is to be read.

    Attributes:
        input: what it takes.
        output: what its output is: `logits`, `log-density`, `density` (not negative, any scale), `saliency`
            (0 to 1).
        output_name: which of its outputs; None where only one is a map.
    """

    input: InputFormat
    output: OutputKind
    output_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignOnnx:
    """A foreign ONNX file that is being exported.

    Attributes:
        path: the file.
        format: how it is read.
        model: its content, external weights included.
        size_hw: height and width of the frames, in pixels.
        map_size_hw: height and width of its map, in cells.
        batch: its fixed batch; None where it is free.
        output_name: the output that is the map.
        sha256: of the file, and of its external weights.
    """

    path: Path
    format: ForeignFormat
    model: onnx.ModelProto = field(repr=False)
    session: Any = field(repr=False)
    size_hw: tuple[int, int]
    map_size_hw: tuple[int, int]
    batch: int | None
    output_name: str
    sha256: str

    @classmethod
    def load(cls, path: Path, format: ForeignFormat, size_hw: tuple[int, int] | None) -> ForeignOnnx:
        """Read a file, run it on two frames that ship, and see that it gives maps.

        Args:
            path: the `.onnx` file; external weights lie where it says.
            format: how it is to be read.
            size_hw: of the frames, where the file leaves it free.

        Raises:
            ArtifactError: the file is missing, damaged, or ONNX Runtime refuses it.
            ContractError: it takes no image, or gives no map, or not the kind of map that was said.
            UsageError: a size or an output must be given, or cannot be.
        """
        if not path.is_file():
            raise ArtifactError(f"no such ONNX file: {path}")
        refuse_pickle(path)
        model = read_onnx(path, path, "Export it from its framework again")
        if any(item.key == METADATA_KEY for item in model.metadata_props):
            raise UsageError(f"{path} was made by saliency-export: it takes frames as it is. Run it")
        _refuse_what_is_not_fp32(path, model)
        batch, size_hw = _input_shape(path, model, format.input, size_hw)
        session = open_session(path, cpu_only=True)
        frames = fitted(shipped_frames()[:2], size_hw, format.input.fit).pixels
        outputs = _run(path, session, format.input, frames[:1], batch, None)
        name = _map_output(path, outputs, format.output_name)
        found = cls(
            path=path,
            format=format,
            model=model,
            session=session,
            size_hw=size_hw,
            map_size_hw=_map_size_of(outputs[name]) or (0, 0),
            batch=batch,
            output_name=name,
            sha256=_digest(path),
        )
        found._check_values(frames)
        return found

    @property
    def name(self) -> str:
        """Name of the network in its contract: the file's."""
        return re.sub(r"[^\w.-]+", "_", self.path.stem).strip("._-") or "network"

    @property
    def label(self) -> str:
        """What computes the reference maps."""
        return "the original"

    @property
    def fit(self) -> Fit:
        """How frames are brought to the network's size."""
        return self.format.input.fit

    @property
    def own_batch(self) -> tuple[int, int]:
        """Batch of the deployed graph where none is asked for."""
        return (self.batch or 1, self.batch or 1)

    @property
    def record(self) -> Mapping[str, Any]:
        """What the manifest says of its origin."""
        model, given = self.model, self.format.input
        return {
            "original": self.path.name,
            "sha256": self.sha256,
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "opset": opset_of(model),
            "input": {
                "channel_order": given.channel_order,
                "range": [given.low, given.high],
                "mean": list(given.mean),
                "std": list(given.std),
                "layout": given.layout,
            },
            "output": {"name": self.output_name, "is": self.format.output},
        }

    def contract(self, batch: tuple[int, int]) -> Contract:
        """Contract of the fp32 graph.

        Raises:
            UsageError: the file has another, fixed batch.
        """
        if self.batch is not None and batch != (self.batch, self.batch):
            raise UsageError(
                f"{self.path.name} takes batches of {self.batch} and no others. Give --batch {self.batch}, "
                "or export it with a free batch"
            )
        return Contract(
            network=self.name,
            precision="fp32",
            size_hw=self.size_hw,
            map_size_hw=self.map_size_hw,
            batch=batch,
            fit=self.fit,
            weights_sha256=self.sha256,
        )

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute saliency maps with the original in ONNX Runtime, one frame at a time.

        Args:
            pixels: (K, H, W, 3) BGR, at the network's size.

        Returns:
            (K, h, w) maps, 0 to 1.
        """
        maps = []
        with progress("reference maps, the original", len(pixels)) as advance:
            for frame in pixels:
                maps.append(_as_saliency(self._raw(frame), self.format.output))
                advance()
        return np.stack(maps)

    def graph(self, batch: tuple[int, int], opset: int) -> onnx.ModelProto:
        """Wrap the original into the deployed graph.

        Args:
            batch: smallest and largest number of frames in a batch.
            opset: that is wanted; where ONNX's converter fails, the file's own stays.

        Returns:
            A checked model with its weights inside and its contract in `metadata_props`.

        Raises:
            ArtifactError: the graph breaks ONNX's rules, or its opset is too old.
            BackendError: ONNX Runtime refuses it with these sizes.
            UsageError: the batch cannot be.
        """
        import onnx
        import onnx_ir

        contract = self.contract(batch)
        body = onnx.ModelProto()
        body.CopyFrom(self.model)
        _fix_sizes(body, self.format.input.layout, batch, self.size_hw)
        _keep_output(body, self.output_name)
        body = _optimised(_at_opset(body, opset))
        if not OLDEST_OPSET <= opset_of(body) <= NEWEST_OPSET:
            raise ArtifactError(
                f"{self.path} has opset {opset_of(body)}, expected {OLDEST_OPSET} to {NEWEST_OPSET}. "
                "Export it again from its framework"
            )
        parsed = onnx_ir.from_proto(body)
        _name_nodes(parsed)
        _own_constants(parsed.graph)
        wrapped = self._wrapped(onnx_ir.to_proto(parsed), batch)
        onnx.helper.set_model_props(wrapped, {METADATA_KEY: contract.to_json()})
        check_model(wrapped)
        return wrapped

    def _raw(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The original's output for one frame, (H, W, 3): (h, w)."""
        found = _run(self.path, self.session, self.format.input, frame[None], self.batch, self.output_name)
        raw: NDArray[np.float32] = found[self.output_name].reshape(-1, *self.map_size_hw)[0]
        return raw

    def _check_values(self, frames: NDArray[np.uint8]) -> None:
        """See that the output is what it is said to be.

        Raises:
            ContractError: it is not.
        """
        maps = np.stack([self._raw(frame) for frame in frames])
        least, largest, kind = float(maps.min()), float(maps.max()), self.format.output
        name = f"{self.path}: the output {self.output_name}"
        if not np.isfinite(maps).all():
            raise ContractError(f"{name} holds NaN or infinity on a photograph. Export the network again")
        if np.ptp(maps, axis=(1, 2)).max() == 0 or np.ptp(maps, axis=0).max() == 0:
            raise ContractError(f"{name} is the same for every image or place: it is no saliency map")
        if kind == "density" and least < -_SLACK * max(largest, 0):
            raise ContractError(
                f"{name} falls to {least:.4g}, and a density is not negative. "
                "Give --output-is logits or log-density, whichever it is"
            )
        if kind == "saliency" and not -_SLACK <= least <= largest <= 1 + _SLACK:
            raise ContractError(
                f"{name} lies between {least:.4g} and {largest:.4g}, expected 0 to 1. "
                "Give --output-is density, logits or log-density, whichever it is"
            )

    def _wrapped(self, body: onnx.ModelProto, batch: tuple[int, int]) -> onnx.ModelProto:
        """Put the scaling of input and output around the body, in operators of every opset from 11 on."""
        from onnx import TensorProto, helper, shape_inference

        (image,), (raw,) = body.graph.input, body.graph.output
        count = batch[0] if batch[0] == batch[1] else "batch"
        before, after = _Chain(INPUT_NAME), _Chain(raw.name)
        self._scale_input(before, image)
        _scale_output(after, self.format.output, self.map_size_hw)
        graph = helper.make_graph(
            [*before.ending_in(image.name), *body.graph.node, *after.ending_in(OUTPUT_NAME)],
            "saliency",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [count, *self.size_hw, 3])],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [count, *self.map_size_hw])],
            initializer=[*body.graph.initializer, *before.constants, *after.constants],
            value_info=[*body.graph.value_info, image, raw],
        )
        model = helper.make_model(graph, opset_imports=body.opset_import, producer_name="saliency-edge")
        model.ir_version = max(helper.find_min_ir_version_for(_own_opsets(model)), _IR_VERSION)
        model.functions.extend(body.functions)
        inferred = shape_inference.infer_shapes(model, check_type=True, data_prop=True)
        _infer_the_rest(inferred)
        _write_out_padding(inferred)
        return inferred

    def _scale_input(self, chain: _Chain, image: onnx.ValueInfoProto) -> None:
        """From `frame` to what the original takes."""
        from onnx import TensorProto

        given = self.format.input
        axis = 1 if given.layout == "nchw" else 3
        shape = (1, 3, 1, 1) if axis == 1 else (1, 1, 1, 3)
        chain.add("Cast", to=TensorProto.FLOAT)
        if axis == 1:
            chain.add("Transpose", perm=[0, 3, 1, 2])
        if given.channel_order == "rgb":
            chain.add("Gather", np.array([2, 1, 0], np.int64), axis=axis)
        for operator, values, neutral in zip(("Mul", "Add"), given.affine(), (1, 0), strict=True):
            constant = values.astype(np.float32).reshape(shape)
            if (constant != neutral).any():
                chain.add(operator, constant)
        kind = image.type.tensor_type.elem_type
        if kind != TensorProto.FLOAT:
            chain.add("Cast", to=kind)


class _Chain:
    """Nodes one after the other, `input.mul` or `output.exp` by name, with the constants that they read."""

    def __init__(self, tensor: str) -> None:
        self._side = "input" if tensor == INPUT_NAME else "output"
        self.tensor = tensor
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *operands: NDArray[Any] | str, **attributes: Any) -> str:
        """Append a node that reads the last tensor and others, and give its tensor's name."""
        from onnx import helper, numpy_helper

        taken = sum(node.op_type == operator for node in self.nodes)
        name = f"{self._side}.{operator.lower()}" + (f"_{taken + 1}" if taken else "")
        inputs = [self.tensor]
        for place, operand in enumerate(operands):
            if isinstance(operand, str):
                inputs.append(operand)
                continue
            constant = f"{name}.constant_{place}"
            self.constants.append(numpy_helper.from_array(operand, constant))
            inputs.append(constant)
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.tensor = name
        return name

    def ending_in(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes, the last of which gives a tensor of that name."""
        self.nodes[-1].output[0] = tensor
        return self.nodes


def _scale_output(chain: _Chain, kind: OutputKind, map_size_hw: tuple[int, int]) -> None:
    """From the original's output to a map in 0 to 1; the formulas of `NetworkConfig.output`."""
    raw = chain.add("Reshape", np.array([0, 1, *map_size_hw], np.int64))  # (N, 1, h, w)
    if kind == "logits":
        chain.add("Sigmoid")
    elif kind == "log-density":
        peak = chain.add("GlobalMaxPool")
        chain.tensor = raw
        chain.add("Sub", peak)
        chain.add("Exp")
    elif kind == "density":
        chain.add("GlobalMaxPool")
        peak = chain.add("Max", np.array(_SMALLEST_PEAK, np.float32))
        chain.tensor = raw
        chain.add("Div", peak)
    chain.add("Clip", np.array(0, np.float32), np.array(1, np.float32))
    chain.add("Reshape", np.array([0, *map_size_hw], np.int64))  # (N, h, w)


def _as_saliency(raw: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float32]:
    """The same in NumPy, for the original's maps, (h, w)."""
    values = raw.astype(np.float64)
    if kind == "logits":
        values = 0.5 * (1 + np.tanh(0.5 * values))
    elif kind == "log-density":
        values = np.exp(values - values.max())
    elif kind == "density":
        values = values / max(values.max(), _SMALLEST_PEAK)
    saliency: NDArray[np.float32] = np.clip(values, 0, 1).astype(np.float32)
    return saliency


def _refuse_what_is_not_fp32(path: Path, model: onnx.ModelProto) -> None:
    from onnx import TensorProto

    kinds = {tensor.data_type for tensor in model.graph.initializer}
    for kind, name in ((TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")):
        if kind in kinds:
            raise ContractError(
                f"{path} holds {name} weights, and the reference is computed in fp32. Give the fp32 file"
            )


def _inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have no default; files of old IR versions list their weights among them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _input_shape(
    path: Path, model: onnx.ModelProto, given: InputFormat, size_hw: tuple[int, int] | None
) -> tuple[int | None, tuple[int, int]]:
    """The fixed batch, or None, and the height and width of the frames.

    Raises:
        ContractError: the file takes no image of three channels.
        UsageError: the size is to be given, or is another than the file's.
    """
    from onnx import TensorProto

    inputs = _inputs_of(model)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ContractError(f"{path} has {len(inputs)} inputs ({names}), expected one: an image")
    kind = inputs[0].type.tensor_type.elem_type
    sides = [size.dim_value or None for size in inputs[0].type.tensor_type.shape.dim]
    shown = f"{TensorProto.DataType.Name(kind).lower()} ({', '.join(str(side or '?') for side in sides)})"
    expected = "(N, 3, H, W)" if given.layout == "nchw" else "(N, H, W, 3)"
    channels = 1 if given.layout == "nchw" else 3
    if (
        kind not in (TensorProto.FLOAT, TensorProto.UINT8)
        or len(sides) != 4
        or sides[channels] not in (3, None)
    ):
        other = 3 if channels == 1 else 1
        swapped = len(sides) == 4 and sides[other] == 3
        hint = f". Write {'nhwc' if channels == 1 else 'nchw'} in --input" if swapped else ""
        raise ContractError(
            f"{path} takes {inputs[0].name} {shown}, expected an image, float {expected}{hint}"
        )
    height, width = sides[2:4] if given.layout == "nchw" else sides[1:3]
    if size_hw is None and (height is None or width is None):
        raise UsageError(f"{path} takes images of any size, {shown}: choose one with --size HxW")
    found = (height or (size_hw or (0, 0))[0], width or (size_hw or (0, 0))[1])
    if size_hw is not None and found != size_hw:
        raise UsageError(
            f"--size {size_hw[0]}x{size_hw[1]}: {path} takes {found[0]}x{found[1]} alone. Leave it out"
        )
    return sides[0], found


def _run(
    path: Path,
    session: Any,
    given: InputFormat,
    frames: NDArray[np.uint8],
    batch: int | None,
    output: str | None,
) -> dict[str, NDArray[Any]]:
    """Run the original on one frame, (1, H, W, 3), repeated to its batch; the outputs by name.

    Raises:
        BackendError: ONNX Runtime fails.
    """
    image = session.get_inputs()[0]
    tensor: NDArray[Any] = given.tensor(np.repeat(frames, batch or 1, axis=0))
    if image.type == "tensor(uint8)":
        tensor = tensor.astype(np.uint8)
    names = [output] if output is not None else [value.name for value in session.get_outputs()]
    try:
        values = session.run(names, {image.name: tensor})
    except Exception as error:  # ONNX Runtime's errors share no other base
        size = "x".join(map(str, frames.shape[1:3]))
        raise BackendError(f"ONNX Runtime cannot run {path} on {size} ({first_line(error)})") from error
    return dict(zip(names, map(np.asarray, values), strict=True))


def _map_output(path: Path, outputs: Mapping[str, NDArray[Any]], asked: str | None) -> str:
    """Choose the output that is a map.

    Raises:
        UsageError: it is to be named, or is not there.
        ContractError: it is no map.
    """
    listed = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in outputs.items())
    if asked is not None and asked not in outputs:
        raise UsageError(f"--output-name {asked}: {path} gives {listed}")
    maps = [name for name in ([asked] if asked else outputs) if _map_size_of(outputs[name])]
    if not maps:
        shown = listed if asked is None else f"{asked} {outputs[asked].dtype} {outputs[asked].shape}"
        raise ContractError(
            f"{path} gives {shown}: no map. Expected one value for each place, "
            f"(N, 1, h, w), (N, h, w, 1) or (N, h, w), {_LEAST_SIDE} cells or more high and wide"
        )
    if len(maps) > 1:
        raise UsageError(f"{path} gives several maps, {listed}. Choose one with --output-name")
    return maps[0]


def _map_size_of(output: NDArray[Any]) -> tuple[int, int] | None:
    """Height and width of a map, (N, 1, h, w), (N, h, w, 1), (N, h, w) or (h, w); None of what is none."""
    shape = output.shape
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        shape = (shape[0], *(shape[2:] if shape[1] == 1 else shape[1:3]))
    if output.dtype != np.float32 or len(shape) not in (2, 3):
        return None
    if len(shape) == 2 and shape[0] == 1:  # (N, classes)
        return None
    height, width = int(shape[-2]), int(shape[-1])
    return (height, width) if min(height, width) >= _LEAST_SIDE else None


def _digest(path: Path) -> str:
    """Hash a file; where it keeps weights in others, the file's hash and theirs."""
    import onnx

    bare = onnx.load(path, load_external_data=False)
    stored = {
        entry.value
        for tensor in bare.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    own = sha256_of(path)
    if not stored:
        return own
    hashes = [own, *(sha256_of(path.parent / name) for name in sorted(stored))]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _own_opsets(model: onnx.ModelProto) -> list[Any]:
    return [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]


def _fix_sizes(model: onnx.ModelProto, layout: str, batch: tuple[int, int], size_hw: tuple[int, int]) -> None:
    """Write batch, height and width into the input's type, in place; what was inferred of others goes."""
    image = deepcopy(_inputs_of(model)[0])
    height, width = size_hw
    sides = (batch[0], 3, height, width) if layout == "nchw" else (batch[0], height, width, 3)
    for place, (size, value) in enumerate(zip(image.type.tensor_type.shape.dim, sides, strict=True)):
        size.Clear()
        if place == 0 and batch[0] != batch[1]:
            size.dim_param = "batch"
        else:
            size.dim_value = value
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.input[:]
    model.graph.input.extend([image])
    model.ir_version = max(model.ir_version, _IR_VERSION)  # from 4 on constants are no inputs


def _keep_output(model: onnx.ModelProto, name: str) -> None:
    kept = [output for output in model.graph.output if output.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert to an opset, where that is a later one and ONNX can; else the model as it is."""
    from onnx import version_converter

    if opset_of(model) >= opset:
        return model
    try:
        converted = version_converter.convert_version(model, opset)
    except Exception:  # the converter is C++, and its errors share no base
        return model
    _keep_what_the_converter_drops(model, converted)
    return converted


def _keep_what_the_converter_drops(model: onnx.ModelProto, converted: onnx.ModelProto) -> None:
    known = {entry.domain for entry in converted.opset_import}
    converted.opset_import.extend(entry for entry in model.opset_import if entry.domain not in known)
    if not converted.functions:
        converted.functions.extend(model.functions)


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Pass a model through ONNX Runtime's basic optimisations: its operators stay ONNX's own.

    Raises:
        BackendError: ONNX Runtime refuses it.
    """
    import onnx
    import onnxruntime

    with temporary_folder("foreign") as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise BackendError(f"ONNX Runtime refuses the graph at this size: {first_line(error)}") from error
        found = onnx.load(folder / "optimised.onnx")
    used = {node.domain for node in found.graph.node} | {"", "ai.onnx"}
    entries = [entry for entry in found.opset_import if entry.domain in used]
    del found.opset_import[:]
    found.opset_import.extend(entries)
    return found


def _infer_the_rest(model: onnx.ModelProto) -> None:
    """Ask ONNX Runtime for types that ONNX cannot infer, those behind operators of other domains; in place.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    import onnx
    from onnx import TensorProto, helper

    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    unknown = [name for node in model.graph.node for name in node.output if name and name not in known]
    if not unknown:
        return
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    kinds = {"tensor(float)": TensorProto.FLOAT, "tensor(int64)": TensorProto.INT64}
    for value in open_session(asked.SerializeToString(), cpu_only=True).get_outputs():
        if value.name in unknown and value.type in kinds:
            model.graph.value_info.append(
                helper.make_tensor_value_info(value.name, kinds[value.type], value.shape)
            )


def _name_nodes(model: ir.Model) -> None:
    """Give every node a name of its own, and move names out of the way that are ours; in place."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    taken: set[str] = set()
    for node in model.graph:
        node.name = _free(node.name or node.op_type.lower(), taken)
    tensors = [*model.graph.inputs, *model.graph.initializers.values()]
    tensors += [value for node in model.graph for value in node.outputs]
    names: set[str] = set()
    for value in tensors:
        if value.name:
            value.name = _free(value.name, names)


def _free(name: str, taken: set[str]) -> str:
    """A name that is neither ours nor taken, and take it."""
    base = f"net.{name}" if name in (INPUT_NAME, OUTPUT_NAME) or name.startswith(_RESERVED) else name
    found, count = base, 1
    while found in taken:
        count += 1
        found = f"{base}_{count}"
    taken.add(found)
    return found


def _own_constants(graph: ir.Graph) -> None:
    """Give each convolution weights and a bias of its own, in place: int8 rounds them one by one."""
    import onnx_ir

    for node in graph:
        for place, value in enumerate(node.inputs if node.op_type == "Conv" else ()):
            if place == 0 or value is None or not value.is_initializer() or len(value.uses()) == 1:
                continue
            assert value.const_value is not None
            name = f"{node.name}.{'weight' if place == 1 else 'bias'}"
            copy = onnx_ir.Value(name=name, type=value.type, shape=value.shape)
            copy.const_value = onnx_ir.tensor(value.const_value.numpy(), name=name)
            graph.register_initializer(copy)
            node.replace_input_with(place, copy)


def _write_out_padding(model: onnx.ModelProto) -> None:
    """Replace `auto_pad` of convolutions by the padding that it comes to, in place, where sizes are known."""
    from onnx import helper

    shapes = _shapes_of(model)
    for node in model.graph.node:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        mode = attributes.get("auto_pad", b"NOTSET").decode()
        if node.op_type != "Conv" or mode == "NOTSET":
            continue
        sides = shapes.get(node.input[0], ())[2:]
        kernel = attributes.get("kernel_shape") or shapes.get(node.input[1], ())[2:]
        if mode != "VALID" and (not sides or not kernel or not prod(sides)):
            continue
        rank = len(kernel)
        strides = attributes.get("strides") or [1] * rank
        dilations = attributes.get("dilations") or [1] * rank
        pads = [0] * (2 * rank) if mode == "VALID" else _same_padding(sides, kernel, strides, dilations, mode)
        kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", pads)])


def _same_padding(
    sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], mode: str
) -> list[int]:
    """The padding of SAME_UPPER and SAME_LOWER: ceil(side / stride) cells come out."""
    first, last = [], []
    for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        missing = max(0, (-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side)
        less, more = missing // 2, missing - missing // 2
        first.append(less if mode == "SAME_UPPER" else more)
        last.append(more if mode == "SAME_UPPER" else less)
    return [*first, *last]


def _shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Sizes of the tensors that are known; 0 for a side that is free."""
    values: Iterable[Any] = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    found = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim) for value in values
    }
    return {**found, **{tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}}
