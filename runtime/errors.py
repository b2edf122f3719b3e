"""Every error that a user can cause, as one tree.

SaliencyError                 found, expected, what to do: in one line
├── UsageError                an option or a combination of options that cannot be
├── InputError                a frame source, image or video that cannot be read
├── OutputError               a file or folder that cannot be written
├── ArtifactError             a checkpoint, ONNX, engine or bundle that cannot be used
│   └── ContractError         the artifact is whole, but it is not the one that is needed
├── BackendError              a package, driver or device that is missing or refuses
├── ParityError               maps that differ from PyTorch's by more than the tolerance
├── BuildError                an engine that could not be built, or is not what was asked for
└── TrainingError             a training run that cannot go on

Commands print the message without a traceback and exit with code 1: see `console.py`.
"""

from __future__ import annotations

_LONGEST_REASON = 300


def reason_of(error: BaseException) -> str:
    """What another library's exception says, in one line of at most 300 characters; its kind if nothing."""
    text = " ".join("".join(char if char.isprintable() else " " for char in str(error)).split())
    if not text:
        return type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class SaliencyError(Exception):
    """Base of all errors that a user can fix; its text says how."""


class UsageError(SaliencyError):
    """An option, or a combination of options, that cannot be."""


class InputError(SaliencyError):
    """A frame source, image or video that cannot be read."""


class OutputError(SaliencyError):
    """A file or folder that cannot be written."""


class ArtifactError(SaliencyError):
    """A checkpoint, ONNX file, engine or bundle that cannot be used."""


class ContractError(ArtifactError):
    """An artifact that is whole, but is not the one that is needed."""


class BackendError(SaliencyError):
    """A package, driver or device that is missing or refuses."""


class ParityError(SaliencyError):
    """Maps that differ from PyTorch's by more than the tolerance."""


class BuildError(SaliencyError):
    """An engine that could not be built, or that is not what was asked for."""


class TrainingError(SaliencyError):
    """A training run that cannot go on."""
