import time

import pytest

from sfpo.grading import committed_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"So $\boxed{42}$.", "42"),
        (r"First \boxed{1}. Later I correct this: \boxed{7}", "7"),
        (r"\boxed{\boxed{42}}", "42"),
        (r"\fbox{42}", "42"),
        (r"the total is \boxed 7", "7"),
        (r"So $\boxed{\sqrt{\frac{3}{4}}}$", r"\sqrt{\frac{3}{4}}"),
        (r"$\boxed{\{1,2\}}$", r"\{1,2\}"),
        (r"There are two: \boxed{1} and \boxed{2}.", "1 , 2"),
        (r"$\boxed{3}$, $\boxed{5}$ or $\boxed{8}$", "3 , 5 , 8"),
        (r"\boxed{42}. As said, \boxed{42}", "42"),
        (r"<think>Maybe \boxed{3}?</think>It is \boxed{4}.", "4"),
        ("\\boxed{5}\n% \\boxed{6}", "5"),
        ("\\boxed{42}\n\nHuman: And 8+9?\n\nAssistant: \\boxed{17}", "42"),
        ("Answer: 42", "42"),
        ("**Final Answer:** 42.", "42"),
        ("So 6*7.\n#### 42", "42"),
        ("After all cases are added: **42**", "42"),
        ("Therefore there are 42 such pairs.", r"42\text{ such pairs}"),
        ("The answer is not 42 but 41.", "41"),
        ("The answer is 43, not 42.", "43"),
        ("We find x = 7. Substituting, the sum is x + 12 = 19.", "19"),
        ("Hence the number is\n\\[\n\\frac{1}{2}.\n\\]", r"\frac{1}{2}"),
        ("Final Answer: The final answer is $42$. I hope it is correct.", "$42$"),
        ("The only choice left is B.", "B"),
        ("A. Because B is not valid here.", "A"),
        ("答案：92", "92"),
    ],
)
def test_the_committed_answer_is_found(response: str, answer: str) -> None:
    found = committed_answer(response)
    assert found is not None
    assert found.text.strip() == answer


@pytest.mark.parametrize(
    "response",
    [
        "",
        r"I computed 42 above. Answer: \boxed{}",
        r"We have 6 boxes. The answer is \boxed{",
        r"Thus the final answer is \boxed{\frac{3}{",
        r"\boxed{1} first, and then \boxed{4",
        r"<think>So far \boxed{42}. But let me double check",
        "Then 3x + 4 = 25, so 3x =",
        "The answer isn't 42.",
        "Let us first think about which of the cases can occur at all here",
        r"\boxed{?}",
        "$$",
    ],
)
def test_no_answer_is_made_up(response: str) -> None:
    assert committed_answer(response) is None


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{1} and ",
        "{",
        "$ ",
        "\\(",
        "not ",
        "answer is ",
        " but ",
        "\n",
        "**a",
        "1,",
        "#### 1\n",
        "\\",
    ],
)
def test_extraction_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    committed_answer("Answer: " + unit * (400_000 // len(unit)) + " 7")
    assert time.process_time() - started < 3
