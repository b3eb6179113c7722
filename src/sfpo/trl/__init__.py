"""SFPO in TRL: drop-in replacements for `GRPOTrainer` and `RLOOTrainer`, and their configurations."""

from sfpo.extras import needing

with needing("trl"):
    from sfpo.trl.config import SFPOConfig, SFPORLOOConfig
    from sfpo.trl.trainer import SFPORLOOTrainer, SFPOTrainer, SlowFastMixin

__all__ = ["SFPOConfig", "SFPORLOOConfig", "SFPORLOOTrainer", "SFPOTrainer", "SlowFastMixin"]
