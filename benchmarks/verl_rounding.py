"""How much the result of one SFPO step under verl changes when only the rounding of its reposition differs.

There are ways to compute θ_0 + α (θ_K - θ_0) that differ in the last bit or two of an fp32 weight. This compares the
worker's step with one made by hand from verl's own passes and the reposition on whole weights, computed as the core does
and the other way, in fp32 and in bf16 (fp32 weights, bf16 forward), with and without padding. Needs the environment of
`make test-verl`; runs on the CPU in one process, with a random model of 95 thousand weights and learning rate 0.01.

    .venv-verl/bin/python benchmarks/verl_rounding.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "verl"
os.environ.update(VERL_PLATFORM="cpu", VERL_ENGINE_DEVICE="cuda", VERL_USE_EXTERNAL_MODULES="cpu_platform")
sys.path.insert(0, str(SUPPORT))

import torch  # noqa: E402
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM  # noqa: E402
from verl.workers.engine_workers import TrainingWorker  # noqa: E402
from worker_runs import (  # noqa: E402
    ALPHA,
    as_the_core_writes_it,
    join,
    make_batch,
    make_worker,
    set_loss,
    sfpo_step,
    step_by_hand,
    whole_weights,
)

from sfpo.model.embedded import MODEL_PATH  # noqa: E402
from sfpo.records.provenance import PROVENANCE, provenance  # noqa: E402
from sfpo.verl.worker import SlowFastTrainingWorker  # noqa: E402

SEEDS = range(6)


def the_other_way(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    return start + ALPHA * (end - start)


WRITTEN = {"as the core": as_the_core_writes_it, "the other way": the_other_way}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        join(0, 1, folder)
        save_model(folder)
        cells = [
            measure(folder, dtype, packed, seed, written)
            for dtype, packed, written, seed in product(("fp32", "bf16"), (False, True), WRITTEN, SEEDS)
        ]
        torch.distributed.destroy_process_group()
    path = ROOT / "results" / "verl" / "rounding.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {PROVENANCE: [provenance(Path(__file__).resolve().parent)], "cells": cells}
    path.write_text(json.dumps(content, indent=1) + "\n")
    for dtype, packed, written in product(("fp32", "bf16"), (False, True), WRITTEN):
        found = [c for c in cells if (c["dtype"], c["packed"], c["written"]) == (dtype, packed, written)]
        apart = " ".join(f"{cell['final_difference']:.1e}" for cell in found)
        print(f"{dtype} {'packed' if packed else 'padded'}, {written}: largest difference by seed {apart}")


def save_model(folder: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=320,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)


def measure(model: str, dtype: str, packed: bool, seed: int, written: str) -> dict[str, Any]:
    ours, plain = (
        make_worker(kind, model, dtype=dtype, remove_padding=packed)
        for kind in (SlowFastTrainingWorker, TrainingWorker)
    )
    for worker in (ours, plain):
        set_loss(worker)
    batch = make_batch(plain, seed)
    sfpo_step(ours, batch)
    apart: list[float] = []
    rounded_apart: list[int] = []

    def reposition(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        mixed, core = WRITTEN[written](start, end), as_the_core_writes_it(start, end)
        apart.append(float((mixed - core).abs().max()))
        rounded_apart.append(int((mixed.bfloat16() != core.bfloat16()).sum()))
        return mixed

    step_by_hand(plain, batch, reposition)
    weights, by_hand = whole_weights(ours), whole_weights(plain)
    return {
        "dtype": dtype,
        "packed": packed,
        "seed": seed,
        "written": written,
        "repositioned_difference": max(apart),
        "weights_whose_bf16_differs": sum(rounded_apart),
        "final_difference": max(float((weights[name] - by_hand[name]).abs().max()) for name in weights),
    }


if __name__ == "__main__":
    main()
