"""Shared prompts and the sampler only where attention obeys a mask with holes, and the sampler only on a CPU."""

from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from transformers import AutoModelForCausalLM, AutoTokenizer

from sfpo.evaluation import sampling
from sfpo.model import cpu_attention
from sfpo.model.attention import obeys_any_mask
from sfpo.model.capabilities import Capabilities
from sfpo.trl.host import Host
from sfpo.trl.rollouts import CompactRollouts
from sfpo.trl.scoring import Savings

HOST = Host(
    adds_to_every_row=False,
    kl_in_loss=False,
    normalizes_micro_batches=False,
    ratio_level="token",
    head_in_float32=False,
    calls_tools=False,
    reads_images=False,
    end_ids=[1],
    has_fused_head=True,
)


@pytest.fixture
def trainer(tiny_model):
    return SimpleNamespace(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        accelerator=SimpleNamespace(distributed_type=DistributedType.NO, device=torch.device("cpu")),
        aux_loss_enabled=False,
        args=SimpleNamespace(
            compact_passes=True,
            compact_rollouts=True,
            gradient_checkpointing=False,
            use_vllm=False,
            use_transformers_continuous_batching=False,
            repetition_penalty=1.0,
            generation_kwargs=None,
            cache_implementation=None,
            temperature=1.0,
        ),
    )


@pytest.mark.parametrize(
    ("implementation", "obeys"),
    [
        ("eager", True),
        ("sdpa", True),
        (cpu_attention.NAME, True),
        ("flash_attention_2", False),
        ("flash_attention_3", False),
        ("kernels-community/flash-attn", False),
        ("paged|sdpa", False),
    ],
)
def test_only_attention_that_obeys_any_mask_shares_prompts(trainer, implementation, obeys):
    trainer.model.config._attn_implementation_internal = implementation
    assert obeys_any_mask(trainer.model.config) is obeys
    capabilities = Capabilities.of(trainer.model)
    assert capabilities.shares_beginnings is obeys
    savings = Savings.of(trainer, HOST, capabilities)
    assert savings.compact
    assert savings.share_prompts is obeys


def test_accelerators_leave_the_rollouts_to_generate(trainer):
    assert CompactRollouts.fit(trainer, HOST)
    trainer.accelerator.device = torch.device("cuda")
    assert not CompactRollouts.fit(trainer, HOST)
    assert Savings.of(trainer, HOST, Capabilities.of(trainer.model)).share_prompts


def test_evaluations_ask_the_same(tiny_model, monkeypatch):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    ways = []
    for way in ("_compactly", "_with_generate"):
        monkeypatch.setattr(sampling, way, lambda *args, way=way: ways.append(way) or [[3]])
    for implementation in ("sdpa", "flash_attention_2"):
        model.config._attn_implementation_internal = implementation
        sampling.sample(model, tokenizer, [[3, 4]], uniforms=torch.zeros(1, 1), max_new_tokens=1, temperature=1.0)
    assert ways == ["_compactly", "_with_generate"]
