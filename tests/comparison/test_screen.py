"""The tables of a comparison in the terminal."""

import io
import re

import pytest
from comparisons import write_comparison
from rich.console import Console

from sfpo.comparison.screen import print_tables
from sfpo.records.summary import as_markdown, summarise

CURVES = {
    "grpo": [0.101, 0.2, 0.3, 0.45, 0.5, 0.5],
    "multi_epoch,learning_rate=3e-4": [0.101, 0.1, 0.1, 0.1, 0.1, 0.1],
    "sfpo,learning_rate=3e-4,gate=exit,gate_sides=two,entropy_window=30,entropy_threshold=1": [
        0.101,
        0.4,
        0.5,
        0.6,
        0.6,
        0.6,
    ],
}


def shown(folder, width):
    screen = io.StringIO()
    print_tables(Console(file=screen, width=width), summarise(folder))
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_number_is_lost_in_narrow_terminals(tmp_path, width):
    write_comparison(tmp_path, CURVES)
    text = shown(tmp_path, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    plain = "".join(text.split())
    tables = as_markdown(summarise(tmp_path)).partition("## To reach")[2]
    numbers = re.findall(r"\d[\d.,]*[×%]?", tables.replace(" %", "%").replace("95%", ""))
    missing = [number for number in numbers if number.rstrip("%×.,") not in plain]
    assert numbers
    assert not missing
    for word in ("learning_rate=3e-4", "entropy_threshold=1", "multi_epoch", "never"):
        assert word in text


def test_failures_and_too_few_evaluations_are_said(tmp_path):
    write_comparison(tmp_path, {"grpo": [0.1, 0.2]})
    summary = summarise(tmp_path)
    summary["variants"]["grpo"]["failed"] = [{"seed": 3, "error": "exit code 2: [no] memory"}]
    screen = io.StringIO()
    print_tables(Console(file=screen, width=80), summary)
    assert "Failed: grpo, seed 3: exit code 2: [no] memory" in screen.getvalue()
    assert "Too few evaluations: 2, " in screen.getvalue()
