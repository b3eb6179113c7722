"""Slow-Fast Policy Optimization (SFPO): an update step for GRPO-style reinforcement learning that needs fewer rollouts."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfpo.gate import EntropyGate
    from sfpo.slow_fast import AlphaRule, SlowFast, SlowFastReport
    from sfpo.trust_region import TrustRegion

__version__ = "0.2.0"

__all__ = ["AlphaRule", "EntropyGate", "SlowFast", "SlowFastReport", "TrustRegion", "__version__"]

_HOMES = {
    "AlphaRule": "slow_fast",
    "EntropyGate": "gate",
    "SlowFast": "slow_fast",
    "SlowFastReport": "slow_fast",
    "TrustRegion": "trust_region",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line has settings to make before torch starts, and some of it needs no torch.
    if name in _HOMES:
        return getattr(importlib.import_module(f"sfpo.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sfpo' has no attribute '{name}'")
