"""What pyproject.toml promises is what is there, and what a wheel carries."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

LOCKED_EXTRAS = ("onnxruntime", "train", "export", "rtx", "matlab", "dev")
FOLDERS = ("runtime", "train", "calib", "export")


def tracked_files(repository: Path) -> list[str]:
    """List the files that git has, or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (repository / name).is_file()]


def test_packages_are_the_folders_that_hold_an_init(repository: Path, pyproject: dict[str, Any]) -> None:
    found = {
        ".".join(["saliency_edge", *init.parent.relative_to(repository).parts])
        for folder in FOLDERS
        for init in (repository / folder).rglob("__init__.py")
    }

    assert set(pyproject["tool"]["setuptools"]["packages"]) == found


def test_the_namespace_has_no_init(repository: Path) -> None:
    assert not (repository / "saliency_edge").exists()
    assert all((repository / folder / "py.typed").is_file() for folder in FOLDERS)


def test_wheel_carries_every_file_of_the_packages(repository: Path, tmp_path: Path) -> None:
    names = tracked_files(repository)
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / name, tmp_path / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(tmp_path / "source")], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        licences = {Path(name).name for name in wheel.namelist() if "/licenses/" in name}

    assert packed == {f"saliency_edge/{name}" for name in names if name.split("/")[0] in FOLDERS}
    assert licences == {"LICENSE", "NOTICE"}


@pytest.fixture(scope="session")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the last commit."""
    folder = tmp_path_factory.mktemp("dist") / "clone"
    done = subprocess.run(["git", "clone", "-q", str(repository), str(folder)], check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return folder


@pytest.mark.slow
def test_make_dist_gives_the_same_wheel_twice_and_twine_takes_it(repository: Path, clone: Path) -> None:
    twine = repository / ".cache/dist/bin/twine"
    if not twine.is_file():
        pytest.skip("no twine in .cache/dist: make test sets it up")
    checksums = []
    for _ in range(2):
        command = ["make", "-s", "-C", str(clone), "dist", f"TWINE={twine}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("PASSED") == len(["wheel", "source archive"])
        (wheel,) = (clone / "dist").glob("*.whl")
        checksums.append(hashlib.sha256(wheel.read_bytes()).hexdigest())

    assert wheel.name.endswith("-py3-none-any.whl")
    assert len(set(checksums)) == 1


@pytest.mark.parametrize(
    ("machine", "python", "package"),
    [
        ("x86_64", "3.10", "onnxruntime-gpu"),
        ("aarch64", "3.10", "onnxruntime"),
        ("aarch64", "3.12", "onnxruntime-gpu"),
        ("riscv64", "3.12", "onnxruntime"),
    ],
)
def test_one_onnxruntime_for_each_machine(
    machine: str, python: str, package: str, pyproject: dict[str, Any]
) -> None:
    """The two packages share a folder: installed together, they break each other."""
    environment = {"platform_machine": machine, "python_version": python}
    entries = map(Requirement, pyproject["project"]["optional-dependencies"]["onnxruntime"])

    assert [entry.name for entry in entries if entry.marker and entry.marker.evaluate(environment)] == [
        package
    ]


def test_version_is_the_changelogs_newest(repository: Path, pyproject: dict[str, Any]) -> None:
    versions = re.findall(
        r"^## \[(\d[^]]*)\]", (repository / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )

    assert pyproject["project"]["version"] == versions[0]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oracle.txt"])
def test_lock_pins_everything_with_hashes_and_names_no_index(name: str, repository: Path) -> None:
    text = (repository / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())

    assert len(entries) > 20
    assert [
        entry for entry in entries if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry
    ] == []
    assert re.findall(r"(?m)^--|://", text) == []


def test_lock_has_every_requirement(repository: Path, pyproject: dict[str, Any]) -> None:
    lock = (repository / "constraints.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"(?m)^([\w.-]+)==", lock))
    extras = pyproject["project"]["optional-dependencies"]
    wanted = [
        *pyproject["project"]["dependencies"],
        *(item for extra in LOCKED_EXTRAS for item in extras[extra]),
    ]
    names = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted} - {"saliency-edge"}

    assert names - pinned == set()
