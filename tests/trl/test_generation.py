"""What the model's `generation_config` asks for is done by the sampler, or left to TRL."""

import pytest
import torch
from datasets import Dataset
from tiny_runs import PROMPTS, SETTINGS, reward_low_digits, train
from transformers import AutoModelForCausalLM, GenerationConfig

from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.generation import does_all
from sfpo.trl.rollouts import CompactRollouts

ASKED = {"do_sample": True, "max_new_tokens": 5, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "eos_token_id": [1]}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"min_p": 0.1, "top_k": 20, "top_p": 0.9, "pad_token_id": 0, "max_length": 99}, True),
        ({"repetition_penalty": 1.0, "min_new_tokens": 0, "num_beams": 1, "cache_implementation": "hybrid"}, True),
        ({"suppress_tokens": [3]}, False),
        ({"begin_suppress_tokens": [3]}, False),
        ({"min_new_tokens": 1}, False),
        ({"min_length": 2}, False),
        ({"bad_words_ids": [[3]]}, False),
        ({"repetition_penalty": 1.1}, False),
        ({"no_repeat_ngram_size": 1}, False),
        ({"forced_eos_token_id": 0}, False),
        ({"typical_p": 0.9}, False),
        ({"top_h": 0.4}, False),
        ({"epsilon_cutoff": 1e-4}, False),
        ({"stop_strings": ["7"]}, False),
        ({"max_time": 2.0}, False),
        ({"remove_invalid_values": True}, False),
        ({"num_beams": 2}, False),
        ({"guidance_scale": 1.5}, False),
        ({"sequence_bias": [[[3], -1.0]]}, False),
        ({"cache_implementation": "static"}, False),
        # Left open, `generate` takes 50.
        ({"top_k": None}, False),
    ],
    ids=str,
)
def test_what_the_sampler_does(more, expected):
    asked = GenerationConfig(**ASKED)
    for name, value in more.items():
        setattr(asked, name, value)
    assert does_all(asked) is expected


def make_trainer(tiny_model, tmp_path, generation, **settings):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.generation_config.update(**generation)
    return SFPOTrainer(
        model=model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, "max_completion_length": 12, **settings}),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    )


@pytest.fixture
def samples(monkeypatch):
    """How often the sampler was asked."""
    asked = []
    sample = CompactRollouts.sample
    monkeypatch.setattr(CompactRollouts, "sample", lambda self, *more: asked.append(1) or sample(self, *more))
    return asked


@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_suppressed_tokens_and_a_least_length_are_obeyed(tiny_model, tmp_path, samples, temperature):
    prompts = [[5, 12, 6, 14]] * 60
    suppressed = {3, 4, 5, 6, 7}
    trainer = make_trainer(
        tiny_model, tmp_path, {"suppress_tokens": sorted(suppressed), "min_new_tokens": 9}, temperature=temperature
    )
    completions = trainer.complete(prompts)
    assert samples == []
    assert not suppressed & {token for ids in completions for token in ids}
    assert min(map(len, completions)) >= 9
    # What is asked for later counts, too.
    trainer.model.generation_config.suppress_tokens = trainer.model.generation_config.min_new_tokens = None
    completions = trainer.complete(prompts)
    assert samples == [1]
    assert suppressed & {token for ids in completions for token in ids}
    assert min(map(len, completions)) < 9


def test_the_model_s_min_p_counts_where_the_trainer_leaves_it_open(tiny_model, tmp_path, samples):
    trainer = make_trainer(tiny_model, tmp_path, {"min_p": 0.999, "top_k": 3})
    trainer.model.generation_config.chat_format = "chatml"  # nothing that `generate` knows
    completions = trainer.complete([[5, 12, 6, 14]] * 20)
    assert samples == [1]
    assert len(set(map(tuple, completions))) == 1  # the likeliest tokens alone


def test_the_bf16_copy_keeps_rotary_frequencies_in_float32(tiny_model, tmp_path):
    trainer = make_trainer(tiny_model, tmp_path, {}, bf16=True)
    half = trainer._rollouts._sampler._model()
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    ours, theirs = half.model.rotary_emb.inv_freq, trainer.model.model.rotary_emb.inv_freq
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)
    for rounded, weight in zip(half.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(rounded, weight.to(torch.bfloat16))
    # The policy's own weights stay as they are.
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("steps_per_generation", [2, 4])
def test_a_function_of_one_s_own_may_sample(tiny_model, tmp_path, steps_per_generation):
    def roll_out(prompts, trainer):
        prompt_ids = trainer.processing_class(prompts)["input_ids"]
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [[2 + index % 9, 3, 1][: 1 + index % 3] for index in range(len(prompts))],
            "logprobs": None,
        }

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    trainer = SFPOTrainer(
        model=model,
        reward_funcs=reward_low_digits,
        args=SFPOConfig(
            output_dir=str(tmp_path), **{**SETTINGS, "max_steps": 2, "steps_per_generation": steps_per_generation}
        ),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        rollout_func=roll_out,
    )
    trainer.train()
    logs = [row for row in trainer.state.log_history if "sfpo/entropy" in row]
    assert len(logs) == 4 // steps_per_generation
    assert all(row["sfpo/entropy"] > 0 for row in logs)


def test_a_compiled_model_is_scored_by_the_host(tiny_model, tmp_path, monkeypatch):
    """Whether a compiled forward runs a hook that is set later is anybody's guess."""
    monkeypatch.setattr("sfpo.trl.head._CHUNK_BYTES", 4 * 16 * 3)
    trainer = train(
        SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=1, torch_compile=True, torch_compile_backend="eager"
    )
    assert not trainer._scorer.scores(trainer.model_wrapped, 10)
    assert trainer._scorer.scores(trainer.model, 10)
    assert trainer.state.log_history[0]["sfpo/pass_3/kl"] > 0
