"""The table of what is survived names tests that exist."""

import ast
import re

import pytest
from repository import ROOT

PAGE = ROOT / "docs" / "nothing-lost.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda value: value.rpartition("/")[2])
def test_each_named_test_exists(file, test):
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_row_names_a_test():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row] == []
    assert len(NAMED) >= len(rows)
