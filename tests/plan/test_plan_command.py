"""`sfpo plan` as a user types it."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from repository import ROOT

from sfpo.cli import main

DEMO = ROOT / "results" / "demo"


def plan(capsys, *arguments):
    code = main(["plan", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys, *arguments):
    code, out, err = plan(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_no_argument_plans_the_demo(capsys):
    code, out, _ = plan(capsys)
    assert code == 0
    for said in ("856,704 weights", "θ_0", "SFPO / GRPO", "breaks even"):
        assert said in out


def test_it_needs_neither_torch_nor_transformers():
    code = "import sys; from sfpo.cli import main; main(['plan']); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


def test_flags_win_over_a_recipe_and_a_recipe_over_a_run(capsys, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: embedded\nper_device_train_batch_size: 32\ninner_steps: 5\nlearning_rate: 1.0e-6\n")
    made = as_json(capsys, "--from", DEMO / "sfpo", "--config", recipe, "--inner_steps", 7)
    assert made["workload"]["micro_batch"] == 32
    assert made["workload"]["inner_steps"] == 7
    assert made["workload"]["completion_length"] > 10  # the run's


@pytest.mark.parametrize(("moments", "copies"), [("restored", 4), ("running", 2)])
def test_gxpo_makes_three_passes_whatever_k_and_keeps_more_copies(capsys, tmp_path, moments, copies):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"method: gxpo\ninner_steps: 5\ngxpo_moments: {moments}\n")
    made, sfpo = as_json(capsys, "--config", recipe), as_json(capsys, "--method", "sfpo", "--inner_steps", 2)
    parts = sfpo["seconds"]
    assert made["method"] == "gxpo"
    assert made["memory_bytes"]["snapshot"] == copies * sfpo["memory_bytes"]["snapshot"]
    assert made["seconds"]["gxpo"] == pytest.approx(parts["sfpo"] + (copies - 1) * parts["reposition"])
    assert made["step_ratio"] == pytest.approx(made["seconds"]["gxpo"] / parts["grpo"])
    shown = plan(capsys, "--config", recipe)[1]
    assert "GXPO's step, three passes whatever K" in shown
    assert "breaks even" not in shown
    assert "SFPO" not in shown


def test_another_method_than_the_configurations_keeps_its_own_k(capsys, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("method: gxpo\ninner_steps: 10\nnum_generations: 4\n")
    made = as_json(capsys, "--config", recipe, "--method", "sfpo")
    assert (made["workload"]["inner_steps"], made["workload"]["group_size"]) == (3, 4)


def test_a_reduction_by_k_says_nothing_of_gxpo(capsys):
    code, _, err = plan(capsys, "--method", "gxpo", "--rollout_reduction", "3=3.5")
    assert code == 2
    assert "three passes whatever K" in err


def test_a_calibrated_plan_checks_other_runs(capsys):
    made = as_json(capsys, "--from", DEMO / "sfpo", "--check", DEMO / "grpo", DEMO / "multi_epoch")
    assert [round(c["passes"]) for c in made["checks"]] == [1, 4]
    assert all(abs(c["error"]) < 0.25 for c in made["checks"])


def test_the_best_k_is_the_one_with_the_largest_time_reduction(capsys):
    arguments = ("--model", "Qwen/Qwen2.5-Math-7B", "--devices", 8, "--engine", "fsdp2")
    made = as_json(capsys, *arguments, "--rollout_reduction", "1=1.8", "3=3.5", "11=4")
    times = [row["time"] for row in made["wall_clock"]]
    assert times == sorted(times, reverse=True)
    assert made["best_inner_steps"] == made["wall_clock"][0]["inner_steps"]
    assert made["fits"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inner_steps: three", "inner_steps should be a whole number, got 'three'"),
        ("inner_steps: 2.5", "inner_steps should be a whole number, got '2.5'"),
        ("inner_steps: true", "inner_steps should be a whole number, got 'True'"),
        ("steps_per_generation: x", "steps_per_generation should be a whole number, got 'x'"),
        ("completion_length: x", "completion_length should be a number, got 'x'"),
        ("model: null", "model should be text, got 'None'"),
        ("model: [a]", "model should be text, got '['a']'"),
        ("gradient_checkpointing: maybe", "gradient_checkpointing should be true or false, got 'maybe'"),
    ],
)
def test_a_recipe_with_a_value_of_the_wrong_kind_is_refused(capsys, tmp_path, line, said):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(line)
    code, _, err = plan(capsys, "--config", recipe)
    assert (code, err) == (2, f"sfpo plan: {said}\n")


def test_a_run_with_a_kl_budget_says_how_many_passes_its_steps_made(capsys, tmp_path):
    made = as_json(capsys, "--from", DEMO / "sfpo")
    assert made["measured_passes"] is None  # its α was a number
    run = tmp_path / "run"
    shutil.copytree(DEMO / "sfpo", run)
    configuration = yaml.safe_load((run / "config.yaml").read_text()) | {"alpha": "auto"}
    (run / "config.yaml").write_text(yaml.safe_dump(configuration))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["sfpo/passes"] = 3.0 if row["step"] % 2 else 2.0
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert as_json(capsys, "--from", run)["measured_passes"] == pytest.approx(2.5, abs=0.05)
    assert "passes as in the run" in plan(capsys, "--from", run)[1]


def test_the_reductions_that_a_comparison_measured_are_put_on_the_clock(capsys):
    made = as_json(capsys, "--from", DEMO / "sfpo", "--rollout_reduction", ROOT / "results" / "embedded-inner-steps")
    assert {row["inner_steps"] for row in made["wall_clock"]} <= {1, 5, 7, 11}
    assert len(made["wall_clock"]) > 1


def test_what_does_not_fit_is_said(capsys):
    _, out, _ = plan(capsys, "--model", "Qwen/Qwen2.5-Math-7B", "--hardware", "rtx4090-24gb")
    assert "Does not fit" in out


def test_a_recipe_on_several_devices_is_planned_with_trls_own_passes(capsys):
    recipe = ROOT / "recipes" / "trl" / "ds-qwen-7b-dapo-math.yaml"
    one, eight = (as_json(capsys, "--config", recipe, "--devices", d, "--engine", "zero3") for d in (1, 8))
    assert (one["workload"]["compact"], eight["workload"]["compact"]) == (True, False)
    assert eight["seconds"]["scoring"] > 0
    assert eight["seconds"]["a_pass"] > 1.5 * one["seconds"]["a_pass"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hardware", "h900"], "unknown hardware 'h900'"),
        (["--config", "nowhere.yaml"], "no configuration file nowhere.yaml"),
        (["--model", "model.gguf"], "no file model.gguf"),
        (["--from", "nowhere"], "not a folder that sfpo train wrote"),
        (["--learning_rate", "1"], "unrecognized arguments"),
        (["--rollout_reduction", "x"], "K=REDUCTION"),
        (["--bf16", "maybe"], "true or false"),
    ],
)
def test_a_mistake_is_answered_by_one_line(capsys, arguments, said):
    code, out, err = plan(capsys, *arguments)
    assert code == 2
    assert not out
    assert said in err
    assert len(err.splitlines()) == 1
