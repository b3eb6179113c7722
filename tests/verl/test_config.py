"""What a user can set and get wrong, on verl's own configuration as its command line composes it."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from sfpo.errors import UsageError
from sfpo.settings import SlowFastSettings
from sfpo.verl.config import read_settings, refuse_what_is_wrong

FSDP2 = "actor_rollout_ref.actor.strategy=fsdp2"


def composed(*overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", list(overrides))


def test_verl_knows_the_trainer_by_itself():
    trainer = get_trainer_cls("sfpo")
    assert issubclass(trainer, PPOTrainerSync)
    assert trainer.__module__ == "sfpo.verl.trainer"


def test_defaults_are_those_of_the_other_integrations():
    assert read_settings(composed()) == SlowFastSettings()


def test_settings_are_read_and_converted():
    settings = read_settings(
        composed(
            "+trainer.v1.sfpo.inner_steps=2",
            "+trainer.v1.sfpo.alpha=1",
            "+trainer.v1.sfpo.gate=reversible",
            "+trainer.v1.sfpo.gate_sides=upper",
            "+trainer.v1.sfpo.entropy_window=5",
            "+trainer.v1.sfpo.entropy_threshold=2",
            "+trainer.v1.sfpo.snapshot_device=none",
        )
    )
    assert settings == SlowFastSettings(
        inner_steps=2,
        alpha=1.0,
        gate="reversible",
        gate_sides="upper",
        entropy_window=5,
        entropy_threshold=2.0,
        snapshot_device=None,
    )


@pytest.mark.parametrize(("given", "alpha"), [("0.8", 0.8), ("1", 1.0), ("0", 0.0), ("auto", "auto")])
def test_alpha_is_a_number_or_auto(given, alpha):
    settings = read_settings(
        composed(f"+trainer.v1.sfpo.alpha={given}", "+trainer.v1.sfpo.kl_budget=0.1", "+trainer.v1.sfpo.alpha_max=4")
    )
    assert settings == SlowFastSettings(alpha=alpha, kl_budget=0.1, alpha_max=4.0)
    assert type(settings.alpha) is type(alpha)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner_step=3", r"no setting 'inner_step' \(did you mean inner_steps\?\): it has inner_steps, alpha,"),
        ("inner_steps=0", r"inner_steps \(K\) must be at least 1, got 0"),
        ("inner_steps=2.5", r"trainer\.v1\.sfpo\.inner_steps: .*2\.5"),
        ("alpha=1.5", r"alpha must be in \[0, 1\], got 1\.5"),
        ("alpha=high", r"alpha must be a number in \[0, 1\] or 'auto', got 'high'"),
        ("alpha=null", r"alpha must be a number in \[0, 1\] or 'auto', got None"),
        ("kl_budget=0", r"kl_budget must be above 0, got 0"),
        ("alpha_max=0.5", r"alpha_max must be at least 1, got 0\.5"),
        ("gate=open", r"gate must be 'exit', 'reversible' or 'off', got 'open'"),
        ("gate_sides=lower", r"sides must be one of"),
        ("entropy_window=1", r"at least 2 values, got 1"),
        ("entropy_threshold=0", r"above 0, got 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(override, message):
    with pytest.raises(UsageError, match=message) as refusal:
        read_settings(composed(f"+trainer.v1.sfpo.{override}"))
    assert "trainer.v1.sfpo" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_off_in_a_yaml_file_is_off():
    config = OmegaConf.create({"trainer": {"v1": {"sfpo": {"gate": False}}}})
    assert read_settings(config).make_gate() is None


def test_a_whole_section_that_is_not_a_section_is_refused():
    with pytest.raises(UsageError, match=r"trainer\.v1\.sfpo .*inner_steps"):
        read_settings(composed("+trainer.v1.sfpo=3"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"FSDP1.*strategy=fsdp2"),
        (["model_engine=megatron"], r"Megatron, whose distributed optimizer steps from fp32 masters.*strategy=fsdp2"),
        (["model_engine=veomni"], r"veomni.*strategy=fsdp2"),
        ([FSDP2, "actor_rollout_ref.actor.fsdp_config.offload_policy=True"], r"offload_policy=True.*param_offload"),
        ([FSDP2, "actor_rollout_ref.actor.ppo_epochs=2"], r"ppo_epochs=2 .*4 passes.*trainer\.v1\.sfpo\.inner_steps"),
        ([FSDP2, "algorithm.adv_estimator=remax"], r"adv_estimator=remax needs .*greedy.*rloo"),
        ([FSDP2, "algorithm.rollout_correction.bypass_mode=True"], r"bypass_mode=True.*trainer\.v1\.sfpo\.gate=off"),
        ([FSDP2, "actor_rollout_ref.hybrid_engine=False"], r"no asynchronous form.*hybrid_engine=True"),
        ([FSDP2, "+async_training.staleness_threshold=0.1"], r"no asynchronous form.*async_training"),
    ],
)
def test_what_is_wrong_under_sfpo_is_refused(overrides, message):
    with pytest.raises(UsageError, match=message) as refusal:
        refuse_what_is_wrong(composed(*overrides), SlowFastSettings())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [FSDP2],
        [FSDP2, "actor_rollout_ref.actor.fsdp_config.param_offload=True"],
        [FSDP2, "actor_rollout_ref.actor.fsdp_config.optimizer_offload=True"],
        [FSDP2, "algorithm.adv_estimator=rloo"],
    ],
)
def test_what_is_right_under_sfpo_is_accepted(overrides):
    refuse_what_is_wrong(composed(*overrides), SlowFastSettings())


def test_without_a_gate_no_entropy_is_needed():
    config = composed(FSDP2, "algorithm.rollout_correction.bypass_mode=True")
    refuse_what_is_wrong(config, SlowFastSettings(gate="off"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.rollout_correction.bypass_mode=True", r"alpha=auto measures the KL .*bypass_mode=True.*a number"),
        ("distillation.enabled=True", r"alpha=auto .*distillation\.enabled=True.*a number"),
    ],
)
def test_what_hides_the_kl_is_refused_where_alpha_is_chosen_by_it(override, message):
    config = composed(FSDP2, override)
    with pytest.raises(UsageError, match=message) as refusal:
        refuse_what_is_wrong(config, SlowFastSettings(alpha="auto", gate="off"))
    assert "\n" not in str(refusal.value)
    refuse_what_is_wrong(config, SlowFastSettings(gate="off"))
    refuse_what_is_wrong(composed(FSDP2), SlowFastSettings(alpha="auto"))
