"""Vision-language models go TRL's own way: their images are no tokens, so that nothing of them is left out."""

import numpy as np
import pytest
import torch
from chat_models import template, tokenizer_for
from datasets import Dataset
from PIL import Image
from tiny_runs import LIKE_TRL, SETTINGS, assert_same, history, weights
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from trl import GRPOConfig, GRPOTrainer

from sfpo.trl import SFPOConfig, SFPOTrainer

SIDE = 16
IMAGE_TOKENS = 4
QUESTION = [{"role": "user", "content": "How bright?"}]
IMAGES = [Image.fromarray(np.full((SIDE, SIDE, 3), 10 * shade, dtype=np.uint8)) for shade in range(24)]


@pytest.fixture(scope="module")
def processor():
    names = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tokenizer = tokenizer_for(template("idefics3"), names)
    side = {"longest_edge": SIDE}
    images = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    return Idefics3Processor(images, tokenizer, image_seq_len=IMAGE_TOKENS, chat_template=tokenizer.chat_template)


def vision_model(processor):
    tokenizer = processor.tokenizer
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        "model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2, "max_position_embeddings": 256,
        "initializer_range": 0.2,
    }  # fmt: skip
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(
        Idefics3Config(
            vision_config=sizes | {"image_size": SIDE, "patch_size": 4, "initializer_range": 0.2},
            text_config=sizes | text,
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            scale_factor=2,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def reward_early_letters(completions, **columns):
    """The share of characters in the first half of the alphabet, which a random policy gets partly right."""
    texts = [message["content"] for (message,) in completions]
    return [sum(character < "n" for character in text) / max(1, len(text)) for text in texts]


def run(trainer_class, config_class, processor, tmp_path, with_images=True, **settings):
    columns = {"prompt": [QUESTION] * len(IMAGES)}
    if with_images:
        columns["image"] = IMAGES
    trainer = trainer_class(
        model=vision_model(processor),
        processing_class=processor,
        reward_funcs=reward_early_letters,
        args=config_class(output_dir=str(tmp_path), **{**SETTINGS, "max_steps": 2, **settings}),
        train_dataset=Dataset.from_dict(columns),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4}], ids=str)
def test_a_closed_gate_is_grpo_bit_for_bit(processor, tmp_path, settings):
    ours = run(SFPOTrainer, SFPOConfig, processor, tmp_path, alpha=0.0, **LIKE_TRL, **settings)
    theirs = run(GRPOTrainer, GRPOConfig, processor, tmp_path, **settings)
    assert_same(weights(ours), weights(theirs))
    for key in ("loss", "reward", "entropy", "grad_norm"):
        assert history(ours, key) == history(theirs, key)
    assert "pixel_values" in ours._buffered_inputs[0]


def test_passes_move_and_compaction_leaves_them_alone(processor, tmp_path):
    compact, whole, plain = (
        run(SFPOTrainer, SFPOConfig, processor, tmp_path, alpha=alpha, **settings)
        for alpha, settings in ((0.8, {"gate": "off"}), (0.8, LIKE_TRL), (0.0, LIKE_TRL))
    )
    assert history(compact, "sfpo/passes") == [4, 4]
    assert history(compact, "sfpo/pass_3/kl")[0] > 0
    assert any(not torch.equal(weights(compact)[name], weight) for name, weight in weights(plain).items())
    assert_same(weights(compact), weights(whole))
    vision = [name for name in weights(compact) if "vision_model" in name]
    assert any(not torch.equal(weights(compact)[name], weights(plain)[name]) for name in vision)


def test_images_belong_to_a_prompt(processor, tmp_path):
    """Equal answers to equal words are not equal where the images differ."""
    trainer = run(SFPOTrainer, SFPOConfig, processor, tmp_path, alpha=0.0, gate="off", max_completion_length=1)
    assert "sfpo/distinct_share" not in trainer.state.log_history[0]


def test_a_vision_language_model_trains_without_images_too(processor, tmp_path):
    settings = {"gate": "off", "max_steps": 1, "optim": "sgd", "learning_rate": 0.5, "alpha": 0.8}
    compact, whole = (
        run(SFPOTrainer, SFPOConfig, processor, tmp_path, with_images=False, compact_passes=cheap, **settings)
        for cheap in (True, False)
    )
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(compact)[name], weight, rtol=1e-4, atol=2e-5)
