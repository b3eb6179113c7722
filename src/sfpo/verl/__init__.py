"""SFPO inside verl: `trainer.v1.trainer_mode=sfpo`. Importing this registers the trainer; verl does so by itself."""

from sfpo.extras import needing

with needing("verl"):
    from sfpo.verl.trainer import SFPOTrainer

__all__ = ["SFPOTrainer"]
