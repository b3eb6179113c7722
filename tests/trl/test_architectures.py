"""Many architectures: what passes and the sampler compute, against forwards of each row alone and against TRL's own trainer.

The rows are uneven, their prompts begin alike, and they are long enough to cross the models' windows and lengths
(`architectures.py`). What a model does not allow is left to TRL; its scores must then be TRL's to the last bit.
"""

import copy
from functools import partial

import pytest
import torch
from architectures import ARCHITECTURES, ORIGINAL_LENGTH, PADDING_MATTERS_TO_TRL, VOCABULARY, make_model
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from sfpo.model import prefill
from sfpo.model.embedded import MODEL_PATH
from sfpo.model.noise import switch_off_noise
from sfpo.model.sampler import sample
from sfpo.trl import SFPOConfig, SFPOTrainer
from sfpo.trl import head as head_file
from sfpo.trl.generation import asked_of_generate

QUICK = {"llama", "gpt2", "granite, scaled logits", "mistral", "phi3, longrope"}
TEMPERATURE = 0.9
BEGINNING = [5, 3, 9, 4, 11, 2, 7, 6, 13, 8]
PROMPTS = [[*BEGINNING, 12, 4], [*BEGINNING, 3, 7, 7, 2, 9, 10, 6], [*BEGINNING, 6, 6, 11, 14]]
LENGTHS = [14, 1, 5, 9, 3, 14, 7, 2, 10, 10, 6, 13]
ROWS = len(LENGTHS)
SETTINGS = {
    "per_device_train_batch_size": ROWS,
    "num_generations": 4,
    "max_completion_length": max(LENGTHS),
    "temperature": TEMPERATURE,
    "max_steps": 1,
    "disable_dropout": True,
    "optim": "sgd",
    "learning_rate": 0.05,
    "lr_scheduler_type": "constant",
    "epsilon": 100.0,  # no ratio is clipped, whatever its rounding
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
# Left to TRL: recurrences and attention that count columns, and rotary embeddings once they depend on the length.
LEFT_TO_TRL = {"mpt", "xlnet", "llama, dynamic", "phi3, longrope"}

each_architecture = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)


@pytest.fixture(autouse=True)
def _all_savings(monkeypatch):
    """Forwards are cheap, so that all is cut and shared that can be; logits come in chunks of 7 tokens."""
    monkeypatch.setitem(prefill._FORWARD_COST, "cpu", 0)
    monkeypatch.setattr(head_file, "_CHUNK_BYTES", 4 * VOCABULARY * 7)


def rollouts():
    """Prompts and completions, one of each a row."""
    generator = torch.Generator().manual_seed(0)
    completions = [torch.randint(2, 15, (length,), generator=generator).tolist() for length in LENGTHS]
    return [PROMPTS[row // 4] for row in range(ROWS)], completions


def padded(rows, side):
    rows = [torch.tensor(row) for row in rows]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True, padding_side=side)
    return pad(rows), pad([torch.ones_like(row) for row in rows])


def micro_batch():
    prompts, completions = rollouts()
    prompt_ids, prompt_mask = padded(prompts, "left")
    completion_ids, completion_mask = padded(completions, "right")
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": torch.randn(ROWS, generator=torch.Generator().manual_seed(1)),
        "num_items_in_batch": completion_mask.sum(),
    }


def alone(model, prompt, completion):
    """Log-probabilities and entropies of one row, from a forward without padding or cache."""
    ids = torch.tensor([prompt + completion])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, len(prompt) - 1 : -1]
    every = (logits.float() / TEMPERATURE).log_softmax(-1)
    return every.gather(-1, torch.tensor(completion)[:, None])[:, 0], -(every.exp() * every).sum(-1)


def make_trainer(model, tmp_path, **settings):
    trainer = SFPOTrainer(
        model=model,
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        args=SFPOConfig(str(tmp_path), self_check_fatal=True, **{**SETTINGS, **settings}),
        train_dataset=Dataset.from_dict({"prompt": ["1+1="] * 8}),
        processing_class=AutoTokenizer.from_pretrained(MODEL_PATH),
    )
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def scores_and_gradients(trainer):
    inputs = micro_batch()
    trainer.compute_loss(trainer.model, inputs).backward()
    gradients = {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.grad is not None}
    return inputs["old_per_token_logps"], inputs["entropies_at_start"], gradients


def assert_near(ours, expected, tolerance):
    largest = max(gradient.abs().max() for gradient in expected[2].values())
    assert largest > 1e-4
    for scores, others in zip(ours[:2], expected[:2], strict=True):
        torch.testing.assert_close(scores, others, rtol=1e-4, atol=tolerance)
    assert ours[2].keys() == expected[2].keys()
    for name, gradient in expected[2].items():
        assert (ours[2][name] - gradient).abs().max() <= tolerance * largest, name


@each_architecture
def test_log_probabilities_and_gradients(name, tmp_path):
    model = make_model(name)
    trainer = make_trainer(copy.deepcopy(model), tmp_path, alpha=0.0)
    ours = scores_and_gradients(trainer)
    if name in LEFT_TO_TRL:
        theirs = scores_and_gradients(make_trainer(model, tmp_path, alpha=0.0, compact_passes=False))
        assert_near(ours, theirs, 0.0)
        return
    assert trainer._scorer.savings.compact
    inputs = micro_batch()
    rows = [alone(model, *row) for row in zip(*rollouts(), strict=True)]
    logps, entropies = (
        torch.nn.utils.rnn.pad_sequence(values, batch_first=True) for values in zip(*rows, strict=True)
    )
    ratio = (logps - logps.detach()).exp()
    loss = -(ratio * inputs["advantages"][:, None] * inputs["completion_mask"]).sum() / inputs["num_items_in_batch"]
    loss.backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters() if key in ours[2]}
    assert_near(ours, (logps.detach(), entropies.detach(), gradients), 5e-3 if "moe" in name else 2e-4)


@each_architecture
def test_sampler(name, tmp_path):
    model = make_model(name)
    trainer = make_trainer(copy.deepcopy(model), tmp_path)
    prompts = rollouts()[0]
    torch.manual_seed(0)
    if trainer._rollouts.sample(prompts, None, {}) is None:
        assert name in LEFT_TO_TRL or not trainer._scorer.savings.share_prompts
        return
    sampled = trainer._rollouts._sampler.sample(prompts, asked_of_generate(trainer))
    with torch.no_grad():
        for prompt, ids, *ours in zip(
            prompts, sampled.completion_ids, sampled.log_probs, sampled.entropies, strict=True
        ):
            for values, expected in zip(ours, alone(model, prompt, ids), strict=True):
                torch.testing.assert_close(torch.tensor(values), expected, rtol=1e-4, atol=2e-4)
    greedy = sample(trainer.model, prompts[::4], max_new_tokens=14, end_ids=[1], do_sample=False).completion_ids
    for prompt, completion in zip(prompts[::4], greedy, strict=True):
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": 14, "eos_token_id": 1, "pad_token_id": 0}
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert completion == theirs[0, len(prompt) :].tolist()


def one_step(name, trainer_class, config_class, tmp_path, **settings):
    """The weights after a step from rollouts that are the same for every trainer."""
    prompts, completions = rollouts()
    if name in PADDING_MATTERS_TO_TRL:
        prompts = [prompt[:12] for prompt in prompts]

    class Given(trainer_class):
        def _generate_single_turn(self, prompt_ids, *more, **keywords):
            return completions, None

        def _tokenize_prompts(self, texts):
            return prompts, None, {}

    def reward(completions, **columns):
        return [(3 * row) % 7 for row in range(len(completions))]

    model = make_model(name)
    switch_off_noise(model)  # which TRL leaves on where functions drop
    trainer = Given(
        model=model,
        reward_funcs=reward,
        args=config_class(str(tmp_path), **{**SETTINGS, **settings}),
        train_dataset=Dataset.from_dict({"prompt": ["1+1="] * ROWS}),
        processing_class=AutoTokenizer.from_pretrained(MODEL_PATH),
    )
    start = {key: weight.detach().clone() for key, weight in trainer.model.named_parameters()}
    trainer.train()
    return {key: weight.detach() - start[key] for key, weight in trainer.model.named_parameters()}


@each_architecture
@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_a_step(name, alpha, tmp_path):
    """With α = 0 against TRL's GRPO; else against the same step with TRL's scoring."""
    check = {"self_check_fatal": True, "gate": "off", "alpha": alpha}
    ours = one_step(name, SFPOTrainer, SFPOConfig, tmp_path, **check)
    if alpha == 0:
        theirs = one_step(name, GRPOTrainer, GRPOConfig, tmp_path)
    else:
        theirs = one_step(name, SFPOTrainer, SFPOConfig, tmp_path, **check, compact_passes=False)
    farthest = max(float(moved.abs().max()) for moved in theirs.values())
    assert farthest > 1e-5
    for key, moved in theirs.items():
        assert (ours[key] - moved).abs().max() <= 5e-3 * farthest, key


def test_the_rows_cross_what_they_must():
    longest = max(map(len, PROMPTS)) + max(LENGTHS)
    assert longest > ORIGINAL_LENGTH > 8
    assert len(ARCHITECTURES) >= 40
    assert ARCHITECTURES.keys() >= LEFT_TO_TRL | PADDING_MATTERS_TO_TRL | QUICK
