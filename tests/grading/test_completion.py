import pytest

from sfpo.grading import final_text, whole_text

CALL = [
    {"role": "assistant", "content": "I look it up.", "tool_calls": [{"name": "sum"}]},
    {"role": "tool", "content": "41"},
    {"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "image"}, {"text": "42."}]},
]


@pytest.mark.parametrize(
    ("completion", "final", "whole"),
    [
        ("42", "42", "42"),
        ([], "", ""),
        ([{"role": "assistant", "content": None}], "", ""),
        (CALL, "It is 42.", "I look it up.41It is 42."),
    ],
)
def test_a_reward_reads_the_last_message_and_a_record_all(completion, final, whole):
    assert final_text(completion) == final
    assert whole_text(completion) == whole
