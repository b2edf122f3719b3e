"""Opening models in ONNX Runtime: from files and from memory, quietly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saliency_edge.runtime.backends.onnxruntime_backend import open_session
from saliency_edge.runtime.errors import ArtifactError, BackendError
from toy_models import SIZE_HW, noise, save_toy, toy_contract, toy_map, toy_model


def test_a_file_and_its_bytes_give_the_same_maps(tmp_path: Path) -> None:
    frame = noise(SIZE_HW, 1)
    from_file = open_session(save_toy(tmp_path / "toy.onnx"))
    from_memory = open_session(toy_model(toy_contract()).SerializeToString(), threads=1, cpu_only=True)

    for session in (from_file, from_memory):
        (found,) = session.run(None, {"frame": frame[None]})
        np.testing.assert_allclose(found[0], toy_map(frame), atol=1e-5)
    assert from_memory.get_providers() == ["CPUExecutionProvider"]


def test_threads_sleep_between_operators(tmp_path: Path) -> None:
    options = open_session(save_toy(tmp_path / "toy.onnx"), threads=1).get_session_options()

    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 1


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="no such file"):
        open_session(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match="damaged or no ONNX model"):
        open_session(broken)
    with pytest.raises(BackendError, match="refuses the graph"):
        open_session(b"no model")
    assert capfd.readouterr().err == ""
