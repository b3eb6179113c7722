"""The formulas of `sfpo plan`: weights, memory and seconds against what is known or counted by hand."""

import json
from dataclasses import asdict, replace

import pytest

from sfpo.errors import UsageError
from sfpo.model.embedded import MODEL_PATH
from sfpo.plan import architecture, memory, reduction, seconds
from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import CPU, GPUS, Efficiency
from sfpo.plan.workload import Workload
from sfpo.trl.head import _CHUNK_BYTES

TINY = Architecture(8, 16, 2, 4, 2, 2, vocabulary=32, tied=True)
WORK = Workload(
    micro_batch=4, accumulation=2, group_size=4, prompt_length=10, completion_length=20, longest_completion=40
)
H100 = GPUS["h100-80gb"]
EXACT = Efficiency(rollout=1, seconds_per_token=0, update=1, seconds_per_micro_batch=0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("Qwen/Qwen2.5-Math-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-Math-7B", 7_615_616_512),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 7_615_616_512),
        ("Qwen/Qwen3-4B-Base", 4_022_468_096),
        ("embedded", 856_704),
    ],
)
def test_weights_are_those_of_the_published_models(name, weights):
    assert architecture.load(name).weights == weights


@pytest.mark.parametrize(
    ("change", "said"), [({"model_type": "gpt2"}, "gpt2"), ({"hidden_size": None}, "hidden_size")]
)
def test_a_model_that_the_formulas_do_not_describe_is_refused(tmp_path, change, said):
    config = json.loads((MODEL_PATH / "config.json").read_text()) | change
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    with pytest.raises(UsageError, match=said):
        architecture.load("any", str(path))


def test_flops_of_a_forward_are_two_a_weight_and_token():
    matrices = TINY.layers * TINY.layer_matrices + TINY.hidden * TINY.vocabulary
    assert TINY.forward_flops(tokens=1, attended=0, scored=1) == 2 * matrices
    assert TINY.forward_flops(tokens=0, attended=5, scored=0) == 4 * TINY.layers * 5 * 8


def test_sixteen_bytes_a_weight_under_ddp_and_shares_of_it_when_sharded():
    work = replace(WORK, bf16=False)
    model = architecture.PAPER_MODELS["Qwen/Qwen2.5-Math-7B"]
    assert memory.estimate(model, work, H100).states == 16 * model.weights
    eight = replace(WORK, devices=8)
    ddp, zero2, zero3 = (memory.estimate(model, replace(eight, engine=e), H100) for e in ("ddp", "zero2", "zero3"))
    assert zero2.states == 2 * model.weights + 16 * model.weights / 8
    assert zero3.weights < zero2.weights < ddp.weights
    assert zero3.snapshot == 4 * model.weights / 8


def test_lora_keeps_optimizer_states_and_snapshot_of_the_adapters_only():
    lora = memory.estimate(TINY, replace(WORK, engine="lora", lora_rank=2), H100)
    adapters = 2 * 2 * ((8 + 8) + (8 + 4))
    assert (lora.snapshot, lora.moments) == (4 * adapters, 8 * adapters)
    assert lora.weights == 6 * TINY.weights


def test_what_a_colocated_vllm_keeps_is_there_while_training_too():
    own, colocated, server = (
        memory.estimate(TINY, replace(WORK, vllm_share=share), H100) for share in (None, 0.4, 0.0)
    )
    assert own.cache == 2 * TINY.cache_values_per_token * 8 * 50
    assert own.peak == own.states + max(own.activations, own.cache)
    assert colocated.peak == pytest.approx(own.states + own.activations + 0.4 * 80e9)
    assert server.peak == own.states + own.activations


def test_a_cpus_head_holds_a_chunk_of_the_completions_logits():
    assert memory._CPU_HEAD_CHUNK == _CHUNK_BYTES
    chunk = _CHUNK_BYTES // (2 * TINY.vocabulary)  # completion tokens in bf16
    for tokens in (chunk // 2, chunk, 2 * chunk):
        work = replace(WORK, micro_batch=1, longest_completion=tokens)
        elsewhere = 8 * TINY.vocabulary * 1024
        own = 4 * TINY.vocabulary * min(tokens, chunk)
        activations = [memory.estimate(TINY, work, machine).activations for machine in (CPU, H100)]
        assert activations[0] - activations[1] == own - elsewhere


def test_checkpointing_saves_memory_and_costs_a_forward():
    model, plain = (
        architecture.PAPER_MODELS["Qwen/Qwen2.5-Math-1.5B"],
        replace(WORK, group_size=1, longest_completion=4000),
    )
    checkpointed = replace(plain, gradient_checkpointing=True)
    assert memory.estimate(model, checkpointed, H100).activations < memory.estimate(model, plain, H100).activations / 5
    fast_memory = replace(CPU, bandwidth=1e30)
    costs = [seconds.nominal_pass(model, w, fast_memory) for w in (plain, checkpointed)]
    assert costs[1] / costs[0] == pytest.approx(4 / 3)


def test_passes_cost_less_where_groups_have_no_advantage():
    all_active, half = (
        seconds.estimate(TINY, replace(WORK, active_share=share), replace(CPU, bandwidth=1e30), EXACT)
        for share in (1, 0.5)
    )
    assert half.a_pass == pytest.approx(all_active.a_pass / 2)
    assert half.rollouts == all_active.rollouts


def test_equal_completions_cost_a_pass_once():
    brief = replace(WORK, prompt_length=1e-9)
    repeated, fewer = (
        seconds.estimate(TINY, work, replace(CPU, bandwidth=1e30), EXACT)
        for work in (replace(brief, distinct_share=0.5), replace(brief, active_share=0.5))
    )
    assert asdict(repeated) == pytest.approx(asdict(fewer))
    whole = replace(WORK, compact=False)
    assert seconds.nominal_pass(TINY, replace(whole, distinct_share=0.5), CPU) == seconds.nominal_pass(
        TINY, whole, CPU
    )


def test_sfpo_makes_k_further_passes_on_the_same_rollouts():
    step = seconds.StepSeconds(rollouts=9, scoring=1, a_pass=2, reposition=1)
    assert (step.grpo, step.sfpo(3), step.ratio(3)) == (12, 19, 19 / 12)


def test_wall_clock_is_the_rollout_reduction_over_the_step_ratio():
    step = seconds.StepSeconds(rollouts=9, scoring=0, a_pass=1, reposition=0)
    best, *rest = reduction.reductions(step, {1: 1.5, 3: 2.6, 11: 3.0})
    assert (best.inner_steps, best.time) == (3, pytest.approx(2.0))
    assert [r.inner_steps for r in rest] == [11, 1]


def test_a_comparison_gives_the_rollout_reduction_of_each_k(tmp_path):
    variants = [
        ("grpo", "grpo", {}, 1.0),
        ("a", "sfpo", {"inner_steps": "1"}, 2.0),
        ("b", "sfpo", {"inner_steps": "1", "alpha": "0.4"}, 2.5),
        ("c", "sfpo", {}, 3.0),
        ("d", "sfpo", {"inner_steps": "7"}, None),
    ]
    of_all = {"command": ["sfpo", "compare"], "model": "embedded", "task": "arithmetic", "seeds": [0], "failed": {}}
    of_all["variants"] = [{"name": name, "method": m, "settings": s, "baseline": "grpo"} for name, m, s, _ in variants]
    summary = {"variants": {name: {"rollout_reduction": {"value": value}} for name, _, _, value in variants}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    for train, of_c in (([], 3), (["--inner_steps", "5"], 5)):
        (tmp_path / "comparison.json").write_text(json.dumps(of_all | {"train": train}))
        assert reduction.read_reductions([str(tmp_path)]) == {1: 2.5, of_c: 3.0}
    with pytest.raises(UsageError, match="K=REDUCTION"):
        reduction.read_reductions(["three"])


def test_devices_share_the_work_and_pay_for_what_they_exchange():
    model = architecture.PAPER_MODELS["Qwen/Qwen2.5-Math-7B"]
    one, eight = (replace(WORK, devices=d, engine="zero3") for d in (1, 8))
    assert eight.rollouts == 8 * one.rollouts
    exchanged = (2 * 4 + 2 * 2 * eight.micro_batches) * model.weights * 7 / 8
    adam = 28 * model.weights * (1 - 1 / 8) / H100.bandwidth
    difference = seconds.nominal_pass(model, eight, H100) - seconds.nominal_pass(model, one, H100)
    assert difference == pytest.approx(exchanged / H100.link - adam)


def test_several_processes_score_to_the_longest_and_leave_nothing_out():
    """TRL's own passes: every completion as long as the longest, prompts and idle completions each time."""
    fast_memory = replace(CPU, bandwidth=1e30)
    work = replace(WORK, compact=False, active_share=0.5, engine="zero2")
    equal = replace(WORK, completion_length=40, group_size=1, active_share=1.0, engine="zero2")
    padded, filled = (seconds.nominal_pass(TINY, w, fast_memory) for w in (work, equal))
    # Without Triton, compact passes compute no logits of prompts; here every prompt position is scored.
    prompts = 3 * 2 * WORK.sequences * WORK.prompt_length * TINY.hidden * TINY.vocabulary / CPU.flops
    assert padded == pytest.approx(filled + prompts)


def test_scoring_pi_old_is_a_forward_of_grpos_step_and_of_sfpos():
    fast_memory = replace(CPU, bandwidth=1e30)
    # No other completion of a group shares the prompt, so every forward covers the same tokens, whatever their advantage.
    plain, scored = (
        seconds.estimate(TINY, replace(WORK, group_size=1, scores_first=first), fast_memory, EXACT)
        for first in (False, True)
    )
    assert plain.scoring == 0
    assert scored.scoring == pytest.approx(scored.a_pass / 3)
    assert scored.grpo - plain.grpo == pytest.approx(scored.sfpo(3) - plain.sfpo(3)) == pytest.approx(scored.scoring)


def test_sequences_that_do_not_fit_into_vllms_cache_take_turns():
    model = architecture.PAPER_MODELS["Qwen/Qwen3-4B-Base"]
    work = replace(WORK, accumulation=64, completion_length=3000, longest_completion=6000)
    room = 0.4 * 80e9 - 2 * model.weights
    fitting = room / (2 * 2 * 36 * 8 * 128 * 3010)
    assert 1 < fitting < work.sequences
    turns = seconds.positions(model, replace(work, vllm_share=0.4), H100)
    assert turns == pytest.approx(256 * 3000 / fitting)
    assert seconds.positions(model, replace(work, vllm_share=0.9, accumulation=1), H100) == 6000
    with pytest.raises(UsageError, match="vllm_gpu_memory_utilization"):
        seconds.positions(model, replace(work, vllm_share=0.1), H100)


def test_fsdp2_holds_the_whole_gradient_while_it_accumulates():
    model = architecture.PAPER_MODELS["Qwen/Qwen2.5-Math-7B"]
    work = replace(WORK, devices=8, engine="fsdp2")
    accumulating, single = (memory.estimate(model, replace(work, accumulation=a), H100).gradients for a in (2, 1))
    assert accumulating == 2 * model.weights
    assert single == 4 * model.weights / 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "megatron"}, "engine"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"completion_length": 50}, "completion_length"),
        ({"active_share": 1.5}, "active_share"),
        ({"distinct_share": -0.5}, "distinct_share"),
        ({"prompt_length": 0}, "prompt_length"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(change, said):
    with pytest.raises(UsageError, match=said):
        replace(WORK, **change)
