"""The model card of a run: base model, task, method, settings, curve, evaluations, and how to reproduce it."""

import pytest
from huggingface_hub import ModelCard
from tiny_runs import train

from sfpo.cli import main
from sfpo.trl import SFPOConfig, SFPORLOOConfig, SFPORLOOTrainer, SFPOTrainer
from sfpo.trl.model_card import CardFacts, write_card

EQUATION = "θ̃ = θ_0 + α (θ_K − θ_0)"


@pytest.fixture(scope="module")
def trainer(tiny_model, tmp_path_factory):
    return train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path_factory.mktemp("run"), max_steps=2)


def card_of(trainer):
    trainer.create_model_card()
    path = f"{trainer.args.output_dir}/README.md"
    return ModelCard.load(path).data, open(path).read()


def test_a_script_gets_a_card_with_what_its_trainer_knows(trainer, tiny_model):
    data, text = card_of(trainer)
    assert "sfpo" in data.tags
    assert data.base_model is None
    assert "Made from a local model" in text
    assert "2510.04072" in text
    assert EQUATION in text
    assert "α = 0.8." in text
    assert "| `learning_rate` | 0.01 |" in text
    assert "24 rollouts" not in text
    assert "16 rollouts in 2 steps" in text
    assert "![Mean reward of each step](reward.png)" in text
    assert "None]" not in text
    assert tiny_model not in text


def test_a_model_of_the_hub_is_linked_and_its_evaluations_are_metadata(trainer):
    evaluations = [{"step": step, "accuracy": step / 40, "mean_length": 7.0, "problems": 512} for step in range(31)]
    trainer.create_model_card()
    write_card(trainer, CardFacts("owner/base", True, "gym:countdown", "sfpo train", evaluations), "mine")
    card = ModelCard.load(f"{trainer.args.output_dir}/README.md")
    assert card.data.base_model == "owner/base"
    assert "[owner/base](https://huggingface.co/owner/base)" in card.text
    assert "**gym:countdown**" in card.text
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)
    assert "| 0 | 0.0% | 7.0 | 512 |" in card.text
    assert "| 30 | 75.0% | 7.0 | 512 |" in card.text
    assert card.text.count("| 7.0 | 512 |") == 9
    assert "```bash\nsfpo train\n```" in card.text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"alpha": 0.0}, "GRPO: one pass over each batch"),
        ({"alpha": 1.0, "inner_steps": 2}, "Multi-epoch GRPO: 3 passes"),
        ({"alpha": "auto"}, "within a KL budget of 0.03"),
        ({"slow_correction": False}, "(Lookahead)"),
        ({"alpha": 0.0, "advantage_estimator": "remax"}, "Advantages are those of [ReMax]"),
        ({"gxpo_moments": "restored", "inner_steps": 5, "alpha": 0.5}, "2605.06755"),
    ],
)
def test_the_card_names_the_method_that_was_used(tiny_model, tmp_path, settings, says):
    trainer = train(SFPOTrainer, SFPOConfig, tiny_model, tmp_path, max_steps=1, **settings)
    _, text = card_of(trainer)
    assert says in text
    assert ("slow correction" in text) == (settings.get("alpha") == "auto")


def test_the_objective_of_rloo_is_rloos(tiny_model, tmp_path):
    _, text = card_of(train(SFPORLOOTrainer, SFPORLOOConfig, tiny_model, tmp_path, max_steps=1))
    assert "with the objective of RLOO" in text


def test_sfpo_train_pushes_a_card_with_the_final_evaluation(tiny_model, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(SFPOTrainer, "init_hf_repo", lambda self, *args, **keywords: None)
    monkeypatch.setattr(
        SFPOTrainer,
        "push_to_hub",
        lambda self, **keywords: pushed.append(ModelCard.load(f"{self.args.output_dir}/README.md")),
    )
    words = ["--max_steps", "1", "--eval_problems", "8", "--per_device_train_batch_size", "8"]
    words += ["--max_completion_length", "12", "--push_to_hub", "--hub_strategy", "end"]
    words += ["--model", tiny_model, "--hub_model_id", "me/sums", "--output_dir", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    card = pushed[-1]
    assert card.data.eval_results[0].dataset_name == "arithmetic, 8 held-out problems"
    assert "on the task **arithmetic**" in card.text
    assert "sfpo train --config config.yaml" in card.text
    assert "| 1 | " in card.text
    assert str(tmp_path) not in card.text
