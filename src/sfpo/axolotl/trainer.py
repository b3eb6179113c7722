"""Axolotl's GRPO trainer with the slow-fast update."""

from axolotl.core.trainers.grpo.trainer import AxolotlGRPOTrainer

from sfpo.trl import SFPOTrainer as SFPOTrainerOfTRL


class SFPOTrainer(SFPOTrainerOfTRL, AxolotlGRPOTrainer):
    """`sfpo.trl.SFPOTrainer` with the optimizers, schedules and checkpoints of Axolotl's GRPO trainer."""
