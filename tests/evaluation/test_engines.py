"""The requests to the engines and the reading of their answers."""

import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sfpo.errors import UsageError
from sfpo.evaluation.engines import TransformersEngine, choose
from sfpo.evaluation.sampling import Completion, Sampling, encode, sample
from sfpo.evaluation.vllm_engine import VLLMEngine, VLLMSettings
from sfpo.model.capabilities import Capabilities


@pytest.fixture
def tiny(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)


def engine(tiny, max_new_tokens=8, temperature=1.0, top_p=1.0):
    return TransformersEngine(*tiny, Sampling(temperature, top_p, max_new_tokens))


def test_lengths_and_ends(tiny):
    """A completion ends with its first end of sequence, which counts; without one it was cut off."""
    model, tokenizer = tiny
    prompts = encode(tokenizer, ["1+2=", "17+5-23="] * 100)
    uniforms = torch.rand(len(prompts), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    completions = sample(model, tokenizer, prompts, uniforms=uniforms, max_new_tokens=12, temperature=1.0)
    assert {one.cut_off for one in completions} == {True, False}
    for one in completions:
        assert one.tokens == 12 if one.cut_off else 1 <= one.tokens <= 12
        # Every token of the vocabulary but the special ones is one character.
        assert len(one.text) <= one.tokens - (not one.cut_off)


def test_an_answer_is_the_same_for_the_same_seed_and_leaves_the_caller_s_numbers(tiny):
    prompts = encode(tiny[1], ["1+2=", "3-4="])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = engine(tiny).generate(prompts, [1, 2])
    assert torch.equal(torch.rand(3), expected)
    assert engine(tiny).generate(prompts, [1, 2]) == first
    assert engine(tiny).generate(prompts[1:], [2]) == first[1:]
    assert len({engine(tiny).generate(prompts[1:], [seed])[0].text for seed in range(10)}) > 5


def test_top_p_and_greedy_narrow_the_choice(tiny):
    prompts = encode(tiny[1], ["1+2="] * 64)
    kinds = {
        name: len({one.text for one in engine(tiny, 6, **how).generate(prompts, range(len(prompts)))})
        for name, how in {"all": {}, "nucleus": {"top_p": 0.7}, "greedy": {"temperature": 0.0}}.items()
    }
    assert kinds["greedy"] == 1 < kinds["nucleus"] < kinds["all"]


@pytest.mark.parametrize("how", [{}, {"top_p": 0.7}, {"temperature": 0.5}, {"temperature": 0.0}])
def test_both_ways_of_sampling_draw_alike(tiny, monkeypatch, how):
    """First tokens by the compact sampler and by `generate`, as shares of many draws."""
    prompts = encode(tiny[1], ["1+2="] * 4000)
    shares = []
    for compact in (True, False):
        monkeypatch.setattr(Capabilities, "of", lambda model, compact=compact: Capabilities(compact, compact))
        counts = Counter(one.text for one in engine(tiny, 2, **how).generate(prompts, range(len(prompts))))
        shares.append({text: count / 4000 for text, count in counts.items()})
    for text in {*shares[0], *shares[1]}:
        assert shares[0].get(text, 0.0) == pytest.approx(shares[1].get(text, 0.0), abs=0.04)


def test_a_model_s_own_sampling_preferences_are_switched_off(tiny):
    model, _ = tiny
    prompts = encode(tiny[1], ["1+2="] * 32)
    before = engine(tiny, 6).generate(prompts, range(len(prompts)))
    model.generation_config.update(top_k=1, repetition_penalty=5.0, temperature=0.01, do_sample=False)
    assert engine(tiny, 6).generate(prompts, range(len(prompts))) == before


def test_answers_stay_within_the_model_s_positions(tiny):
    long = encode(tiny[1], ["1+" * 30 + "1="])  # 62 tokens of 64
    (completion,) = engine(tiny, 100).generate(long, [0])
    assert completion.tokens <= 2


def test_a_prompt_without_a_known_character_can_still_be_answered(tiny):
    (ids,) = encode(tiny[1], ["?"])
    assert len(ids) == 1
    assert engine(tiny).generate([ids], [0])


def test_vllm_gets_a_seed_for_each_answer_and_room_for_the_longest(tiny_model, monkeypatch):
    asked = {}
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "WARNING")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)

    class LLM:
        def __init__(self, **keywords):
            asked["model"] = keywords
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=4096))

        def generate(self, prompts, parameters, use_tqdm):
            asked["prompts"], asked["parameters"] = prompts, parameters
            outs = [SimpleNamespace(text="2", token_ids=(5, 1), finish_reason="stop"),
                    SimpleNamespace(text="1+", token_ids=(4, 7, 7), finish_reason="length")]  # fmt: skip
            return [SimpleNamespace(outputs=[out]) for out in outs]

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=lambda **keywords: keywords))
    vllm = VLLMEngine(tiny_model, Sampling(1.0, 0.7, 3), "auto", False, longest_prompt=17, settings=VLLMSettings())
    assert vllm.generate([[1, 2], [3]], [10, 11]) == [Completion("2", 2, False), Completion("1+", 3, True)]
    assert asked["model"] == {
        "model": tiny_model, "dtype": "auto", "trust_remote_code": False, "gpu_memory_utilization": 0.9,
        "max_model_len": 20, "enforce_eager": False, "tensor_parallel_size": 1,
    }  # fmt: skip
    assert vllm.positions == 4096
    assert asked["prompts"] == [{"prompt_token_ids": [1, 2]}, {"prompt_token_ids": [3]}]
    shared = {"temperature": 1.0, "top_p": 0.7, "max_tokens": 3}
    assert asked["parameters"] == [shared | {"seed": 10}, shared | {"seed": 11}]


@pytest.mark.parametrize(("longest_prompt", "chosen", "room"), [(17, None, 20), (63, None, 64), (17, 48, 48)])
def test_vllm_makes_room_within_the_model_s_64_positions(tiny_model, monkeypatch, longest_prompt, chosen, room):
    made = {}

    def llm(**keywords):
        made.update(keywords)
        raise RuntimeError("Engine core initialization failed.\nSee root cause above.")

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=llm))
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "WARNING")
    settings = VLLMSettings(max_model_length=chosen)
    with pytest.raises(UsageError, match=r"vLLM does not start: .*--vllm_gpu_memory_utilization") as refused:
        VLLMEngine(tiny_model, Sampling(1.0, 0.7, 3), "auto", False, longest_prompt, settings)
    assert "\n" not in str(refused.value)
    assert made["max_model_len"] == room
    # No accelerator: nothing is compiled, and half of the free memory is enough.
    assert made["enforce_eager"]
    assert made["dtype"] == "float32"
    assert 0 < made["gpu_memory_utilization"] < 0.5


def test_which_engine(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose("auto", "some/model") == "transformers"
    with pytest.raises(UsageError, match="vLLM is not installed"):
        choose("vllm", "some/model")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose("auto", "some/model") == "vllm"
    assert choose("auto", "some/model.gguf") == "transformers"
    assert choose("transformers", "some/model") == "transformers"
    with pytest.raises(UsageError, match=r"\.gguf"):
        choose("vllm", "some/model.gguf")
