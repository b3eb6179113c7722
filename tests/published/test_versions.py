"""The table of tested versions is that of the record, and says what pyproject.toml promises."""

import json
import tomllib

from packaging.requirements import Requirement
from repository import ROOT
from test_hosts import HOSTS, PAGE, RECORD, with_table

ROWS = json.loads(RECORD.read_text())


def test_the_page_shows_the_record():
    assert with_table(PAGE.read_text(), ROWS) == PAGE.read_text()


def test_the_oldest_and_the_newest_were_tested_and_nothing_failed():
    tested = [row["versions"]["trl"] for row in ROWS]
    assert {next(iter(HOSTS)), list(HOSTS)[-1]} <= set(tested) <= set(HOSTS)
    assert [row["versions"]["trl"] for row in ROWS if row["failed"] or row["passed"] < 50] == []


def test_the_promised_range_ends_where_the_tests_do():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("trl", "transformers"):
        (promised,) = [one for one in map(Requirement, extras["trl"]) if one.name == name]
        tested = sorted((row["versions"][name] for row in ROWS), key=lambda text: tuple(map(int, text.split("."))))
        bounds = {one.operator: one.version for one in promised.specifier}
        major, minor, _ = map(int, tested[-1].split("."))
        assert tested[0].removesuffix(".0") == bounds[">="]
        assert bounds["<"] == f"{major}.{minor + 1}"
