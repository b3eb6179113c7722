"""How TRL's GRPO and RLOO trainers differ, and versions of TRL and transformers do, as far as SFPO must know.

Members of the host are read by their plain names, never with a default: when TRL renames one, training stops, where a
default would silently leave out work that the loss needs. What a version lacks is decided from the version.
"""

from dataclasses import dataclass
from typing import Any

import transformers
import trl
from packaging.version import Version
from transformers import ProcessorMixin
from transformers.utils import is_triton_available
from trl import RLOOTrainer

_version = Version(trl.__version__)
HAS_FUSED_HEAD = _version >= Version("1.15")
"""Whether the models of TRL's trainers score tokens in their forward, by `fused_lm_head=True`."""
_FUSED_HEAD_NEEDS_TRITON = _version < Version("1.16")
_DISTRIBUTES_MODELS = Version(transformers.__version__) >= Version("5.19")


def is_distributed_by_transformers(trainer: Any) -> bool:
    """Whether transformers itself spread the model over processes, which it does not before 5.19."""
    return bool(_DISTRIBUTES_MODELS and trainer.is_distributed_loading_by_transformers)


@dataclass(frozen=True)
class Host:
    """The host's loss and rollouts, as its settings make them.

    Attributes:
        adds_to_every_row: the loss has a term with a gradient in every completion, or one that depends on all of a
            micro-batch.
        kl_in_loss: the KL to the reference model is part of the loss; otherwise there is none, or the reward carries it.
        normalizes_micro_batches: the loss divides by the tokens of one micro-batch (BNPO).
        ratio_level: what the loss clips: "token" ratios, their "sequence" mean (GSPO) or their "sequence_sum" (RLOO).
        head_in_float32: the projection to logits is made in float32 whatever the autocast.
        calls_tools: a rollout may have several turns, with the answers of tools between them.
        reads_images: prompts may hold images.
        end_ids: the tokens that end a completion.
        has_fused_head: the model's forward scores tokens by `fused_lm_head=True`.
    """

    adds_to_every_row: bool
    kl_in_loss: bool
    normalizes_micro_batches: bool
    ratio_level: str
    head_in_float32: bool
    calls_tools: bool
    reads_images: bool
    end_ids: list[int]
    has_fused_head: bool

    @property
    def every_row_has_gradient(self) -> bool:
        """Whether completions whose advantage is 0 have a gradient, too."""
        return self.adds_to_every_row or self.kl_in_loss

    @classmethod
    def of(cls, trainer: Any) -> "Host":
        """Read a trainer that TRL has constructed, `RLOOTrainer` or `GRPOTrainer`.

        Raises:
            ValueError: this version of TRL cannot score on this machine.
        """
        on_cpu = trainer.accelerator.device.type == "cpu"
        if HAS_FUSED_HEAD and _FUSED_HEAD_NEEDS_TRITON and (on_cpu or not is_triton_available()):
            lacking = "do not run on a CPU: pip install" if on_cpu else "are not installed: pip install triton, or"
            raise ValueError(f"TRL {_version} scores by kernels of Triton, which {lacking} 'trl>=1.16'")
        processing = trainer.processing_class
        reads_images = isinstance(processing, ProcessorMixin)
        tokenizer = processing.tokenizer if reads_images else processing
        of_any: dict[str, Any] = {
            "reads_images": reads_images,
            # Before 1.15 only the tokenizer's own end ends a completion.
            "end_ids": trainer.eos_token_ids if HAS_FUSED_HEAD else [tokenizer.eos_token_id],
            "has_fused_head": HAS_FUSED_HEAD,
        }
        if isinstance(trainer, RLOOTrainer):
            # It has none of the options behind the other fields.
            return cls(
                adds_to_every_row=False,
                kl_in_loss=False,
                normalizes_micro_batches=False,
                ratio_level="sequence_sum",
                head_in_float32=False,
                calls_tools=False,
                **of_any,
            )
        return cls(
            adds_to_every_row=trainer._entropy_bonus_enabled or trainer.top_entropy_quantile < 1.0,
            kl_in_loss=trainer.beta != 0.0,
            normalizes_micro_batches=trainer.loss_type == "bnpo",
            ratio_level=trainer.importance_sampling_level,
            head_in_float32=trainer.args.cast_lm_head_to_fp32,
            calls_tools=bool(trainer.tools),
            **of_any,
        )
