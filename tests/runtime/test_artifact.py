"""Files and folders that are whole or absent, whoever writes there."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from saliency_edge.runtime.artifact import atomic_file, atomic_folder, write_json

_WRITER = """
import sys, time
from pathlib import Path
from saliency_edge.runtime.artifact import atomic_file, atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder, atomic_file(folder / "half.json") as file:
    file.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("inner", ["manifest.json", "int8/manifest.json"])
def test_files_are_written_in_a_folder_that_is_being_made(tmp_path: Path, inner: str) -> None:
    with atomic_folder(tmp_path / "bundle") as folder:
        write_json(folder / inner, {"whole": True})
    assert (tmp_path / "bundle" / inner).read_text() == '{\n  "whole": true\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.timeout(20)
def test_a_lock_on_the_folder_is_not_waited_for(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_json(tmp_path / "receipt.json", {})
        with atomic_folder(tmp_path / "engines") as folder:
            write_json(folder / "receipt.json", {})
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engines", "receipt.json"]


@pytest.mark.timeout(60)
def test_what_a_kill_left_goes_with_the_next_writing_and_what_is_being_written_stays(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        for name in ("killed", "alive")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
        os.kill(writers[0].pid, signal.SIGKILL)
        writers[0].wait()
        assert len(list(tmp_path.iterdir())) == 2

        quick = _WRITER.replace("sleep(60)", "sleep(0)")
        subprocess.run([sys.executable, "-c", quick, str(tmp_path / "new")], check=True, capture_output=True)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left[0].startswith(".alive")
        assert left[1:] == ["new"]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
