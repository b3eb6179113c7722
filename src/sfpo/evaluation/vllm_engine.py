"""vLLM's offline engine for evaluations."""

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import AutoConfig

from sfpo.errors import UsageError
from sfpo.evaluation.sampling import Completion, Sampling

_SHARE_OF_GPU = 0.9


@dataclass(frozen=True)
class VLLMSettings:
    """How vLLM uses the machine.

    Attributes:
        memory_share: of each GPU's memory, or of the machine's on a CPU, for weights and keys and values; None for nine
            tenths of a GPU, or half of what is free on a CPU.
        max_model_length: tokens of a prompt and its answer; None for what the longest needs, within the model's positions.
        enforce_eager: neither compiles nor captures the model's forward: starts sooner and samples more slowly.
        tensor_parallel_size: how many GPUs hold one copy of the model.
    """

    memory_share: float | None = None
    max_model_length: int | None = None
    enforce_eager: bool = False
    tensor_parallel_size: int = 1


class VLLMEngine:
    """vLLM's offline engine, with a seed for each completion.

    Raises:
        UsageError: vLLM does not start, with what it says.
    """

    def __init__(
        self,
        source: str,
        sampling: Sampling,
        dtype: str,
        trust_remote_code: bool,
        longest_prompt: int,
        settings: VLLMSettings,
    ) -> None:
        longest = settings.max_model_length or _within_positions(
            source, longest_prompt + sampling.max_new_tokens, trust_remote_code
        )
        on_cpu = not torch.accelerator.is_available()
        if on_cpu:
            # In a process of its own the engine says "initialization failed" and not why. Here it says why, and a CPU has
            # nothing that the two processes could do at once.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        vllm: Any = importlib.import_module("vllm")
        share = settings.memory_share
        if share is None:
            share = _half_of_free_memory() if on_cpu else _SHARE_OF_GPU
        try:
            self._llm = vllm.LLM(
                model=source,
                dtype="float32" if dtype == "auto" and on_cpu else dtype,
                trust_remote_code=trust_remote_code,
                gpu_memory_utilization=share,
                # Room for all of a model's positions may be more than the memory holds.
                max_model_len=longest,
                # Compiling takes a minute on a CPU, and gains little there.
                enforce_eager=settings.enforce_eager or on_cpu,
                tensor_parallel_size=settings.tensor_parallel_size,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise UsageError(
                f"vLLM does not start: {' '.join(str(error).split())} (--vllm_gpu_memory_utilization, "
                "--vllm_max_model_length, --vllm_enforce_eager and --vllm_tensor_parallel_size say what it may use; "
                "--engine transformers does without it)"
            ) from error
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


def _half_of_free_memory() -> float:
    """Half of the memory that is free, as a share of all of the machine's."""
    memory = psutil.virtual_memory()
    return float(memory.available / memory.total / 2)


def _within_positions(source: str, length: int, trust_remote_code: bool) -> int:
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code).get_text_config()
    return min(length, getattr(config, "max_position_embeddings", None) or length)
