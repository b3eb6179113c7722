"""Every recipe: the TRL ones through `sfpo train --dry_run`, the others as far as a machine without GPUs can judge them."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from repository import ROOT
from slices import BENCHMARKS, write_training_sets

from sfpo.cli import main
from sfpo.plan.architecture import PAPER_MODELS

RECIPES = ROOT / "recipes"
TRL = sorted((RECIPES / "trl").glob("*.yaml"))
ACCELERATE = sorted((RECIPES / "accelerate").glob("*.yaml"))
VERL_MODELS = sorted(path.stem for path in (RECIPES / "verl" / "model").glob("*.yaml"))
TRAIN_SETS = sorted(path.stem for path in (RECIPES / "verl" / "train_set").glob("*.yaml"))


def settings(path):
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def local_copies(tmp_path_factory):
    return write_training_sets(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("recipe", TRL, ids=lambda path: path.stem)
def test_sfpo_train_accepts_a_trl_recipe(recipe, local_copies, capsys, tmp_path):
    local = {
        "--model": "embedded",  # the recipe's own would have to be downloaded
        "--data_path": local_copies[settings(recipe)["task"]],
        "--benchmark_data_path": BENCHMARKS,
        "--output_dir": tmp_path / "run",
    }
    flags = [str(part) for pair in local.items() for part in pair]
    code = main(["train", "--config", str(recipe), *flags, "--dry_run"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "4 of 4 mini-batches" in captured.out
    assert "in 400 batches" in captured.out
    assert not (tmp_path / "run").exists()


def test_the_trl_recipes_are_the_papers_models_on_its_two_training_sets():
    found = {(settings(path)["model"], settings(path)["task"]) for path in TRL}
    assert found == {(model, task) for model in PAPER_MODELS for task in ("dapo+math", "skywork-or1")}


@pytest.mark.parametrize("recipe", TRL, ids=lambda path: path.stem)
def test_a_trl_recipe_has_the_papers_batch_and_settings(recipe):
    made = settings(recipe)
    gpus = 8
    assert made["per_device_train_batch_size"] * made["steps_per_generation"] * gpus == 256 * 8
    assert made["per_device_train_batch_size"] * made["gradient_accumulation_steps"] * gpus == 64 * 8
    assert made["alpha"] == (0.9 if "Qwen3" in made["model"] else 0.8)
    assert made["max_completion_length"] == (2560 if "Math" in made["model"] else 6144)
    # What must not differ between the recipes.
    own = {"model", "task", "alpha", "per_device_train_batch_size", "gradient_accumulation_steps"}
    own |= {"steps_per_generation", "max_completion_length", "output_dir"}
    first = settings(TRL[0])
    assert {k: v for k, v in made.items() if k not in own} == {k: v for k, v in first.items() if k not in own}
    assert made["output_dir"].endswith(recipe.stem)


@pytest.mark.parametrize("recipe", TRL, ids=lambda path: path.stem)
def test_sfpo_plan_says_that_a_recipe_fits_eight_gpus(recipe, capsys):
    arguments = ["--config", str(recipe), "--devices", "8", "--engine", "fsdp2", "--hardware", "h100-80gb", "--json"]
    assert main(["plan", *arguments]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["workload"]["rollouts"] == 2048
    assert made["fits"]


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    from accelerate.commands.config.config_args import load_config_from_file

    # Refuses a key that it does not know.
    config = load_config_from_file(str(path))
    assert config.num_processes == 8
    assert config.mixed_precision == "bf16"
    if path.stem.startswith("zero"):
        assert config.distributed_type == "DEEPSPEED"
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])
    else:
        assert config.distributed_type == "FSDP"
        assert config.fsdp_config["fsdp_version"] == 2


def test_the_verl_recipes_agree_with_the_trl_ones():
    for name in VERL_MODELS:
        made = settings(RECIPES / "verl" / "model" / f"{name}.yaml")
        twin = settings(RECIPES / "trl" / f"{name}-dapo-math.yaml")
        assert made["actor_rollout_ref"]["model"]["path"] == twin["model"]
        assert made["data"]["max_response_length"] == twin["max_completion_length"]
        assert made["trainer"]["v1"]["sfpo"]["alpha"] == twin["alpha"]
    shared = settings(RECIPES / "verl" / "sfpo.yaml")["trainer"]["v1"]["sfpo"]
    twin = settings(TRL[0])
    assert shared == {name: twin[name] for name in shared}
    assert {path.stem for path in TRL} == {f"{model}-{data}" for model in VERL_MODELS for data in TRAIN_SETS}


@pytest.mark.skipif(importlib.util.find_spec("hydra") is None, reason="verl is not installed")
@pytest.mark.parametrize("train_set", TRAIN_SETS)
@pytest.mark.parametrize("model", VERL_MODELS)
def test_hydra_composes_the_verl_recipes(model, train_set):
    from hydra import compose, initialize_config_dir

    from sfpo.verl.config import read_settings, refuse_what_is_wrong

    with initialize_config_dir(config_dir=str(RECIPES / "verl"), version_base=None):
        overrides = [f"model={model}", f"train_set={train_set}", f"repository={ROOT}", "trainer.nnodes=2"]
        config = compose("sfpo", overrides=overrides)
    assert config.trainer.v1.trainer_mode == "sfpo"
    sfpo = read_settings(config)
    refuse_what_is_wrong(config, sfpo)
    assert (sfpo.inner_steps, sfpo.entropy_window) == (3, 30)
    assert sfpo.alpha == (0.9 if model.startswith("qwen3") else 0.8)
    assert config.data.train_batch_size // config.actor_rollout_ref.actor.ppo_mini_batch_size == 4
    assert Path(config.reward.custom_reward_function.path).is_file()
    assert config.data.train_files.startswith(str(ROOT))


def test_the_verl_reward_grades_answers():
    spec = importlib.util.spec_from_file_location("math_reward", RECIPES / "verl" / "math_reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.compute_score("math", r"so it is \boxed{\frac12}", "0.5") == 1.0
    assert module.compute_score("math", r"so it is \boxed{2}", "0.5", extra_info={}) == 0.0


def test_verl_gets_its_training_set_in_its_schema(local_copies, tmp_path):
    from datasets import load_dataset

    script = [sys.executable, RECIPES / "verl" / "prepare_data.py", "skywork-or1", local_copies["skywork-or1"]]
    subprocess.run([*script, BENCHMARKS], cwd=tmp_path, check=True, capture_output=True)
    files = {name: str(tmp_path / "data" / "verl" / f"skywork-or1{name}.parquet") for name in ("", "-held-out")}
    rows = load_dataset("parquet", data_files=files[""], split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["prompt"][0]["role"] == "user"
    assert rows[0]["reward_model"]["ground_truth"]
    assert Path(files["-held-out"]).is_file()


@pytest.fixture
def recorded(tmp_path):
    """What a script would run: programs that print their arguments stand in for those that need a cluster."""
    for name in ("accelerate", "ray", "srun", "scontrol", "sleep"):
        # Its second line comes after a reader of the first alone has gone.
        body = "echo node-1; /bin/sleep 0.1; echo node-2" if name == "scontrol" else f'echo {name} "$@"'
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **environment):
        environment = {**os.environ, **environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", RECIPES / script, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    return run


def test_the_trl_script_launches_a_recipe_under_an_engine(recorded):
    out = recorded("trl/launch.sh", "ds-qwen-7b-dapo-math", "zero3", "--max_steps", "8", SERVER="node-2")
    assert "--config_file recipes/accelerate/zero3.yaml" in out
    assert "train --config recipes/trl/ds-qwen-7b-dapo-math.yaml" in out
    assert out.rstrip().endswith("--vllm_mode server --vllm_server_host node-2 --max_steps 8")


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_cluster_scripts_start_main_ppo_once_on_all_nodes(recorded, nodes):
    job = recorded("verl/ray_job.sh", "model=ds-qwen-7b", NODES=str(nodes))
    slurm = recorded(
        "verl/slurm.sh",
        "model=ds-qwen-7b",
        SLURM_SUBMIT_DIR=str(ROOT),
        SLURM_JOB_NODELIST="node-[1-2]",
        SLURM_JOB_NUM_NODES=str(nodes),
        SLURM_GPUS_PER_NODE="h100:8",
    )
    for out in (job, slurm):
        assert out.count("verl.trainer.main_ppo") == 1
        assert f"repository={ROOT} trainer.nnodes={nodes} trainer.n_gpus_per_node=8 model=ds-qwen-7b" in out
    assert slurm.count("ray start") == nodes
    assert "--node-ip-address=node-1 " in slurm
