"""What samples the completions of an evaluation: transformers, or vLLM where it is installed."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from sfpo.errors import UsageError
from sfpo.evaluation.sampling import Completion, sample
from sfpo.model import cpu
from sfpo.model.load import load_model, resolve

Name = Literal["transformers", "vllm"]


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn; a temperature of 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int


class Engine(Protocol):
    """`generate` gives one completion for each prompt, the same for the same prompts and seeds.

    A prompt must be shorter than `positions`, where the model has a limit; a completion ends there at the latest.
    """

    positions: int | None

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]: ...


class TransformersEngine:
    """A model in this process."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Sampling) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._sampling = sampling
        self.positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]:
        room = self._sampling.max_new_tokens
        if self.positions is not None:
            room = min(room, self.positions - max(map(len, prompts)))
        was_training = self._model.training
        self._model.eval()
        # Each completion has its own random numbers, whatever batch it is made in.
        uniforms = [
            torch.rand(
                self._sampling.max_new_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
            )
            for seed in seeds
        ]
        completions = sample(
            self._model,
            self._tokenizer,
            prompts,
            uniforms=torch.stack(uniforms),
            max_new_tokens=room,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
        )
        self._model.train(was_training)
        return completions


class VLLMEngine:
    """vLLM's offline engine, with a seed for each completion."""

    def __init__(self, source: str, sampling: Sampling, dtype: str, trust_remote_code: bool) -> None:
        vllm: Any = importlib.import_module("vllm")
        self._llm = vllm.LLM(model=source, dtype=dtype, trust_remote_code=trust_remote_code)
        self._parameters = vllm.SamplingParams
        self._sampling = sampling
        self.positions: int | None = self._llm.llm_engine.model_config.max_model_len

    def generate(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Completion]:
        parameters = [
            self._parameters(
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                max_tokens=self._sampling.max_new_tokens,
                seed=seed,
            )
            for seed in seeds
        ]
        requests = [{"prompt_token_ids": prompt} for prompt in prompts]
        outputs = [request.outputs[0] for request in self._llm.generate(requests, parameters, use_tqdm=False)]
        return [Completion(out.text, len(out.token_ids), out.finish_reason == "length") for out in outputs]


def choose(engine: str, model: str) -> Name:
    """The engine that `auto` stands for; vLLM does not share its tokenizer with a .gguf file.

    Raises:
        UsageError: an unknown engine, or one that is not installed or cannot run the model.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if engine == "auto":
        return "vllm" if installed and not model.endswith(".gguf") else "transformers"
    if engine == "transformers":
        return "transformers"
    if engine != "vllm":
        raise UsageError(f"unknown engine '{engine}': choose among auto, transformers, vllm")
    if not installed:
        raise UsageError("vLLM is not installed: pip install vllm, or choose --engine transformers")
    if model.endswith(".gguf"):
        raise UsageError("a .gguf model is evaluated with --engine transformers")
    return "vllm"


def start(engine: Name, model: str, tokenizer: Any, sampling: Sampling, dtype: str, trust_remote_code: bool) -> Engine:
    """Load a model by name into an engine. A dtype of `auto` is that of its weights, but fp32 on a CPU."""
    if engine == "vllm":
        source, _ = resolve(model, trust_remote_code)
        return VLLMEngine(source, sampling, dtype, trust_remote_code)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    weights = load_model(
        model,
        dtype="float32" if dtype == "auto" and accelerator is None else dtype,
        trust_remote_code=trust_remote_code,
    )
    if accelerator is None:
        cpu.prepare_cpu(weights)
    return TransformersEngine(weights.to(accelerator or "cpu"), tokenizer, sampling)
