"""Tokenizers of tiny random models that chat: one that knows every byte, made on the spot, with a template that TRL ships."""

from pathlib import Path

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

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
