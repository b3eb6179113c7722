"""Which implementations of attention obey any mask."""

from typing import Any

from sfpo.model import cpu_attention

_BY_MASK = {"eager", "sdpa", cpu_attention.NAME}


def obeys_any_mask(config: Any) -> bool:
    """Whether attention hides just the keys that a mask of tokens hides, wherever these are.

    Completions after prompts that were encoded separately have masked keys in the middle of a row, and a sampler's buffers at
    its end. Flash attention is given lengths in place of a mask, and counts on padding at one side alone.
    """
    return config._attn_implementation in _BY_MASK
