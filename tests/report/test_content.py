"""The content of a report about a folder, before it is drawn."""

import csv
import json
import re
import shutil

import pytest
from report_folders import HOSTILE, write_comparison, write_run
from repository import ROOT

from sfpo.errors import UsageError
from sfpo.records.summary import write_summary
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
    assert [card.label for card in shown.cards] == ["sfpo", "sfpo, alpha=0.1"]
    assert shown.cards[0].value == f"{summary['sfpo']['rollout_reduction']['value']:.2f}×"
    assert shown.cards[1].value == "never reached"
    reduction = figure(shown.results, "rollout_reduction")
    assert [row.value for row in reduction.rows] == [summary["sfpo"]["rollout_reduction"]["value"], None]
    accuracy = figure(shown.results, "accuracy_by_rollouts")
    assert [series.name for series in accuracy.series] == ["grpo", "sfpo", "sfpo, alpha=0.1"]
    assert accuracy.series[1].low == summary["sfpo"]["curve"]["low"]
    assert accuracy.levels[0].value == summary["grpo"]["best_accuracy"]["value"]
    reward = figure(shown.training, "reward").series[1]
    assert (reward.low[-1], reward.y[-1]) == (0.72, 0.72)
    assert shown.gate_tables[0].rows[0] == ["sfpo", "0", "9", "4 of 12"]
    assert any("lookahead, seed 0 failed: out of memory" in note for note in shown.notes)
    assert [run.name for run in shown.runs][:2] == ["grpo, seed 0", "grpo, seed 1"]


def test_the_best_and_the_last_evaluation_are_of_one_curve(kept_comparison):
    (_, accuracies) = content(kept_comparison).tables
    assert accuracies.columns == ["variant", "seeds", "best evaluation", "last evaluation", "minus GRPO's last"]
    for row in accuracies.rows:
        best, last = (float(cell.split(" %")[0]) for cell in row[2:4])
        assert best >= last
    slow = accuracies.rows[2]
    assert slow[4].split(" points")[0] == "−15.0"


def test_few_evaluations_show_the_reward_and_the_two_ends(tmp_path):
    folder = write_run(tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["kind"] != "evaluation" or row["step"] in (0, 12)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    reward, ends = content(folder).results
    assert (reward.name, reward.x.label) == ("reward_by_rollouts", "rollouts sampled")
    assert reward.series[0].x == [128.0 * step for step in range(1, 13)]
    assert [row.label for row in ends.rows] == ["before training", "after step 12"]
    assert ends.rows[1].text == "40.0 % (35.9 to 44.3)"
    assert ends.reference == ends.rows[0].value


def test_a_comparison_with_two_evaluations_promises_no_reduction(tmp_path):
    folder = write_comparison(tmp_path / "c")
    path = folder / "evaluations.csv"
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] in ("0", "12")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_summary(folder)
    shown = content(folder)
    assert [figure.name for figure in shown.results] == ["reward_by_rollouts", "accuracy"]
    assert [series.name for series in shown.results[0].series] == ["grpo", "sfpo", "sfpo, alpha=0.1"]
    assert shown.cards == []
    assert [table.title for table in shown.tables] == ["Held-out accuracy"]


def test_accuracies_near_the_ceiling_are_also_shown_as_errors(kept_comparison, tmp_path):
    accuracy = figure(content(kept_comparison).results, "accuracy_by_rollouts")
    best, error = accuracy.series[1], accuracy.error.series[1]
    assert accuracy.error.y.log
    assert error.y == [pytest.approx(1 - value) for value in best.y]
    assert error.low == [pytest.approx(1 - value) for value in best.high]
    perfect = write_run(tmp_path / "perfect")
    path = perfect / "metrics.jsonl"
    path.write_text(re.sub('"accuracy": [0-9.]+', '"accuracy": 1.0', path.read_text()))
    error = figure(content(perfect).results, "accuracy_by_rollouts").error
    assert error.series[0].y == [0.5 / 512] * 5
    assert "0.098 % error, half a problem" in error.caption
    low = figure(content(write_run(tmp_path / "low", speed=0.1)).results, "accuracy_by_rollouts")
    assert low.error is None


@pytest.mark.parametrize(
    ("settings", "rewards", "advantages"),
    [
        ({}, [1, 0, 0, 0], [1.49970, -0.49990, -0.49990, -0.49990]),  # over the standard deviation plus 1e-4
        ({"scale_rewards": False}, [1, 0, 0, 0], [0.75, -0.25, -0.25, -0.25]),
        ({"scale_rewards": "none"}, [1, 0, 0, 0], [0.75, -0.25, -0.25, -0.25]),
        ({"scale_rewards": True}, [1, 1, 1, 1], [0.0, 0.0, 0.0, 0.0]),
        ({"scale_rewards": "batch"}, [1, 0, 0, 0], [None] * 4),
        ({"scale_rewards": "none", "advantage_estimator": "remax"}, [1, 0, 0, 0], [None] * 4),
        ({}, [1, 0, 0], [None] * 3),
        ({}, [1, None, 0, 0], [None] * 4),
    ],
)
def test_advantages_are_those_of_whole_groups(tmp_path, settings, rewards, advantages):
    folder = write_run(tmp_path / "run", num_generations=4, **settings)
    row = {"step": 1, "prompt": "p", "completion": "c", "answer": "a"}
    rows = [row | {"reward": reward} for reward in rewards]
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (group,) = content(folder).runs[0].completions.groups
    found = [one.advantage for one in group.completions]
    assert found == [None if value is None else pytest.approx(value, abs=1e-4) for value in advantages]


def test_a_prompt_drawn_twice_in_a_step_has_two_groups(tmp_path):
    folder = write_run(tmp_path / "run", num_generations=2)
    row = {"step": 1, "prompt": "p", "completion": "c", "answer": "a", "reward": 1.0}
    (folder / "completions.jsonl").write_text((json.dumps(row) + "\n") * 4)
    assert [len(group.completions) for group in content(folder).runs[0].completions.groups] == [2, 2]


def test_the_kl_of_a_step_is_that_of_its_last_pass(tmp_path):
    kl = figure(content(write_run(tmp_path / "run")).runs[0].gate, "kl").series[0]
    assert kl.y == [0.02] * 8 + [None] * 4  # one pass, from where the gate closed


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
    assert after.runs[0].completions.groups == []
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
    assert [one.name for one in shown.results] == ["reward_by_rollouts"]
    assert figure(shown.training, "reward").series[0].x == [1, 2, 3, 4, 5]
    assert shown.runs[0].completions.note == "No completions were recorded."
    path.write_text("")
    assert content(folder).training == []
    (folder / "config.yaml").write_text("a: [")
    assert any("config.yaml" in line for line in content(folder).left_out)
    render(content(folder))


def test_a_completion_may_hold_any_line_separator(tmp_path):
    folder = write_run(tmp_path / "run")
    row = {"step": 1, "prompt": "a\u2028b\x85c", "completion": "", "answer": "", "reward": None}
    (folder / "completions.jsonl").write_text(2 * (json.dumps(row, ensure_ascii=False) + "\n"), encoding="utf-8")
    (group,) = content(folder).runs[0].completions.groups
    assert group.prompt == "a\u2028b\x85c"
    assert len(group.completions) == 2


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
    assert all(len(group.prompt) < 6_100 for group in completions.groups)
    assert "more characters" in completions.groups[0].prompt
    many = tmp_path / "run" / "completions.jsonl"
    row = {"prompt": "p" * 5_000, "completion": "c" * 5_000, "answer": "a", "reward": 1.0}
    many.write_text("".join(json.dumps(row | {"step": step}) + "\n" for step in range(400)))
    completions = content(folder).runs[0].completions
    assert 100 < len(completions.groups) < 200
    assert "of the 400 recorded completions" in completions.note


def test_nothing_that_was_read_can_leave_the_data_of_the_page(kept_comparison):
    page = render(content(kept_comparison))
    outside = re.sub(r'<script type="application/json" id="content">[^<]*</script>', "", page)
    assert outside != page  # the data has no "<" at all
    assert "window.hacked" in page
    assert "window.hacked" not in outside
    data = json.loads(re.search(r'id="content">([^<]*)<', page).group(1))
    assert data["runs"][0]["completions"]["groups"][0]["prompt"] == HOSTILE.replace("\ud800", "\ufffd")
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
    many = shades("sfpo", 8)
    assert len({color.light for color in many}) == len({color.dark for color in many}) == 8
    assert shades("sfpo", 1) == [color_of("sfpo")]


def test_a_broken_comparison_is_one_clear_error(comparison):
    (comparison / "comparison.json").write_text("{")
    with pytest.raises(UsageError, match=r"comparison\.json is no JSON object"):
        read_folder(comparison)
    (comparison / "comparison.json").write_text('{"seeds": [0]}')
    with pytest.raises(UsageError, match="not what sfpo compare writes"):
        read_folder(comparison)


def test_where_none_reached_grpos_best_the_way_to_most_of_it_is_shown(tmp_path):
    folder = shutil.copytree(ROOT / "results" / "embedded-larger-cap", tmp_path / "run")
    nearly = {
        name: figures["rollout_reduction_to_0.95"]["value"]
        for name, figures in json.loads((folder / "summary.json").read_text())["variants"].items()
        if name.startswith("sfpo")
    }
    shown = content(folder)
    assert [card.value for card in shown.cards] == [f"{value:.2f}×" for value in nearly.values()]
    assert all("95 % of GRPO's best accuracy; the best was never reached" in card.lines[0] for card in shown.cards)
    reduction = figure(shown.results, "rollout_reduction_to_0.95")
    assert [row.value for row in reduction.rows] == list(nearly.values())
    assert reduction.title == "Rollouts saved on the way to 95 % of GRPO's best accuracy"
