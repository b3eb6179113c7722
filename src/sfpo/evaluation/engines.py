"""What samples the completions of an evaluation: transformers, or vLLM where it is installed."""

import importlib.util
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch

from sfpo.errors import UsageError
from sfpo.evaluation.sampling import Completion, Sampling, sample
from sfpo.evaluation.vllm_engine import VLLMEngine, VLLMSettings
from sfpo.model import cpu
from sfpo.model.devices import accelerator
from sfpo.model.load import load_model, resolve

Name = Literal["transformers", "vllm"]


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
        raise UsageError("vLLM is not installed: pip install 'sfpo[vllm]', or choose --engine transformers")
    if model.endswith(".gguf"):
        raise UsageError("a .gguf model is evaluated with --engine transformers")
    return "vllm"


def start(
    engine: Name,
    model: str,
    tokenizer: Any,
    sampling: Sampling,
    dtype: str,
    trust_remote_code: bool,
    longest_prompt: int,
    vllm_settings: VLLMSettings,
) -> Engine:
    """Load a model by name into an engine. A dtype of `auto` is that of its weights, but fp32 on a CPU.

    Args:
        longest_prompt: tokens of the longest prompt to come.

    Raises:
        UsageError: the model cannot be loaded, or vLLM does not start.
    """
    if engine == "vllm":
        source, _ = resolve(model, trust_remote_code)
        return VLLMEngine(source, sampling, dtype, trust_remote_code, longest_prompt, vllm_settings)
    device = accelerator()
    weights = load_model(
        model,
        dtype="float32" if dtype == "auto" and device is None else dtype,
        trust_remote_code=trust_remote_code,
    )
    if device is None:
        cpu.prepare_cpu(weights)
    return TransformersEngine(weights.to(device or "cpu"), tokenizer, sampling)
