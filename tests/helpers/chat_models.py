"""Tiny random models that chat: a tokenizer that knows every byte, made on the spot, with a template that TRL ships."""

from pathlib import Path

import torch
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

ENDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def template(name: str) -> str:
    """A chat template as its model has it, which TRL must know to parse tool calls."""
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


def tokenizer_for(chat_template: str, more: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer whose few merges are those of the template, so that prompts are short."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[*ENDS, *more], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([chat_template], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        chat_template=chat_template,
    )


def language_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """A random model for it."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            initializer_range=0.2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
