"""Rewards of reasoning-gym's tasks: those of its scorers, except for wrong numbers that contain the right digits."""

import time

import pytest

from sfpo.tasks import gym


def mark(task, row, completion):
    (score,) = task.reward(
        prompts=[row["prompt"]], completions=[completion], answer=[row["answer"]], entry=[row["entry"]]
    )
    return score


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("letter_counting", ["min_words=3", "max_words=5"]), ("chain_sum", ["min_terms=2", "max_terms=2"])],
)
def test_a_wrong_number_with_the_right_digits_in_it_earns_nothing(name, parameters):
    task = gym.load(name, parameters, train_problems=8, eval_problems=4, seed=0)
    for row in task.train:
        right = row["answer"]
        assert mark(task, row, f"It is {right}.") == 1.0
        assert mark(task, row, f"<answer>{right}</answer>") == 1.0
        digits = right.lstrip("-")
        for wrong in (f"{right}8", f"{right}.{digits}", *([f"7{right}", f"-{right}"] if digits == right else [])):
            assert mark(task, row, f"It is {wrong}") == 0.0, wrong
        # A text around the right number is not another number.
        assert 0.0 < mark(task, row, f"<answer>{right} I think</answer>") < 1.0


def test_a_number_written_otherwise_is_right():
    task = gym.load("chain_sum", ["min_terms=2", "max_terms=2"], train_problems=2, eval_problems=2, seed=0)
    row = task.train[0]
    assert mark(task, row, f"so it is {row['answer']}.00") == 1.0


def test_part_marks_for_words_are_the_scorers_own():
    parameters = ["min_words_in_sentence=4", "max_words_in_sentence=6"]
    task = gym.load("sentence_reordering", parameters, train_problems=4, eval_problems=2, seed=0)
    row = task.train[0]
    words = row["answer"].split()
    assert mark(task, row, row["answer"]) == 1.0
    assert mark(task, row, " ".join([words[0], *reversed(words[1:])])) < 1.0
    assert mark(task, row, " ".join([*words[:-2], words[-1], words[-2]])) == pytest.approx(1 - 2 / len(words))


@pytest.mark.parametrize(
    ("text", "gold", "answer"),
    [
        ("a <answer> 3 </answer> b <answer>4</answer>", "7", "4"),
        (r"so \boxed{\frac{1}{2}} it is", "1/2", r"\frac{1}{2}"),
        (r"so \boxed{\frac{\sqrt{2}}{2}}", "word", r"\frac{\sqrt{2}}{2}"),
        ("2 + 5 = 7, I say", "7", "7"),
        ("5 + 6 = 11\n11 - 3 = 8", "8", "8"),
        ("It has 1,234 sides.", "1234", "1,234"),
        ("none at all", "7", ""),
        ("first\nSecond line", "word", "Second line"),
    ],
)
def test_what_the_scorer_gets_to_see(text, gold, answer):
    assert gym.scored_text(text, gold) == answer


def test_blanks_after_an_open_tag_take_no_time():
    started = time.perf_counter()
    assert gym.scored_text("<answer>" + "\n" * 20_000, "word") == "<answer>"
    assert time.perf_counter() - started < 1.0
