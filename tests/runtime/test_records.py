"""JSON of others: whole and of its types, or refused in one line that says where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from saliency_edge.runtime.artifact import write_json
from saliency_edge.runtime.contract import METADATA_KEY, Contract
from saliency_edge.runtime.errors import ArtifactError, ContractError, InputError, SaliencyError
from saliency_edge.runtime.records import (
    MAX_DEPTH,
    Positive,
    check_schema,
    parse_json,
    read_foreign,
    read_json,
    to_record,
)
from toy_models import toy_contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size_hw: tuple[Positive, Positive]
    fit: Literal["pad", "stretch"] = "pad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    by_name: Mapping[str, Inner]
    share: float | None = None


def whole() -> dict[str, Any]:
    return {
        "name": "a",
        "inner": {"size_hw": [1, 2]},
        "by_name": {"x": {"size_hw": [3, 4], "fit": "stretch"}},
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ('{"a": 1', "is not JSON"),
        ("[1e999]", "1e999 is too large for a number"),
        ("9" * 5000, "is not JSON"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the name 'b' stands twice"),
        (b'{"\xff": 1}', "byte 2 is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8"),
        ("[" * 100_000 + "]" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ("[" * 50 + "]" * 50, f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_is_no_json_of_ours(text: str | bytes, reason: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        parse_json(text, "the text", remedy="Make it again")

    assert str(raised.value).startswith("the text is n")
    assert reason in str(raised.value)
    assert str(raised.value).endswith(". Make it again")
    assert "\n" not in str(raised.value)


def test_what_versions_up_to_0_5_wrote_for_no_number_is_null() -> None:
    assert parse_json('{"a": NaN, "b": [1.5, -Infinity, Infinity]}', "x") == {
        "a": None,
        "b": [1.5, None, None],
    }


def test_deepest_nesting_is_taken() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "the text") is not None


def test_records_have_their_types() -> None:
    found = to_record(whole() | {"share": 1}, Outer, "x")

    assert found.inner == Inner(size_hw=(1, 2), fit="pad")
    assert found.by_name["x"] == Inner(size_hw=(3, 4), fit="stretch")
    assert isinstance(found.share, float)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda value: value.pop("name"), "the file: missing field name. Make it again"),
        (lambda value: value.update(name=1), "the file: name: expected str, got int. Make it again"),
        (lambda value: value["inner"].update(size_hw=[1, 0]), "inner.size_hw[1]: expected int >= 1"),
        (lambda value: value["inner"].update(size_hw=[1, True]), "inner.size_hw[1]: expected int, got bool"),
        (lambda value: value["inner"].update(size_hw=[1, 2.5]), "inner.size_hw[1]: expected int, got float"),
        (lambda value: value["inner"].update(size_hw="12"), "inner.size_hw: expected array, got str"),
        (lambda value: value["inner"].update(size_hw=[1]), "expected array of length 2, got 1"),
        (lambda value: value["inner"].update(fit="crop"), "inner.fit: invalid enum value 'crop'"),
        (lambda value: value["by_name"]["x"].update(colour=1), "unknown field by_name.x.colour"),
        (lambda value: value.update(inner=None), "inner: expected object, got null"),
        (lambda value: value.update(share="1"), "share: expected float | null, got str"),
    ],
)
def test_wrong_records(edit: Any, reason: str) -> None:
    value = whole()
    edit(value)
    with pytest.raises(InputError) as raised:
        to_record(value, Outer, "the file", remedy="Make it again", error=InputError)

    assert reason in str(raised.value)


def test_more_fields_are_passed_over_where_that_is_said() -> None:
    assert to_record(whole() | {"more": [1]}, Outer, "x", more_fields=True).name == "a"


@pytest.mark.parametrize(
    "value", [[], "x", None, {}, {"schema": 2}, {"schema": True}, {"schema": [1] * 1000}]
)
def test_another_schema(value: Any) -> None:
    with pytest.raises(ArtifactError, match=r"^x is not a list") as raised:
        check_schema(value, 1, "x", "a list", remedy="Make it again")

    assert len(str(raised.value)) < 150


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ArtifactError, match=r"cannot read .*No such file or directory\. Make it again"):
        read_json(path, remedy="Make it again")
    with pytest.raises(ArtifactError, match="Is a directory"):
        read_json(tmp_path)
    path.write_text("[" + "1," * 100 + "1]")
    with pytest.raises(ArtifactError, match="is larger than 0 MiB"):
        read_json(path, max_bytes=100)


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, '{"size_hw": ["a", 2]}', b'"\xff"'])
def test_foreign_files_that_cannot_be_read(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=r"x\.json is not a size"):
        read_foreign(path, Inner, what="a size", error=InputError)


def test_what_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, float("-inf"), (float("inf"),)]})

    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None, [None]]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "the contract: expected object, got array"),
        ("null", "the contract: expected object, got null"),
        ("[" * 100_000, "nested deeper"),
        ("{}", "the contract: missing field"),
    ],
)
def test_contracts_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(ContractError, match=r"x\.onnx") as raised:
        Contract.from_metadata({METADATA_KEY: text}, "x.onnx")

    assert reason in str(raised.value)


@pytest.mark.parametrize(
    "edit",
    [
        {"size_hw": 5},
        {"size_hw": [24, -32]},
        {"size_hw": [24, 10**9]},
        {"batch": [2, 1]},
        {"network": 1},
        {"fit": ["pad"]},
        {"precision": {}},
        {"weights_sha256": None},
    ],
)
def test_contracts_with_a_wrong_value(edit: dict[str, Any]) -> None:
    values = json.loads(toy_contract().to_json()) | edit
    with pytest.raises(SaliencyError, match=r"Export it again$"):
        Contract.from_mapping(values, "x.onnx")
