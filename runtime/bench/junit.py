"""Verdicts as JUnit XML, which every CI shows: a suite for each model, a test case for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from ..artifact import atomic_file
from .check import Check


def write_junit(checks: Sequence[Check], path: Path) -> None:
    """Write the verdicts.

    Raises:
        OutputError: the file cannot be written.
    """
    root = Element("testsuites", {"name": "saliency-bench", **_counts(checks)})
    for model in dict.fromkeys(item.model for item in checks):
        own = [item for item in checks if item.model == model]
        suite = SubElement(root, "testsuite", {"name": model, **_counts(own)})
        for item in own:
            _add_case(suite, item)
    indent(root)
    with atomic_file(path) as temporary:
        ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    verdicts = [item.verdict for item in checks]
    return {
        "tests": str(len(checks)),
        "failures": str(verdicts.count("worse")),
        "skipped": str(verdicts.count("not held")),
    }


def _add_case(suite: Element, item: Check) -> None:
    case = SubElement(suite, "testcase", classname=f"saliency-bench.{item.model}", name=item.figure)
    if item.verdict == "worse":
        SubElement(case, "failure", message=item.sentence)
    elif item.verdict == "not held":
        SubElement(case, "skipped", message=item.sentence)
    else:
        SubElement(case, "system-out").text = item.sentence
