"""`python -m verl.trainer.main_ppo` with SFPO, end to end on CPUs: Ray, rollouts, rewards, weight sync, checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pandas
import pytest

HERE = Path(__file__).parent
WINDOW = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random language model of a few thousand weights, and problems of the embedded model's task."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from sfpo.model.embedded import MODEL_PATH
    from sfpo.tasks.arithmetic import problems, solve

    folder = tmp_path_factory.mktemp("main_ppo")
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder / "model")
    torch.manual_seed(0)
    # Not a Qwen, of which verl expects ChatML's tokens.
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    rows = [
        {
            "data_source": "arithmetic",
            "prompt": [{"role": "user", "content": prompt}],
            "reward_model": {"style": "rule", "ground_truth": str(solve(prompt))},
            "extra_info": {"index": index},
        }
        for index, prompt in enumerate(islice(problems("train", seed=0), 32))
    ]
    pandas.DataFrame(rows).to_parquet(folder / "problems.parquet")
    return folder


@contextmanager
def started(folder, name, workers, *overrides):
    """A run, killed at the end of the block; metrics go to `<name>.jsonl`, everything printed to `<name>.log`."""
    command = f"""
        {sys.executable} -m verl.trainer.main_ppo trainer.v1.trainer_mode=sfpo
        algorithm.adv_estimator=grpo actor_rollout_ref.actor.strategy=fsdp2 trainer.device=cpu
        +trainer.v1.sfpo.entropy_window={WINDOW} +trainer.v1.sfpo.entropy_threshold=9
        data.train_files={folder}/problems.parquet data.val_files={folder}/problems.parquet data.train_batch_size=4
        data.max_prompt_length=16 data.max_response_length=16 data.dataloader_num_workers=0
        actor_rollout_ref.model.path={folder}/model actor_rollout_ref.model.use_remove_padding=False
        actor_rollout_ref.model.enable_gradient_checkpointing=False
        +actor_rollout_ref.model.override_config.attn_implementation=sdpa
        actor_rollout_ref.actor.use_torch_compile=False actor_rollout_ref.actor.fsdp_config.use_torch_compile=False
        +actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32
        actor_rollout_ref.actor.ppo_mini_batch_size=2 actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4
        actor_rollout_ref.actor.optim.lr=1e-3
        actor_rollout_ref.rollout.name=hf_cpu actor_rollout_ref.rollout.tensor_model_parallel_size=1
        actor_rollout_ref.rollout.n=4 actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=4
        actor_rollout_ref.rollout.calculate_log_probs=True actor_rollout_ref.rollout.agent.num_workers=1
        reward.num_workers=1 reward.custom_reward_function.path={HERE}/digits_reward.py
        transfer_queue.backend.SimpleStorage.num_data_storage_units=1
        transfer_queue.backend.SimpleStorage.total_storage_size=1000
        trainer.logger=[console,file] trainer.val_before_train=False trainer.test_freq=-1 trainer.save_freq=1
        trainer.total_training_steps=3 trainer.nnodes=1 trainer.n_gpus_per_node={workers}
        trainer.default_local_dir={folder}/{workers}-workers
        ray_kwargs.ray_init.num_cpus=8 +ray_kwargs.ray_init.num_gpus={workers}
        +ray_kwargs.ray_init.include_dashboard=False +ray_kwargs.ray_init.object_store_memory=300000000
    """
    environment = {
        **os.environ,
        "VERL_FILE_LOGGER_PATH": f"{folder}/{name}.jsonl",
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",  # so that workers choose their device themselves
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    with open(folder / f"{name}.log", "wb") as log:
        run = subprocess.Popen(
            [*command.split(), *overrides],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def finish(folder, name, workers, *overrides):
    """Run to the end; the metrics, step by step."""
    with started(folder, name, workers, *overrides) as run:
        assert run.wait() == 0, (folder / f"{name}.log").read_text()[-5000:]
    return metrics(folder, name)


def metrics(folder, name):
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return {line["step"]: line["data"] for line in lines}


def gate_state(checkpoints, step):
    return json.loads((checkpoints / f"global_step_{step}" / "sfpo_state.json").read_text())["gate"]


def check(step):
    assert step["sfpo/alpha"] == 0.8
    assert step["sfpo/gate_closed"] == 0
    assert step["sfpo/optimizer_steps_per_rollout_batch"] == 8
    assert step["sfpo/drift"] > 1e-4
    assert {f"sfpo/pass_{index}/grad_norm" for index in range(4)} <= step.keys()
    assert step["actor/lr"] == 1e-3
    # What sampled is what learns: it jumps when a replica has stale weights.
    assert step["training/rollout_probs_diff_max"] < 1e-6


def test_two_workers(folder):
    dr_grpo = [
        "algorithm.norm_adv_by_std_in_grpo=False",
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm",
        "actor_rollout_ref.actor.loss_scale_factor=16",
    ]
    steps = finish(folder, "two", 2, *dr_grpo)
    assert sorted(steps) == [1, 2, 3]
    for step in steps.values():
        check(step)
        # verl's entropy here is a sum over tokens, in sixteenths; the gate's is nats per token whatever the loss.
        per_token = step["actor/entropy"] * 16 / step["response_length/mean"]
        assert step["sfpo/entropy"] == pytest.approx(per_token, rel=1e-4)
        assert step["sfpo/entropy"] != pytest.approx(step["actor/entropy"], rel=1e-2)
    assert [("sfpo/z" in step) for step in steps.values()] == [False, False, True]
    checkpoints = folder / "2-workers"
    assert gate_state(checkpoints, 3)["entropies"] == [step["sfpo/entropy"] for step in steps.values()]
    assert {path.name for path in (checkpoints / "global_step_3" / "actor").glob("model_*.pt")} == {
        f"model_world_size_2_rank_{rank}.pt" for rank in range(2)
    }


def test_alpha_is_chosen_until_the_gate_closes(folder):
    steps = finish(
        folder,
        "auto",
        2,
        "+trainer.v1.sfpo.alpha=auto",
        "+trainer.v1.sfpo.alpha_max=4",
        "+trainer.v1.sfpo.gate_sides=two",
        "trainer.v1.sfpo.entropy_threshold=1e-9",
        f"trainer.default_local_dir={folder}/auto",
    )
    for index in range(1, WINDOW):
        step = steps[index]
        assert 0 < step["sfpo/alpha"] <= 4
        assert 0 < step["sfpo/active_share"] <= 1
        assert step["sfpo/kl_budget"] == pytest.approx(0.03 * step["sfpo/active_share"])
        at_the_edge = (step["sfpo/kl_budget"] / step["sfpo/kl_predicted"]) ** 0.5
        assert step["sfpo/alpha"] == pytest.approx(min(4, at_the_edge))
        assert step["sfpo/optimizer_steps_per_rollout_batch"] == 2 * step["sfpo/passes"]
        assert step["actor/lr"] == 1e-3
    closed = steps[WINDOW]
    assert (closed["sfpo/gate_closed"], closed["sfpo/alpha"], closed["sfpo/passes"]) == (1, 0, 1)
    assert "sfpo/kl_predicted" not in closed


def test_killed_and_resumed(folder):
    checkpoints = folder / "1-workers"
    latest = checkpoints / "latest_checkpointed_iteration.txt"
    with started(folder, "killed", 1, "trainer.total_training_steps=100", "trainer.save_freq=2") as run:
        while not (latest.exists() and latest.read_text()):
            assert run.poll() is None, (folder / "killed.log").read_text()[-5000:]
            time.sleep(0.2)
    last = int(latest.read_text())
    before = gate_state(checkpoints, last)["entropies"]
    assert before[0] == metrics(folder, "killed")[max(1, last - WINDOW + 1)]["sfpo/entropy"]
    steps = finish(folder, "resumed", 1, f"trainer.total_training_steps={last + 1}")
    assert sorted(steps) == [last + 1]
    step = steps[last + 1]
    check(step)
    assert step["sfpo/entropy"] == pytest.approx(step["actor/entropy"], rel=1e-5)
    # Three values fill the window only if the earlier ones came back.
    assert "sfpo/z" in step
    assert gate_state(checkpoints, last + 1)["entropies"] == [*before, step["sfpo/entropy"]][-WINDOW:]
