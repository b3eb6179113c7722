"""How prompts reach the trainer."""

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from sfpo.errors import UsageError
from sfpo.model.embedded import MODEL_PATH
from sfpo.training.held_out import as_prompts

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+2="}]


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_PATH)


def test_conversations_stay_conversations_and_text_becomes_one_turn(tokenizer):
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert as_prompts(tokenizer, Dataset.from_dict({"prompt": [TURNS]}))[0]["prompt"] == TURNS
    text = as_prompts(tokenizer, Dataset.from_dict({"prompt": ["1+2="]}))
    assert text[0]["prompt"] == [{"role": "user", "content": "1+2="}]


def test_conversations_need_a_chat_template(tokenizer):
    assert tokenizer.chat_template is None
    with pytest.raises(UsageError, match="has no chat template"):
        as_prompts(tokenizer, Dataset.from_dict({"prompt": [TURNS]}))
