"""SFPO's trainers against TRL's own, on a tiny local model."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_runs import LIKE_TRL, PROMPTS, SETTINGS, assert_same, history, reward_low_digits, train, weights
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from sfpo.trl import SFPOConfig, SFPORLOOConfig, SFPORLOOTrainer, SFPOTrainer, SlowFastMixin

VARIANTS = {
    "plain": {},
    "kl": {"beta": 0.1},
    "mini_batches": {"steps_per_generation": 4, "max_steps": 4},
    "several_rollouts_a_step": {"steps_per_generation": 1},
    "gspo": {"importance_sampling_level": "sequence", "loss_type": "grpo"},
    "bf16_checkpointing": {"bf16": True, "gradient_checkpointing": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_closed_gate_is_grpo_bit_for_bit(tiny_model, tmp_path, variant):
    settings = VARIANTS[variant]
    ours = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=0.0, **LIKE_TRL, **settings)
    theirs = train(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, **settings)
    assert_same(weights(ours), weights(theirs))
    for key in ("loss", "reward", "entropy", "grad_norm", "learning_rate"):
        assert history(ours, key) == history(theirs, key)


@pytest.mark.parametrize("compact_passes", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        *({"loss_type": loss} for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo")),
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
        {"importance_sampling_level": "sequence"},
        {"beta": 0.1},
        {"gradient_accumulation_steps": 1, "per_device_train_batch_size": 8},
        {"max_grad_norm": 0.0},
        {"steps_per_generation": 4},
    ],
    ids=str,
)
def test_alpha_one_is_multi_epoch_grpo(tiny_model, tmp_path, settings, compact_passes):
    # Adam turns a gradient that is almost zero, whatever its rounding, into a step of full length; SGD does not.
    optimizer = {"optim": "sgd", "learning_rate": 0.1} if compact_passes else {}
    settings = settings | optimizer
    # One batch of rollouts: what follows would be sampled differently by the slightest difference in the weights.
    mini_batches = max(1, settings.get("steps_per_generation", 2) // 2)
    ours = train(
        SFPOTrainer,
        SFPOConfig,
        tiny_model,
        tmp_path,
        alpha=1.0,
        gate="off",
        compact_passes=compact_passes,
        compact_rollouts=False,
        **settings,
        max_steps=mini_batches,
    )
    theirs = train(
        GRPOTrainer, GRPOConfig, tiny_model, tmp_path, num_iterations=4, **settings, max_steps=4 * mini_batches
    )
    start = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **(settings | {"learning_rate": 0.0}), max_steps=1)
    assert_moved(start, ours)
    for name, weight in weights(ours).items():
        torch.testing.assert_close(weight, weights(theirs)[name], rtol=1e-4, atol=2e-5)


def assert_moved(start, end):
    before, after = weights(start), weights(end)
    assert max((after[name] - before[name]).abs().max().item() for name in before) > 5e-3


def test_alpha_below_one_is_neither(tiny_model, tmp_path):
    ends = [
        weights(train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=alpha, gate="off", max_steps=1))
        for alpha in (0.0, 0.5, 1.0)
    ]
    for one, other in ((0, 1), (1, 2)):
        assert any(not torch.equal(ends[one][name], ends[other][name]) for name in ends[0])


def test_the_trainers_that_unsloth_puts_in_place_of_trls_are_refused(tmp_path):
    class UnslothGRPOTrainer(GRPOTrainer):
        pass

    class Ours(SlowFastMixin, UnslothGRPOTrainer):
        _config_class = SFPOConfig

    with pytest.raises(ValueError, match="without importing unsloth"):
        Ours("model", reward_low_digits, SFPOConfig(str(tmp_path), use_cpu=True, bf16=False))


class WatchWeights(TrainerCallback):
    """Keeps a copy of the weights and the optimizer's step count whenever the trainer is about to step."""

    def __init__(self):
        self.before_step, self.after_step = [], []

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.before_step.append({n: p.detach().clone() for n, p in model.named_parameters()})

    def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
        self.after_step.append({n: p.detach().clone() for n, p in model.named_parameters()})
        self.adam_steps = {int(s["step"]) for s in optimizer.state.values()}


@pytest.mark.parametrize("steps_per_generation", [2, 4])
def test_lookahead_ends_at_the_reposition(tiny_model, tmp_path, steps_per_generation):
    mini_batches = steps_per_generation // 2
    settings = {"steps_per_generation": steps_per_generation, "max_steps": mini_batches, "gate": "off"}
    watch = WatchWeights()
    lookahead = train(
        SFPOTrainer, SFPOConfig, tiny_model, tmp_path, callbacks=[watch], alpha=0.8, slow_correction=False, **settings
    )
    # K plain passes from the same start: α = 1 with one fast pass fewer.
    plain = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, alpha=1.0, inner_steps=2, **settings)
    start = watch.before_step[0]
    for name, weight in weights(lookahead).items():
        expected = start[name] + 0.8 * (weights(plain)[name] - start[name])
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)
    assert watch.adam_steps == {3 * mini_batches}
    assert history(lookahead, "sfpo/optimizer_steps_per_rollout_batch") == [3 * mini_batches]


@pytest.mark.parametrize("steps_per_generation", [2, 4])
def test_counts_and_metrics(tiny_model, tmp_path, steps_per_generation):
    mini_batches = steps_per_generation // 2
    watch = WatchWeights()
    trainer = train(
        SFPOTrainer,
        SFPOConfig,
        tiny_model,
        tmp_path,
        callbacks=[watch],
        steps_per_generation=steps_per_generation,
        max_steps=4,
        learning_rate=1e-4,
        compact_passes=False,  # which leave some completions out of the passes' own entropies
        entropy_window=2,
        entropy_threshold=50.0,
        lr_scheduler_type="linear",
    )
    assert trainer.state.global_step == 4
    assert watch.adam_steps == {4 * 4}  # four passes, whatever the mini-batches
    rates = history(trainer, "learning_rate")
    assert rates == pytest.approx([1e-4 * (1 - step / 4) for step in range(4)])
    assert history(trainer, "sfpo/rollouts") == [8 * mini_batches * (1 + step // mini_batches) for step in range(4)]
    assert history(trainer, "sfpo/optimizer_steps_per_rollout_batch") == [4 * mini_batches] * (4 // mini_batches)
    assert history(trainer, "sfpo/alpha") == [0.8] * (4 // mini_batches)
    last = trainer.state.log_history[-2]
    assert all(f"sfpo/{name}" in last for name in ("rollout_seconds", "update_seconds"))
    first = trainer.state.log_history[0] | trainer.state.log_history[mini_batches - 1]
    assert first["sfpo/entropy"] == pytest.approx(first["sfpo/pass_0/entropy"], rel=1e-4 if mini_batches == 1 else 0.2)
    assert first["sfpo/drift"] > 0
    if mini_batches == 1:
        # Pass 0 is the sampling policy; each later pass has moved away from it, the slow one less than the last fast.
        assert first["sfpo/pass_0/ratio_mean"] == 1.0
        assert first["sfpo/pass_0/kl"] == 0.0
        assert 0 < first["sfpo/pass_1/kl"] < first["sfpo/pass_2/kl"]
        assert first["sfpo/pass_3/kl"] < 2 * first["sfpo/pass_2/kl"]
    for index in range(4):
        values = {k: first[f"sfpo/pass_{index}/{k}"] for k in ("ratio_max", "clip_fraction", "grad_norm")}
        assert values["ratio_max"] >= 1.0
        assert 0.0 <= values["clip_fraction"] <= 1.0
        assert values["grad_norm"] > 0
    assert "sfpo/pass_4/kl" not in first


def test_entropy_of_a_batch_in_mini_batches_is_that_at_the_start(tiny_model, tmp_path):
    """With several mini-batches the later ones are trained at moved weights; H_s must not see that."""
    whole = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=1, gradient_accumulation_steps=4)
    parts = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=2, steps_per_generation=4)
    assert history(parts, "sfpo/entropy") == pytest.approx(history(whole, "sfpo/entropy"), rel=1e-5)


def test_the_gate_closes_and_the_rest_is_one_pass(tiny_model, tmp_path):
    gate = {"gate_sides": "two", "entropy_window": 3, "entropy_threshold": 1e-6}
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=5, **gate)
    alphas = history(trainer, "sfpo/alpha")
    assert alphas == [0.8, 0.8, 0.0, 0.0, 0.0]
    assert history(trainer, "sfpo/optimizer_steps_per_rollout_batch") == [4, 4, 1, 1, 1]
    assert history(trainer, "sfpo/gate_closed") == [0, 0, 1, 1, 1]
    assert len(history(trainer, "sfpo/pass_3/kl")) == 2
    assert len(history(trainer, "sfpo/z")) == 3


@pytest.mark.parametrize("steps_per_generation", [2, 4])
def test_resume_restores_the_gate_and_continues_identically(tiny_model, tmp_path, steps_per_generation):
    settings = {
        "steps_per_generation": steps_per_generation,
        "max_steps": 8,
        "entropy_window": 3,
        "entropy_threshold": 1.2,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    whole = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, **settings)
    # With two mini-batches a batch of rollouts, the checkpoint due at step 3 waits for the end of its batch.
    checkpoint = tmp_path / ("checkpoint-3" if steps_per_generation == 2 else "checkpoint-4")
    state = json.loads((checkpoint / "sfpo_state.json").read_text())
    assert state["rollouts"] == 24 if steps_per_generation == 2 else 32
    assert len(state["gate"]["entropies"]) == (3 if steps_per_generation == 2 else 2)
    resumed = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path / "resumed", resume=str(checkpoint), **settings)
    assert_same(weights(resumed), weights(whole))
    assert resumed.gate.state_dict() == whole.gate.state_dict()
    assert resumed.rollouts == whole.rollouts
    assert history(resumed, "sfpo/alpha") == history(whole, "sfpo/alpha")


def test_lora_moves_only_the_adapters(tiny_model, tmp_path):
    from peft import LoraConfig

    watch = WatchWeights()
    trainer = train(
        SFPOTrainer,
        SFPOConfig,
        tiny_model,
        tmp_path,
        callbacks=[watch],
        peft_config=LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]),
        beta=0.05,
        max_steps=2,
    )
    moved = {name for name, w in weights(trainer).items() if not torch.equal(w, watch.before_step[0][name])}
    assert moved
    assert all("lora_" in name for name in moved)
    adapters = sum(p.nbytes for n, p in trainer.model.named_parameters() if "lora_" in n)
    assert history(trainer, "sfpo/snapshot_bytes") == [adapters] * 2


def test_rloo_has_its_slow_fast_twin(tiny_model, tmp_path):
    closed = train(SFPORLOOTrainer, SFPORLOOConfig, tiny_model, tmp_path, alpha=0.0, **LIKE_TRL)
    theirs = train(RLOOTrainer, RLOOConfig, tiny_model, tmp_path)
    assert_same(weights(closed), weights(theirs))
    ours = train(SFPORLOOTrainer, SFPORLOOConfig, tiny_model, tmp_path, alpha=1.0, **LIKE_TRL, max_steps=1)
    epochs = train(RLOOTrainer, RLOOConfig, tiny_model, tmp_path, num_iterations=4, max_steps=4)
    for name, weight in weights(ours).items():
        torch.testing.assert_close(weight, weights(epochs)[name], rtol=1e-4, atol=2e-5)
    assert history(ours, "sfpo/pass_3/kl")[0] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_iterations": 2}, "num_iterations"),
        ({"inner_steps": 0}, "inner_steps"),
        ({"alpha": 1.2}, "alpha"),
        ({"entropy_window": 1}, "window"),
        ({"gate": "sometimes"}, "gate"),
        ({"gate_sides": "lower"}, "sides"),
        ({"disable_dropout": False}, "disable_dropout"),
        ({"use_adaptive_entropy": True, "entropy_coef": 0.01}, "use_adaptive_entropy"),
        ({"steps_per_generation": 3, "num_generations": 4}, "divide one another"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha=5.0.*share one objective"),
        ({"fp16": True}, "fp16, where a gradient that overflows skips its step.*use bf16"),
        ({"optim": "schedule_free_adamw"}, "schedule_free_adamw, which keeps a second sequence of weights"),
        ({"optim": "lomo"}, "lomo, which steps within the backward"),
        ({"optim": "galore_adamw_layerwise"}, "galore_adamw_layerwise, which steps within the backward"),
    ],
)
def test_settings_that_contradict_sfpo_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        SFPOConfig(output_dir=str(tmp_path), **{**SETTINGS, **settings})


def test_a_plain_configuration_is_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="SFPOConfig"):
        train(SFPOTrainer, GRPOConfig, tiny_model, tmp_path)


def test_without_a_configuration_the_defaults_are_the_documented_ones(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_cpu = staticmethod(lambda folder: SFPOConfig(folder, use_cpu=True))
    monkeypatch.setattr(SFPOTrainer, "_config_class", on_cpu)
    trainer = SFPOTrainer(tiny_model, reward_low_digits, train_dataset=Dataset.from_dict({"prompt": PROMPTS}))
    assert trainer.args.output_dir.endswith("-SFPO")
    args = trainer.args
    assert (args.inner_steps, args.alpha, args.entropy_window, args.entropy_threshold) == (3, 0.8, 10, 1.5)
    assert (args.gate, args.gate_sides) == ("exit", "upper")


def test_an_engine_whose_weights_are_elsewhere_is_refused(tiny_model, tmp_path, monkeypatch):
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda self: DistributedType.MEGATRON_LM))
    with pytest.raises(ValueError, match="MEGATRON_LM"):
        train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path)


def test_trajectory_error_leaves_the_weights_at_the_start(tiny_model, tmp_path):
    class FailsInTheSlowPass(SFPOTrainer):
        losses = 0

        def compute_loss(self, *args, **kwargs):
            self.losses += 1
            if self.losses == 8:  # two micro-batches a pass: the second of the slow pass
                raise RuntimeError("out of memory")
            return super().compute_loss(*args, **kwargs)

    watch = WatchWeights()
    args = SFPOConfig(output_dir=str(tmp_path), **SETTINGS)
    data = Dataset.from_dict({"prompt": PROMPTS})
    trainer = FailsInTheSlowPass(tiny_model, reward_low_digits, args, data, callbacks=[watch])
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    assert_same(weights(trainer), watch.before_step[0])
    assert not Path(tmp_path / "checkpoint-1").exists()
