"""What may be done with a model's forward without changing its result, decided from the model before it is used.

A model that is not known to allow something is taken not to: what is left out then costs time, and what is wrongly done
changes scores and gradients without a word.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sfpo.model.attention import obeys_any_mask

_ADAPTERS_OF_TOKENS = {
    "ADALORA", "BOFT", "C3A", "DELORA", "FOURIERFT", "GRALORA", "HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT",
    "OSF", "RANDLORA", "ROAD", "SHIRA", "TRAINABLE_TOKENS", "VBLORA", "VERA", "WAVEFT",
}  # fmt: skip
"""Kinds of adapters that change what a layer makes of each token, whatever other tokens a forward is given."""
_PLACE_BY_MASK = {"bloom", "falcon_mamba", "mamba", "mamba2"}
"""Kinds of models that take no positions, and tell from the mask alone where tokens are."""
_LOCAL_BY_COLUMN = {"gpt_neo"}
"""Kinds of models whose local attention counts the columns of the cache, padding and empty room among them."""
_SCALES_LOGITS = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip
"""Settings by which models scale or cap the logits that their projection makes."""


@dataclass(frozen=True)
class Capabilities:
    """What a model allows.

    Attributes:
        places_tokens: a forward is told where each token is, so that it matters neither how a row is padded nor which other
            rows are beside it.
        shares_beginnings: besides, tokens can attend to others that were encoded in a forward of their own, through a cache of
            plain keys and values that other columns may separate from them.
        longest: how many columns a row may have for both. None for any number: a model whose rotary embedding depends on the
            length of what it is given has a limit.
    """

    places_tokens: bool
    shares_beginnings: bool
    longest: int | None = None

    @classmethod
    def of(cls, model: Any) -> "Capabilities":
        """Those of a causal language model, or of one with adapters."""
        if isinstance(model, PeftModel):
            if not all(_adapts_tokens(config) for config in model.peft_config.values()):
                return cls(places_tokens=False, shares_beginnings=False)
            model = model.get_base_model()
        takes = inspect.signature(type(model).forward).parameters
        knows_positions = "position_ids" in takes or model.config.model_type in _PLACE_BY_MASK
        places_tokens = knows_positions and "attention_mask" in takes
        return cls(
            places_tokens,
            places_tokens
            and {"past_key_values", "use_cache", "logits_to_keep"} <= takes.keys()
            and _keeps_every_key(model.config)
            and obeys_any_mask(model.config),
            _longest(model.config),
        )

    def fit(self, length: int) -> bool:
        """Whether rows of so many columns are short enough."""
        return self.longest is None or length <= self.longest


def _adapts_tokens(config: Any) -> bool:
    """Whether an adapter adds no tokens, and looks at none but the one that it changes."""
    settings = config.to_dict()
    # An activated LoRA starts where its invocation is in the row.
    return settings["peft_type"] in _ADAPTERS_OF_TOKENS and settings.get("alora_invocation_tokens") is None


def _keeps_every_key(config: Any) -> bool:
    """Whether all layers cache plain keys and values. Those with sliding windows or a recurrence keep other states."""
    local = config.model_type in _LOCAL_BY_COLUMN and "local" in config.attention_layers
    return not local and all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def _longest(config: Any) -> int | None:
    """The length up to which the rotary embedding is the same for all lengths; None if it always is."""
    settings = config.get_text_config().to_dict()
    limits = []
    for rope in _rotary(settings):
        names = ("original_max_position_embeddings", "max_position_embeddings")
        made_for = min((held[name] for held in (rope, settings) for name in names if held.get(name)), default=0)
        kind = rope.get("rope_type") or rope["type"]
        if kind in ("longrope", "su"):  # the latter an older name
            limits.append(made_for)
        elif "dynamic" in kind:
            # At just this length, frequencies that an earlier, longer forward left are kept.
            limits.append(made_for - 1)
    return min(limits, default=None)


def _rotary(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings of each rotary embedding; some models have one for each kind of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        found = settings.get(name) or {}
        for rope in (found, *found.values()):
            if isinstance(rope, dict) and isinstance(rope.get("rope_type") or rope.get("type"), str):
                yield rope


@torch.no_grad()
def projects_to_logits(model: Any) -> bool:
    """Whether a model's logits are what its projection makes of hidden states, and nothing is done to them afterwards."""
    settings = model.config.get_text_config().to_dict()
    if any(settings.get(name) not in (None, 1) for name in _SCALES_LOGITS):
        return False
    projection: nn.Module | None = model.get_output_embeddings()
    if projection is None:
        return False
    projected: list[Tensor] = []
    # A copy, since a model may change it in place.
    handle = projection.register_forward_hook(lambda module, args, output: projected.append(output.clone()))
    try:
        tokens = torch.arange(2, 6, device=model.device)[None]
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    finally:
        handle.remove()
    # Zeros stay zeros, however they are scaled.
    return len(projected) == 1 and bool(logits.any()) and torch.equal(logits.float(), projected[0].float())
