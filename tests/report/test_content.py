"""The content of a report about a folder, before it is drawn."""

import json
import re
import shutil

import pytest
from report_folders import HOSTILE, write_comparison, write_run

from sfpo.errors import UsageError
from sfpo.report.colors import color_of, shades
from sfpo.report.content import as_data, content_of
from sfpo.report.folder import column, read_folder
from sfpo.report.gate import closed_ranges, what_happened
from sfpo.report.page import render
from sfpo.report.thinning import thinned


def content(folder):
    return content_of(read_folder(folder))


def figure(figures, name):
    return next(one for one in figures if one.name == name)


def test_accuracy_of_a_run_is_shown_against_rollouts_and_seconds_with_its_interval(tmp_path):
    run = content(write_run(tmp_path / "run"))
    by_rollouts, by_seconds = (
        figure(run.results, f"accuracy_by_{name}").series[0] for name in ("rollouts", "seconds")
    )
    assert by_rollouts.x == [0, 384, 768, 1152, 1536]
    assert by_seconds.x == [0, 2.25, 4.5, 6.75, 9]
    assert by_rollouts.y[-1] == pytest.approx(0.4, abs=1e-3)
    assert by_rollouts.low[-1] == pytest.approx(0.358, abs=2e-3)  # Wilson's for 205 of 512
    assert by_rollouts.high[-1] == pytest.approx(0.443, abs=2e-3)
    assert run.cards[0].value == "40.0 %"
    assert "512 held-out problems" in run.cards[0].lines[0]


def test_the_gate_is_told_and_shaded_where_it_closed(tmp_path):
    run = read_folder(write_run(tmp_path / "run"))
    assert closed_ranges(run) == [(8.5, 12.5)]
    assert what_happened(run) == "α went to 0 at step 9, where Z was −1.60. Plain GRPO in 4 of 12 steps: 9–12."
    entropy = figure(content_of(run).runs[0].gate, "entropy")
    band = entropy.series[1]
    assert (band.low[-1], band.high[-1]) == (pytest.approx(0.125), pytest.approx(0.275))  # 0.2 ± 1.5 · 0.05
    assert entropy.shades == [(8.5, 12.5)]
    assert [level.value for level in figure(content_of(run).runs[0].gate, "z").levels] == [1.5, -1.5]


def test_a_gate_that_opens_again_is_told_by_its_ranges(tmp_path):
    folder = write_run(tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "train":
            is_closed = row["step"] in (3, 7, 8)
            row |= {"sfpo/alpha": 0.0 if is_closed else 0.8, "sfpo/gate_closed": float(is_closed)}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "Plain GRPO in 3 of 12 steps: 3, 7–8." in what_happened(read_folder(folder))


def test_passes_are_told_apart_and_plain_grpo_has_none(tmp_path):
    details = content(write_run(tmp_path / "sfpo")).runs[0]
    assert [series.name for series in figure(details.passes, "pass_kl").series] == ["pass 1", "pass 2 (slow)"]
    assert figure(details.passes, "pass_grad_norm").series[0].name == "pass 0"
    grpo = content(write_run(tmp_path / "grpo", "grpo")).runs[0]
    assert grpo.passes == []
    assert "One pass over each batch" in grpo.passes_sentence
    assert grpo.gate_sentence.startswith("Plain GRPO")
    assert [one.name for one in grpo.gate] == ["entropy"]


def test_a_first_pass_of_several_mini_batches_is_drawn(tmp_path):
    folder = write_run(tmp_path / "grpo", "grpo")
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text().replace('"sfpo/pass_0/kl": 0.0', '"sfpo/pass_0/kl": 0.001'))
    details = content(folder).runs[0]
    assert [series.name for series in figure(details.passes, "pass_kl").series] == ["pass 0"]
    assert "several mini-batches" in details.passes_sentence


def test_a_comparison_shows_its_summary_and_never_reached_is_a_value(kept_comparison):
    folder = kept_comparison
    summary = json.loads((folder / "summary.json").read_text())["variants"]
    shown = content(folder)
    assert [card.label for card in shown.cards] == ["sfpo", "sfpo,alpha=0.1"]
    assert shown.cards[0].value == f"{summary['sfpo']['rollout_reduction']['value']:.2f}×"
    assert shown.cards[1].value == "never reached"
    reduction = figure(shown.results, "rollout_reduction")
    assert [row.value for row in reduction.rows] == [summary["sfpo"]["rollout_reduction"]["value"], None]
    accuracy = figure(shown.results, "accuracy_by_rollouts")
    assert [series.name for series in accuracy.series] == ["grpo", "sfpo", "sfpo,alpha=0.1"]
    assert accuracy.series[1].low == summary["sfpo"]["curve"]["low"]
    assert accuracy.levels[0].value == summary["grpo"]["best_accuracy"]["value"]
    reward = figure(shown.training, "reward").series[1]
    assert (reward.low[-1], reward.y[-1]) == (0.72, 0.72)
    assert shown.gate_tables[0].rows[0] == ["sfpo", "0", "9", "4 of 12"]
    assert any("lookahead, seed 0 failed: out of memory" in note for note in shown.notes)
    assert [run.name for run in shown.runs][:2] == ["grpo, seed 0", "grpo, seed 1"]


def test_one_seed_has_no_intervals_and_says_so(tmp_path):
    shown = content(write_comparison(tmp_path / "c", seeds=(3,)))
    accuracy = figure(shown.results, "accuracy_by_rollouts")
    assert "one seed, so there is no interval" in accuracy.caption
    assert accuracy.series[1].low == []
    assert figure(shown.results, "rollout_reduction").rows[0].low is None
    assert shown.cards[0].detail == "rollout reduction, one seed"


def test_a_comparison_without_its_runs_is_read_from_its_own_records(comparison):
    before = content(comparison)
    shutil.rmtree(comparison / "runs")
    after = content(comparison)
    assert figure(after.training, "reward") == figure(before.training, "reward")
    assert after.results == before.results
    assert after.runs[0].completions.rows == []
    assert after.runs[0].passes_sentence == "This run recorded nothing about its passes."


def test_variants_stand_in_the_order_of_their_settings(comparison):
    specification = json.loads((comparison / "comparison.json").read_text())
    for value in ("off", "1e-3", "2e-4"):
        variant = {"name": value, "method": "sfpo", "settings": {"learning_rate": value}, "baseline": "grpo"}
        specification["variants"].insert(0, variant)
    (comparison / "comparison.json").write_text(json.dumps(specification))
    names = [variant.name for variant in read_folder(comparison).variants]
    assert names == ["sfpo", "2e-4", "1e-3", "sfpo,alpha=0.1", "off", "grpo", "lookahead"]


def test_what_is_not_finished_is_shown_with_a_note(tmp_path):
    folder = write_run(tmp_path / "run", evaluations=False)
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[:5]
    path.write_text("\n".join(lines) + '\n{"kind": "train", "st', encoding="utf-8")
    (folder / "run.json").unlink()
    (folder / "completions.jsonl").write_bytes('{"step": 1, "prompt": "ü'.encode()[:-1])  # killed within a character
    shown = content(folder)
    assert "has not finished" in shown.notes[0]
    assert shown.results == []
    assert figure(shown.training, "reward").series[0].x == [1, 2, 3, 4, 5]
    assert shown.runs[0].completions.note == "No completions were recorded."
    path.write_text("")
    assert content(folder).training == []
    (folder / "config.yaml").write_text("a: [")
    assert any("config.yaml" in note for note in content(folder).notes)
    render(content(folder))


def test_a_completion_may_hold_any_line_separator(tmp_path):
    folder = write_run(tmp_path / "run")
    row = {"step": 1, "prompt": "a\u2028b\x85c", "completion": "", "answer": "", "reward": None}
    (folder / "completions.jsonl").write_text(2 * (json.dumps(row, ensure_ascii=False) + "\n"), encoding="utf-8")
    assert [prompt for _, prompt, _, _, _ in content(folder).runs[0].completions.rows] == ["a\u2028b\x85c"] * 2


def test_settings_and_values_of_the_wrong_kind_do_no_harm(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "config.yaml").write_text("method: [1]\nentropy_threshold: <img>\ninner_steps: x\nseed: {}\n")
    with (folder / "metrics.jsonl").open("a") as file:
        for row in (
            {"kind": "train", "step": 13, "sfpo/rollout_seconds": float("nan")},
            {"kind": "evaluation", "step": 13},
        ):
            file.write(json.dumps(row) + "\n")
    assert "[1]" in render(content(folder))


def test_the_setup_says_what_made_a_run_or_a_comparison(tmp_path):
    first = {
        "commit": "abc+dirty",
        "versions": {"python": "3.12", "sfpo": "0.1.0", "torch": "2.14.0+cpu"},
        "machine": {"processor": "AMD EPYC", "cores": 2, "memory_gib": 23.5, "accelerator": "2 x NVIDIA H100"},
    }
    said = {
        ("commit", "abc+dirty"),
        ("processor", "AMD EPYC, 2 cores, 23.5 GiB"),
        ("accelerator", "2 x NVIDIA H100"),
        ("continued with other code, versions or machine", "1×"),
    }
    run, comparison = write_run(tmp_path / "run"), write_comparison(tmp_path / "c")
    assert dict(content(run).setup.versions)["torch"] == "2.13.0+cpu"  # from before records had entries
    assert dict(content(comparison).setup.versions)["torch"] == "2.13.0+cpu"
    for path in (run / "run.json", comparison / "comparison.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": [first, {"commit": "def"}]}))
        setup = content(path.parent).setup
        assert said <= set(setup.facts)
        assert setup.versions == list(first["versions"].items())
        assert setup.commands[0][1] == "pip install 'sfpo[trl]==0.1.0' torch==2.14.0"
        for broken in ([{}], "x", [1], [{"machine": 2, "versions": []}], {"a": 1}):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": broken}))
            assert content(path.parent).setup.versions == []


def test_values_that_are_no_numbers_leave_gaps():
    rows = [{"a": 1}, {"a": float("nan")}, {}, {"a": "x"}, {"a": float("inf")}]
    assert column(rows, "a") == [1.0, None, None, None, None]


def test_long_runs_are_thinned_and_completions_are_capped(tmp_path):
    assert thinned(list(range(1000)), 5) == [0, 250, 500, 749, 999]
    assert thinned([1, 2], 5) == [1, 2]
    long = content(write_run(tmp_path / "long", steps=1_000, closed_from=777))
    assert len(figure(long.training, "reward").series[0].x) == 400
    assert "Lines show 400 of up to 1,000 logged steps, evenly spread." in long.notes
    assert "α went to 0 at step 777" in long.runs[0].gate_sentence
    folder = write_run(tmp_path / "run", text="x" * 50_000)
    completions = content(folder).runs[0].completions
    assert all(len(prompt) < 6_100 for _, prompt, _, _, _ in completions.rows)
    assert "more characters" in completions.rows[0][1]
    many = tmp_path / "run" / "completions.jsonl"
    row = json.dumps({"step": 1, "prompt": "p" * 5_000, "completion": "c" * 5_000, "answer": "a", "reward": 1.0})
    many.write_text((row + "\n") * 400)
    completions = content(folder).runs[0].completions
    assert 100 < len(completions.rows) < 200
    assert "of the 400 recorded completions" in completions.note


def test_nothing_that_was_read_can_leave_the_data_of_the_page(kept_comparison):
    page = render(content(kept_comparison))
    outside = re.sub(r'<script type="application/json" id="content">[^<]*</script>', "", page)
    assert outside != page  # the data has no "<" at all
    assert "window.hacked" in page
    assert "window.hacked" not in outside
    data = json.loads(re.search(r'id="content">([^<]*)<', page).group(1))
    assert data["runs"][0]["completions"]["rows"][0][1] == HOSTILE
    assert page.count("<script") == 5  # the data, two libraries, two of ours
    assert "default-src 'none'" in page


def test_a_title_is_escaped(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "config.yaml").write_text('task: "</title><script>window.hacked=1</script>"')
    page = render(content(folder))
    assert "&lt;/title&gt;&lt;script&gt;" in page
    assert "<script>window.hacked" not in page


def test_numbers_are_short_and_finite(tmp_path):
    text = json.dumps(as_data(content(write_run(tmp_path / "run"))), allow_nan=False)
    assert "0.0996094" in text  # 51 / 512
    assert "0.099609375" not in text


def test_shades_of_a_method_are_all_different():
    many = shades(color_of("sfpo"), 8)
    assert len({color.light for color in many}) == len({color.dark for color in many}) == 8
    assert shades(color_of("sfpo"), 1) == [color_of("sfpo")]


def test_a_broken_comparison_is_one_clear_error(comparison):
    (comparison / "comparison.json").write_text("{")
    with pytest.raises(UsageError, match=r"comparison\.json is not JSON"):
        read_folder(comparison)
    (comparison / "comparison.json").write_text('{"seeds": [0]}')
    with pytest.raises(UsageError, match="not what sfpo compare writes"):
        read_folder(comparison)
