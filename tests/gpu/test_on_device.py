"""What only a GPU can show, for anyone who has one: `python -m pytest -m gpu -s`, a few minutes.

With SFPO_DEVICE=cpu all but the memory is checked on the CPU. The seconds and bytes go to runs/device-check.json.
"""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import LIKE_TRL, SETTINGS, assert_same, train, weights
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import is_flash_attn_2_available
from trl import GRPOConfig, GRPOTrainer

from sfpo.evaluation import sampling
from sfpo.records.provenance import provenance
from sfpo.snapshot import Snapshot
from sfpo.trl import SFPOConfig, SFPOTrainer

DEVICE = os.environ.get("SFPO_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]
WAYS = [("fp32", "eager"), ("fp32", "sdpa"), ("bf16", "sdpa"), ("bf16", "flash_attention_2")]
WIDE = {"cpu": (64, 2), "cuda": (2048, 16)}[DEVICE]
"""Hidden size and layers of the model whose steps are measured: 0.8 billion weights on a GPU."""


@pytest.fixture(scope="module")
def record():
    measured = {"device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE, "provenance": provenance()}
    yield measured
    path = Path("runs/device-check.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"\n{path}:\n{path.read_text()}")


@pytest.fixture(params=WAYS, ids="-".join)
def way(request):
    """Settings that train in a precision with an implementation of attention."""
    precision, attention = request.param
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        pytest.skip("flash-attn is not installed")
    init = {"attn_implementation": attention, "dtype": "float32"}
    return {"use_cpu": DEVICE == "cpu", "bf16": precision == "bf16", "model_init_kwargs": init}


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("wide_model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    hidden, layers = WIDE
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 64, max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def test_alpha_zero_is_grpo_bit_for_bit(tiny_model, tmp_path, way):
    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=0.0, **LIKE_TRL, **way)
    theirs = train(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, **way)
    assert next(ours.model.parameters()).device.type == DEVICE
    assert_same(weights(ours), weights(theirs))


def test_compact_passes_move_the_weights_alike(tiny_model, tmp_path, way):
    # SGD: Adam turns a gradient that is almost zero, whatever its rounding, into a step of full length.
    same = way | {"gate": "off", "compact_rollouts": False, "optim": "sgd", "learning_rate": 0.1, "max_steps": 1}
    # Clipped, a token whose ratio rounding moves across its bound loses its gradient.
    same |= {"epsilon": 100.0, "epsilon_high": 100.0}
    start = dict(Qwen2ForCausalLM.from_pretrained(tiny_model).named_parameters())
    compact, whole = (
        weights(train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, compact_passes=compact, **same))
        for compact in (True, False)
    )
    moved = sum((whole[name].cpu() - start[name]).square().sum() for name in start).sqrt()
    apart = sum((whole[name] - compact[name]).square().sum().cpu() for name in start).sqrt()
    assert moved > 0
    assert apart < (0.1 if way["bf16"] else 1e-3) * moved, (apart, moved)


def test_the_sampler_against_generate(wide_model, record):
    model, tokenizer = (
        Qwen2ForCausalLM.from_pretrained(wide_model).to(DEVICE),
        AutoTokenizer.from_pretrained(wide_model),
    )
    prompts = sampling.encode(tokenizer, [f"{n}+{n}=" for n in range(10, 18)] * 4)
    uniforms = torch.rand(len(prompts), 64, generator=torch.Generator().manual_seed(0))
    answers, seconds = {}, {}
    for name, draw in {"sampler": sampling._compactly, "generate": sampling._with_generate}.items():
        draw(model, prompts, uniforms, 4, [tokenizer.eos_token_id], 1.0, 1.0)
        started = time.perf_counter()
        answers[name] = draw(model, prompts, uniforms, 64, [tokenizer.eos_token_id], 0.0, 1.0)
        seconds[name] = time.perf_counter() - started
    record["sampling_seconds"] = seconds
    assert answers["sampler"] == answers["generate"]


def test_the_reposition_is_exact_and_short(wide_model, record):
    model = Qwen2ForCausalLM.from_pretrained(wide_model).to(DEVICE)
    parameters = list(model.parameters())
    start = [parameter.detach().cpu().clone() for parameter in parameters]
    snapshot = Snapshot(parameters, torch.device("cpu"))
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1e-3)
    started = time.perf_counter()
    distance, _ = snapshot.reposition(0.8)
    record["reposition_seconds"] = time.perf_counter() - started
    count = sum(parameter.numel() for parameter in parameters)
    assert distance == pytest.approx(1e-3 * count**0.5, rel=1e-3)
    for parameter, before in zip(parameters, start, strict=True):
        torch.testing.assert_close(parameter.detach().cpu(), before + 0.8e-3, rtol=0, atol=1e-6)


def test_a_step_costs_its_passes_and_no_memory(wide_model, tmp_path, record):
    same = {"use_cpu": DEVICE == "cpu", "bf16": DEVICE == "cuda", "max_completion_length": 64, "max_steps": 4}
    peaks, seconds = {}, {}
    for name, trainer, config, more in (
        ("GRPO", GRPOTrainer, GRPOConfig, {}),
        ("GRPO, 4 epochs", GRPOTrainer, GRPOConfig, {"num_iterations": 4, "max_steps": 16}),
        ("SFPO, K = 3", SFPOTrainer, SFPOConfig, {"gate": "off", "snapshot_device": "cpu"}),
    ):
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        run = train(trainer, config, wide_model, tmp_path, **{**SETTINGS, **same, **more})
        # The first batch of rollouts warms up; what is left are three, each with all its passes.
        times = [row["step_time"] for row in run.state.log_history if "step_time" in row]
        batches = len(times) // 4
        seconds[name] = sum(times[batches:]) / 3
        if DEVICE == "cuda":
            peaks[name] = torch.cuda.max_memory_allocated()
        del run
    record["step_seconds"], record["peak_bytes"] = seconds, peaks
    assert all(value > 0 for value in seconds.values())
    if peaks:
        assert peaks["SFPO, K = 3"] <= peaks["GRPO"]
