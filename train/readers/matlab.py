"""Matlab's .mat files, by scipy, which is needed for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...runtime.errors import BackendError, InputError, reason_of


def load_variable(path: Path, name: str) -> Any:
    """Read one variable: structures as objects with attributes, one-element arrays as their element.

    Raises:
        BackendError: scipy is not installed.
        InputError: the file cannot be read, or has no such variable.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise BackendError(f"{path} needs scipy. Install it: pip install 'saliency-edge[matlab]'") from error
    try:
        variables = loadmat(str(path), squeeze_me=True, struct_as_record=False)
    except NotImplementedError as error:
        raise InputError(f"{path} is of Matlab 7.3. Save it again in Matlab with save(..., '-v7')") from error
    except Exception as error:  # scipy's, zlib's, struct's: a damaged file raises whatever its bytes lead to
        raise InputError(f"cannot read {path} as a .mat file: {reason_of(error)}. Get it again") from error
    if name not in variables:
        found = ", ".join(key for key in variables if not key.startswith("__"))
        raise InputError(f"{path} has no variable {name!r}, but {found or 'none'}")
    return variables[name]
