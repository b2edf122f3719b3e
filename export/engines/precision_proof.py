"""Whether an engine is what was asked for, proved from its layers.

The rule, over the convolutions of the ONNX file, transposed ones included:

1. The file holds convolutions of the precision asked for (fp32: no others).
2. The engine computes each one in the datatype that the file gives it. One that the file itself types
   otherwise, because it was kept in fp32 or out of int8, is allowed so, and counted in the receipt.
3. Where fp32 was asked for, no layer of the engine reads or writes Half or Int8.

What cannot be found among the layers is not proved, and counts as wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ...runtime.backends.tensorrt.receipt import UNKNOWN, Layer
from ...runtime.contract import Precision
from ...runtime.errors import BuildError

DTYPES: dict[Precision, str] = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}
_REDUCED = {"Half", "BFloat16", "Int8"}
_SHOWN = 3


def check_asked(precision: Precision, asked: Mapping[str, str], origin: str) -> None:
    """Hold an ONNX file against its precision (rule 1), before anything is built.

    Args:
        precision: what was asked for.
        asked: datatype of each convolution in the file, by its ONNX node's name.
        origin: the file's name, for the error's text.

    Raises:
        BuildError: the file is of another precision.
    """
    wanted = DTYPES[precision]
    of_another = [dtype for dtype in asked.values() if dtype != wanted]
    if wanted not in asked.values() or (precision == "fp32" and of_another):
        found = ", ".join(f"{count} {dtype}" for dtype, count in counted(asked.values()).items()) or "none"
        raise BuildError(f"{origin} is no {precision} model; its convolutions: {found}. Export it again")


def prove(precision: Precision, asked: Mapping[str, str], layers: Sequence[Layer], engine: str) -> None:
    """Hold an engine against the ONNX file that it was built from (rules 2 and 3).

    Args:
        precision: what was asked for.
        asked: datatype of each convolution in the file, by its ONNX node's name.
        layers: what the engine consists of.
        engine: its name, for the error's text.

    Raises:
        BuildError: it is not what was asked for, or that cannot be proved.
    """
    built = built_dtypes(asked, layers)
    wrong = [
        f"{name} asked {asked[name]}, built {built[name]}" for name in asked if built[name] != asked[name]
    ]
    if wrong:
        raise BuildError(
            f"{engine} is not {precision}: {len(wrong)} of {len(asked)} convolutions are not as the ONNX "
            f"file has them ({_first(wrong)}). Choose another precision or --target"
        )
    reduced = [layer.name for layer in layers if _REDUCED & {*layer.inputs, *layer.outputs, layer.dtype}]
    if precision == "fp32" and reduced:
        raise BuildError(f"{engine} is not fp32: {len(reduced)} layers are not ({_first(reduced)})")


def built_dtypes(names: Mapping[str, str], layers: Sequence[Layer]) -> dict[str, str]:
    """Find the datatypes in which an engine computes some ONNX nodes; `unknown` where they are not found."""
    return {name: _built_dtype(name, layers) for name in names}


def counted(dtypes: Iterable[str]) -> dict[str, int]:
    """Count datatypes, the most frequent first."""
    return dict(Counter(dtypes).most_common())


def _built_dtype(name: str, layers: Sequence[Layer]) -> str:
    """Ask the layers that compute a node; where none is known to, all that do a part of it."""
    naming = [layer for layer in layers if name in (*layer.onnx_nodes, *layer.name.split(" + "))]
    computing = [layer for layer in naming if layer.computes]
    dtypes = {layer.dtype for layer in computing or naming}
    return " and ".join(sorted(dtypes)) or UNKNOWN


def _first(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; {more} more" if more > 0 else "")
