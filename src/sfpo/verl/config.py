"""SFPO's settings in verl's configuration, under `trainer.v1.sfpo`, and what they cannot be combined with."""

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sfpo.errors import UsageError
from sfpo.nearest import did_you_mean
from sfpo.settings import AUTO, SlowFastSettings

KEY = "trainer.v1.sfpo"

_WHY_NOT_ON = {
    "fsdp": "FSDP1, whose flattened weights it was never tested on",
    "megatron": "Megatron, whose distributed optimizer steps from fp32 masters of its own and would undo the reposition",
}


def read_settings(config: Any) -> SlowFastSettings:
    """The settings of a verl configuration; those not given have the defaults of `SlowFastSettings`.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type or out of its range.
    """
    settings = OmegaConf.structured(SlowFastSettings)
    known = [f.name for f in fields(SlowFastSettings)]
    given = config.trainer.v1.get("sfpo", {})
    if not isinstance(given, DictConfig | dict):
        raise UsageError(f"{KEY} is {given!r} and should hold the settings {', '.join(known)}")
    for name, value in given.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise UsageError(f"{KEY} has no setting {name!r}{hint}: it has {', '.join(known)}")
        try:
            # Where a word is allowed as well, OmegaConf takes a number only with its point.
            settings[name] = float(value) if name == "alpha" and type(value) is int else value
        except OmegaConfBaseException as error:
            raise UsageError(f"{KEY}.{name}: {str(error).splitlines()[0]}") from None
    checked: SlowFastSettings = OmegaConf.to_object(settings)
    try:
        checked.check_slow_fast()
    except ValueError as error:
        raise UsageError(f"{KEY}: {error}") from None
    return checked


def refuse_what_is_wrong(config: Any, settings: SlowFastSettings) -> None:
    """Refuse the rest of a verl configuration where SFPO would be wrong, or is not known to be right.

    Raises:
        UsageError: what is wrong, and what to set instead.
    """
    actor = config.actor_rollout_ref.actor
    if actor.strategy != "fsdp2":
        engine = _WHY_NOT_ON.get(
            actor.strategy, f"{actor.strategy}, of which it does not know where the weights are kept"
        )
        raise UsageError(
            f"SFPO does not run on {engine}: set actor_rollout_ref.actor.strategy=fsdp2 (under verl's own model_engine=dp)"
        )
    if actor.fsdp_config.offload_policy:
        raise UsageError(
            "SFPO was never tested with actor_rollout_ref.actor.fsdp_config.offload_policy=True: set it to False, and "
            "actor_rollout_ref.actor.fsdp_config.param_offload and optimizer_offload to True to save memory"
        )
    if actor.ppo_epochs != 1:
        raise UsageError(
            f"actor_rollout_ref.actor.ppo_epochs={actor.ppo_epochs} would multiply SFPO's {settings.inner_steps + 1} "
            f"passes: leave it at 1 and set {KEY}.inner_steps"
        )
    if config.algorithm.adv_estimator == "remax":
        raise UsageError(
            "algorithm.adv_estimator=remax needs the reward of a greedy rollout, which verl's trainers with "
            "trainer.use_v1=True, the synchronous one too, do not sample: set it to rloo, grpo or reinforce_plus_plus"
        )
    if config.algorithm.rollout_correction.bypass_mode and settings.gate != "off":
        raise UsageError(
            "algorithm.rollout_correction.bypass_mode=True leaves out the policy's entropy, which SFPO's gate decides "
            f"from: set it to False, or {KEY}.gate=off"
        )
    if "async_training" in config or not config.actor_rollout_ref.hybrid_engine:
        raise UsageError(
            "SFPO needs rollouts from the policy that it updates, so it has no asynchronous form: start "
            "verl.trainer.main_ppo with actor_rollout_ref.hybrid_engine=True and without async_training"
        )
    if settings.alpha == AUTO:
        _refuse_what_hides_the_kl(config)


def _refuse_what_hides_the_kl(config: Any) -> None:
    """Refuse where the KL that α is chosen by would not be that of the update."""
    if config.algorithm.rollout_correction.bypass_mode:
        raise UsageError(
            f"{KEY}.alpha={AUTO} measures the KL from old_log_probs, which algorithm.rollout_correction.bypass_mode=True "
            f"takes from the engine that samples: set it to False, or {KEY}.alpha to a number"
        )
    if config.distillation.enabled:
        raise UsageError(
            f"{KEY}.alpha={AUTO} was never tested with distillation.enabled=True: set it to False, or {KEY}.alpha to a number"
        )
