"""What sentences commit to, by kind. Every sentence is graded against each number that it mentions."""

import pytest

from sfpo.grading import grade_all

# The sentence and the one answer it commits to; None where it commits to none.
Sentence = tuple[str, str | None]

MENTIONS: list[Sentence] = [
    ("The answer is 7 rather than 8.", "7"),
    ("The smallest such number is 15, the next being 21.", "15"),
    ("The answer is 15, followed by 21.", "15"),
    ("The answer is 36 (that is, 6 squared).", "36"),
    ("Answer: 36, i.e. 6^2.", "36"),
    ("I first thought it was 40, but the answer is 42.", "42"),
    ("The answer is 25, compared with 24 last year.", "25"),
    ("Of the 12 candidates, 3 work.", "3"),
    ("Term number 5 is 17.", "17"),
    ("The 5th term is 17.", "17"),
    ("So with 3 coins there are 8 outcomes.", "8"),
    ("There are 8 outcomes with 3 coins.", "8"),
    ("There are 120 ways to seat 5 people.", "120"),
    ("There are 7 eggs in 4 boxes.", "7"),
    ("It follows that exactly 9 students play both.", "9"),
    ("Hence, altogether she baked a grand total of 72 cookies.", "72"),
    ("The answer lies between 11 and 13, so it is 12.", "12"),
    ("The answer is 9 (10 if zero is allowed).", "9"),
    ("I checked if 13 works, and the answer is 12.", "12"),
    ("The answer isn't 17, it's 18.", "18"),
    ("Answer: 12. Let me check if the answer is 13.", "12"),
    ("Suppose the answer is 12. Then 12 + 1 is odd. Therefore it is 13.", "13"),
]
OTHER_NUMBERS: list[Sentence] = [
    (f"The answer {predicate}.", None)
    for predicate in (
        "is a multiple of 12", "is coprime to 12", "has 12 digits", "ends in 12", "begins with 12", "contains a 12",
        "depends on 12", "exceeds 12", "differs from 12", "divides 12", "is off by 12", "is anything but 12", "is within 1 of 12",
        "is different from 12", "is one of 11, 12, 13", "is 11 to 12", "is between 11 and 12", "is about 11 or 12",
    )
]  # fmt: skip
DENIED: list[Sentence] = [
    ("I doubt that the answer is 12.", None),
    ("It is impossible that the answer is 12.", None),
    ("It is not true that the answer is 12.", None),
    ("The answer is unlikely to be 12.", None),
    ("The answer is wrong if it is 12.", None),
    ("Is the answer 12?", None),
    ("Therefore, x != 7.", None),
    ("La réponse n'est pas 12.", None),
    ("Die Antwort ist nicht 12.", None),
    ("The answer is 12. Wait, no.", None),
    ("The answer is 12, I mean 13.", None),
    ("The answer is 12 - no, 13.", None),
    ("The answer is 12, sorry, 13.", None),
    ("Answer: 12. Oops, this is wrong.", None),
]
CASES: list[Sentence] = [
    ("The answer is 12 if n is even and 13 if n is odd.", None),
    ("Answer: 12 for even n, 13 for odd n", None),
    ("Answer: 12 for even n; 13 otherwise", None),
    ("Answer: 12 if x is positive, else 13", None),
    ("Answer: 12 in the first case and 13 in the second", None),
    ("Answer: 18 (for n even), 19 (for n odd)", None),
    ("The answer is 18, alternatively 19", None),
    ("The answer is 18, give or take 1", None),
    ("Answer: first 18 then 19", None),
    ("The answer is 5 for n = 3.", "5"),
    ("The answer is 5 if n = 3, which holds.", "5"),
]
BOLD: list[Sentence] = [
    ("**7** or **8**", None),
    ("So either **7** or **8** works.", None),
    ("The answer is **7**, not **8**.", "7"),
    ("**Final answer:** 7", "7"),
    ("We get **7**, and **8** fails.", "7"),
]
BOXES: list[Sentence] = [
    (r"The answer is not \boxed{7}.", None),
    (r"It can't be \boxed{7}", None),
    (r"$\boxed{7}$ is wrong. The answer is 8.", None),
    (r"The answer is $\boxed{7}$, not $\boxed{8}$.", "7"),
    (r"The answer is not \boxed{6} but \boxed{7}.", "7"),
    (r"\boxed{7} is not a multiple of 3.", "7"),
    (r"It is not hard to see that it is \boxed{7}", "7"),
]
FORMS: list[Sentence] = [
    ("<answer>7</answer>", "7"),
    ("<answer>7 or 8</answer>", None),
    ("Answer: '7'", "7"),
    ("答案为12。", "12"),
    ("答えは12です。", "12"),
]
NUMBERS = [str(number) for number in range(3, 121)]


@pytest.mark.parametrize(
    "sentences",
    [MENTIONS, OTHER_NUMBERS, DENIED, CASES, BOLD, BOXES, FORMS],
    ids=["mentions", "other numbers", "denied", "cases", "bold", "boxes", "forms"],
)
def test_a_sentence_is_right_for_its_answer_and_for_no_other_number(sentences: list[Sentence]) -> None:
    pairs = [(number, text) for text, _ in sentences for number in NUMBERS if number in text]
    verdicts = grade_all(pairs)
    accepted = {(text, number) for (number, text), verdict in zip(pairs, verdicts, strict=True) if verdict.correct}
    assert accepted == {(text, answer) for text, answer in sentences if answer is not None}


OPTIONS = [
    ("Anything but C.", None),
    ("Answer: non-C", None),
    ("Answer: C or none of the above", None),
    ("C is wrong, so D.", "D"),
    ("Eliminating A and B, we are left with C.", "C"),
    ("Answer: C, not D", "C"),
    ("Answer: C. Both A and D are false.", "C"),
    ("Answer: `C`", "C"),
    ("Answer: C/D", None),
    ("Answer: C & D", None),
]


@pytest.mark.parametrize(("text", "answer"), OPTIONS)
def test_a_sentence_chooses_one_option(text: str, answer: str | None) -> None:
    verdicts = grade_all([(letter, text) for letter in "ABCD"])
    assert [letter for letter, verdict in zip("ABCD", verdicts, strict=True) if verdict.correct] == (
        [answer] if answer else []
    )
