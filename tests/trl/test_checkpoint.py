"""A checkpoint is complete or not there, wherever the process that writes it is killed."""

import itertools
import json
import logging
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from kills import KILLED, WHOLE, contents, ended, forked, kill_at_line, kill_in_file
from tiny_runs import PROMPTS, SETTINGS, assert_same, history, reward_low_digits, train, weights
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sfpo.checkpoints import checkpoints_in, missing_part, newest_complete
from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl.checkpoint import to_continue_from

# Checkpoints at steps 2, 4 and 6, of which one stays. The state of the gate decides α.
SAVING = {
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": 1,
    "gate": "reversible",
    "gate_sides": "two",
    "entropy_window": 2,
    "entropy_threshold": 0.9,
}
# Where a checkpoint is made: each line of ours, each statement of transformers' between two files, each deletion.
FILES = ("sfpo/trl/checkpoint.py", "sfpo/whole.py")
FUNCTIONS = (
    "_save_checkpoint", "_save_optimizer_and_scheduler", "_save_rng_state", "_save", "save_model", "save_to_json", "_rmtree_safe_fd",
)  # fmt: skip
SIZES = (100, 3_000, 20_000)
"""Files that grow beyond these bytes are torn there: JSON, the scheduler's state, weights."""


class EndedInTheSecondSave(TrainerCallback):
    """At step 4 forks the run again and again, and has each child killed at another place of the save to come.

    What each leaves behind is kept in a folder of its own. The run itself goes on as if nothing had happened.
    """

    def __init__(self, folder: Path, kept: Path, every: int) -> None:
        self._folder, self._kept, self._every = folder, kept, every
        self._is_child = False

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step != 4 or self._is_child:
            return
        shutil.copytree(self._folder, self._kept / "before")
        for size in SIZES:
            if self._fork(f"in a file, {size}", kill_in_file, size):
                return
        for line in range(3, 10_000, self._every):
            if self._fork(f"line {line}", kill_at_line, line, FILES, FUNCTIONS):
                return
            if (self._kept / f"{WHOLE} line {line}").exists():
                break

    def on_save(self, args, state, control, **kwargs):
        if self._is_child:
            os._exit(0)

    def _fork(self, name, kill, *arguments) -> bool:
        """Whether this is the child."""
        state = random.getstate()
        child = os.fork()
        if child == 0:
            random.setstate(state)  # Python seeds it anew in a child
            self._is_child = True
            kill(*arguments)
            return True
        shutil.copytree(self._folder, self._kept / f"{ended(child)} {name}")
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept / "before", self._folder)
        return False


@pytest.fixture(scope="module", params=[37, pytest.param(9, marks=pytest.mark.slow)], ids=["some lines", "many lines"])
def killed(request, tiny_model, tmp_path_factory):
    """What each killed run left behind, and the weights and α of the one that was not killed."""
    kept, folder = (tmp_path_factory.mktemp(name) for name in ("kept", "run"))
    every = request.param

    def run():
        trainer = train(
            SFPOTrainer,
            SFPOConfig,
            tiny_model,
            folder,
            callbacks=[EndedInTheSecondSave(folder, kept, every)],
            **SAVING,
        )
        torch.save((weights(trainer), history(trainer, "sfpo/alpha")), kept / "whole.pt")

    assert forked(run) == WHOLE
    return kept


def timeless(checkpoint):
    """All of a checkpoint but the trainer's state, whose log holds seconds, and its checksum."""
    files = contents(checkpoint)
    del files["trainer_state.json"]
    state = json.loads(files["sfpo_state.json"])
    del state["parts"]["trainer_state.json"]
    return files | {"sfpo_state.json": state}


def test_wherever_a_save_is_killed_a_complete_checkpoint_is_the_newest(killed):
    (saved,) = killed.glob(f"{WHOLE} *")
    expected = {
        "checkpoint-2": timeless(killed / "before" / "checkpoint-2"),
        "checkpoint-4": timeless(saved / "checkpoint-4"),
    }
    left = list(killed.glob(f"{KILLED} *"))
    assert len(left) > len(SIZES) + 10
    assert not list(killed.glob("failed *"))
    newest = {}
    for folder in left:
        assert {missing_part(checkpoint) for checkpoint in checkpoints_in(folder)} == {None}, folder
        checkpoint = newest_complete(folder).checkpoint
        assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == int(checkpoint.name[-1])
        assert timeless(checkpoint) == expected[checkpoint.name], folder
        newest.setdefault(checkpoint.name, []).append(folder.name)
    assert newest.keys() == expected.keys()
    assert all(f"{KILLED} in a file, {size}" in newest["checkpoint-2"] for size in SIZES)


@pytest.mark.parametrize("step", [2, 4])
def test_a_users_own_script_continues_bit_for_bit(killed, tiny_model, step, tmp_path):
    folder = next(
        path
        for path in sorted(killed.glob(f"{KILLED} *"))
        if newest_complete(path).checkpoint.name == f"checkpoint-{step}"
    )
    shutil.copytree(folder, tmp_path / "run")

    def continued():
        trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path / "run", resume=True, **SAVING)
        torch.save((weights(trainer), history(trainer, "sfpo/alpha")), tmp_path / "continued.pt")

    # In a fresh process like the run that was not killed: earlier tests may have chosen other routines for products.
    assert forked(continued) == WHOLE
    expected, alphas = torch.load(killed / "whole.pt")
    found, found_alphas = torch.load(tmp_path / "continued.pt")
    assert_same(found, expected)
    assert found_alphas == alphas
    assert 0 < sum(alpha == 0 for alpha in alphas) < 6  # the gate had a say
    assert [path.name for path in (tmp_path / "run").iterdir() if path.is_dir()] == ["checkpoint-6"]


@pytest.fixture(scope="module")
def saved(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    train(SFPOTrainer, SFPOConfig, tiny_model, folder, **SAVING | {"max_steps": 4, "save_total_limit": None})
    return folder


def spoil(path):
    """Change one byte in the middle, to one that leaves JSON JSON."""
    content = bytearray(path.read_bytes())
    place = next(
        index
        for index in range(len(content) // 2, len(content))
        if content[index] in b"12345678" or path.suffix != ".json"
    )
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        *(
            (lambda checkpoint, name=name: (checkpoint / name).unlink(), name)
            for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", "trainer_state.json")
        ),
        (lambda checkpoint: (checkpoint / "sfpo_state.json").unlink(), "sfpo_state.json"),
        (
            lambda checkpoint: os.truncate(checkpoint / "optimizer.pt", 1_000),
            "a part of optimizer.pt (it has 1,000 of",
        ),
        (lambda checkpoint: os.truncate(checkpoint / "trainer_state.json", 99), "a whole trainer_state.json"),
        (lambda checkpoint: (checkpoint / "trainer_state.json").write_text("[]"), "a whole trainer_state.json"),
        (lambda checkpoint: os.truncate(checkpoint / "sfpo_state.json", 20), "a whole sfpo_state.json"),
        *(
            (
                lambda checkpoint, text=text: (checkpoint / "sfpo_state.json").write_text(text),
                "a whole sfpo_state.json",
            )
            for text in (
                "[]",
                "null",
                "{}",
                '{"parts": null, "rollouts": 8, "gate": null}',
                '{"parts": {"optimizer.pt": [9]}, "rollouts": 8, "gate": null}',
                '{"parts": {}, "rollouts": 8, "gate": {}}',
                '{"parts": {}, "rollouts": true, "gate": null}',
                '{"parts": {}, "rollouts": 8, "gate": null}',
            )
        ),
        *(
            (lambda checkpoint, name=name: spoil(checkpoint / name), f"the content that {name} was saved with")
            for name in ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "config.json")
        ),
        (lambda checkpoint: [path.unlink() for path in checkpoint.iterdir()], "trainer_state.json"),
    ],
)
def test_a_checkpoint_that_lost_a_part_is_refused_by_its_name_and_skipped(saved, tmp_path, damage, said):
    shutil.copytree(saved, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoint-4")
    newest = newest_complete(tmp_path / "run")
    assert newest.checkpoint == tmp_path / "run" / "checkpoint-2"
    assert len(newest.skipped) == 1
    assert newest.skipped[0].startswith(f"checkpoint-4 lacks {said}")
    with pytest.raises(ValueError, match=r"cannot continue from .*checkpoint-4: it lacks") as refused:
        to_continue_from(str(tmp_path / "run" / "checkpoint-4"), tmp_path, 1)
    assert said in str(refused.value)


def test_a_checkpoint_under_the_name_of_another_step_is_skipped(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    shutil.copytree(saved / "checkpoint-2", tmp_path / "run" / "checkpoint-5")
    newest = newest_complete(tmp_path / "run")
    assert newest.checkpoint == tmp_path / "run" / "checkpoint-4"
    assert newest.skipped == ["checkpoint-5 lacks the state of step 5: it holds that of step 2"]


def test_a_users_own_script_continues_from_the_newest_complete_one(saved, tiny_model, tmp_path, caplog):
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / "checkpoint-4" / "scheduler.pt").unlink()
    args = SFPOConfig(output_dir=str(tmp_path / "run"), **SETTINGS)
    trainer = SFPOTrainer(tiny_model, reward_low_digits, args, Dataset.from_dict({"prompt": PROMPTS}))
    with pytest.raises(ValueError, match=r"checkpoint-4: it lacks scheduler\.pt"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    with caplog.at_level(logging.WARNING, "sfpo"):
        trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-4 lacks scheduler.pt" in caplog.text
    assert trainer.state.global_step == 3
    assert len(history(trainer, "reward")) == 3


def test_other_numbers_of_processes_are_said(saved, caplog):
    with caplog.at_level(logging.WARNING, "sfpo"):
        assert to_continue_from(True, saved, 1) == saved / "checkpoint-4"
        assert caplog.text == ""
        to_continue_from(True, saved, 2)
    assert "was saved by 1 processes, and these are 2: random numbers begin anew" in caplog.text


def test_without_a_complete_checkpoint_there_is_nothing_to_continue(saved, tiny_model, tmp_path):
    (tmp_path / "run" / "checkpoint-2").mkdir(parents=True)
    with pytest.raises(ValueError, match="no complete checkpoint"):
        train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path / "run", resume=True, **SAVING)


def test_a_finished_run_trains_nothing_more(saved, tiny_model, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    before = contents(tmp_path / "run")
    finished = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path / "run", resume=True, **SAVING | {"max_steps": 4})
    assert finished.state.global_step == 4
    assert len(history(finished, "reward")) == 4
    after = contents(tmp_path / "run")
    assert {name for name in after if before.get(name) != after[name]} <= {"README.md"}
    from safetensors.torch import load_file

    there = load_file(tmp_path / "run" / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(there[name], weight) for name, weight in weights(finished).items() if name in there)
    assert there


def test_a_checkpoint_of_plain_grpo_is_a_start(tiny_model, tmp_path):
    plain = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}
    train(GRPOTrainer, GRPOConfig, tiny_model, tmp_path, **plain)
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, resume=True, **plain | {"max_steps": 3})
    assert trainer.state.global_step == 3
    assert len(history(trainer, "sfpo/alpha")) == 1


def test_the_best_checkpoint_is_found_where_it_is_and_stays(tiny_model, tmp_path):
    falling = itertools.count(3, -1)

    class Scripted(SFPOTrainer):
        def evaluate(self, *args, **kwargs):
            metrics = {"eval_score": next(falling)}
            self.log(dict(metrics))
            return metrics

    best = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "metric_for_best_model": "score",
        "load_best_model_at_end": True,
    }
    args = SFPOConfig(output_dir=str(tmp_path), **SETTINGS | SAVING | best, per_device_eval_batch_size=4)
    data = Dataset.from_dict({"prompt": PROMPTS})
    trainer = Scripted(tiny_model, reward_low_digits, args, data, eval_dataset=data)
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    # At the end, transformers itself leaves the best alone.
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-2"]
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-2")


def test_a_damaged_checkpoint_goes_before_a_complete_one(saved, tiny_model, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / "checkpoint-4").rename(tmp_path / "run" / "checkpoint-9")
    (tmp_path / "run" / "checkpoint-9" / "optimizer.pt").unlink()
    settings = SAVING | {"max_steps": 3, "save_steps": 3, "save_total_limit": 2}
    train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path / "run", resume=True, **settings)
    assert {path.name for path in checkpoints_in(tmp_path / "run")} == {"checkpoint-2", "checkpoint-3"}


def test_a_save_that_fails_leaves_nothing_of_it(tiny_model, tmp_path):
    class Fails(SFPOTrainer):
        def save_model(self, *args, **kwargs):
            super().save_model(*args, **kwargs)
            if self.state.global_step == 4:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        train(Fails, SFPOConfig, tiny_model, tmp_path, **SAVING)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["checkpoint-2"]


def test_what_is_pushed_is_in_its_place(tiny_model, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(
        GRPOTrainer, "_push_from_checkpoint", lambda self, folder: pushed.append((folder, missing_part(Path(folder))))
    )

    class Pushes(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            args.push_to_hub = True

        def on_train_end(self, args, state, control, **kwargs):
            args.push_to_hub = False

    train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, callbacks=[Pushes()], **SAVING | {"max_steps": 2})
    assert pushed == [(str(tmp_path / "checkpoint-2"), None)]
