"""Short runs of TRL trainers on the tiny model, with rewards that a random policy gets partly right."""

import torch
from datasets import Dataset

PROMPTS = [f"{a}+{b}=" for a in range(4) for b in range(6)]


def reward_low_digits(completions, **columns):
    """Something a random policy gets partly right: the share of characters among 0, 1 and 2."""
    return [sum(character in "012" for character in c) / max(1, len(c)) for c in completions]


SETTINGS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "max_steps": 3,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}

# As TRL scores batches, padding and all, for comparisons to the last bit.
LIKE_TRL = {"gate": "off", "compact_passes": False, "compact_rollouts": False}


def train(
    trainer_class, config_class, model, output_dir, resume=None, callbacks=None, reward=reward_low_digits, **settings
):
    trainer_arguments = {"peft_config": settings.pop("peft_config", None)}
    args = config_class(output_dir=str(output_dir), **{**SETTINGS, **settings})
    trainer = trainer_class(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        callbacks=callbacks,
        **trainer_arguments,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(trainer):
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def history(trainer, key):
    return [row[key] for row in trainer.state.log_history if key in row]
