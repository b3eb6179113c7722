"""Which texts count as the same problem, and which do not."""

import pytest

from sfpo.tasks.problem_text import normalised

SAME = [
    ("what is 3 + 1 ?", "What is $3+1$?"),
    ("Find $x$.", "Find x"),
    ("Find \\(x\\)", "Find $$x$$"),
    ("Find\n\n  $x + 1$", "Find \\[x+1\\]."),
    ("$\\dfrac{1}{2}$", "$\\frac12$"),
    ("$\\tfrac ab$", "$a \\over b$"),
    ("${n \\choose k}$", "$\\binom{n}{k}$"),
    ("$\\sqrt 2$", "$\\sqrt{2}$"),
    ("$\\left(\\frac{1}{2}\\right)$", "$(\\frac{1}{2})$"),
    ("$\\bigl\\{1, 2\\bigr\\}$", "$\\{1,2\\}$"),
    ("$\\left. x \\right|_0$", "$x|_{0}$"),
    ("$x\\,\\leq\\;1$", "$x\\le 1$"),
    ("$x \\leqslant 1$", "x ≤ 1"),
    ("$a\\neq b$", "a ≠ b"),
    ("$2\\cdot3$", "2·3"),
    ("$x^2$", "$x^{2}$"),
    ("$x^{10}_{12}$", "x¹⁰₁₂"),
    ("${(1+x)}^2$", "$(1+x)^2$"),
    ("$n^{}_{}$", "$n$"),
    ("$x_{\\text{max}}$", "$x_{\\mathrm{max}}$"),
    ("$f'(x)$", "$f^{\\prime}(x)$"),
    ("$90^\\circ$", "90°"),
    ("$90^{\\circ}$", "90º"),
    ("$2\\frac12$", "2½"),
    ("$x \\in \\mathbb R$", "$x \\in \\mathbb{R}$"),
    ("$x \\in ℝ$", "$x \\in \\mathbb{R}$"),
    ("$\\alpha+\\beta$", "α + β"),
    ("$\\sum\\limits_{k=1}^{n} k$", "$\\displaystyle\\sum_{k=1}^n k$"),
    ("$1,000$ apples", "1000 apples"),
    ("$1{,}000{,}000$", "$1,000,000$"),
    ("$10\\,000$", "$10,\\!000$"),
    ("$1, 2, \\ldots, n$", "1, 2, . . . , n"),
    ("$1+2+\\dots+n$", "$1+2+\\cdots+n$"),
    ("For $x,$ find $y.$", "For $x$, find $y$."),
    ("integers $a$, $b$, and $c$", "integers $a, b$ and $c$"),
    ("inside $ABCD$, a distance 2 away", "inside $ABCD$ a distance 2 away"),
    ("Theorem~1 and $x~y$", "Theorem 1 and $xy$"),
    ("a two-digit number", "a two digit number"),
    ('the word "ABC"', "the word ``ABC''"),
    ("the word “ABC”", "the word ABC"),
    ("The sum is ____.", "The sum is $\\qquad$."),
    ("The sum is \\_\\_\\_\\_", "The sum is"),
    ("$\\overline{r_1}$", "$\\overline{r}_1$"),
    ("\\begin{align*}x&=1,\\\\y&=2\\end{align*}", "\\begin{align}x&=1\\\\[4pt] y&=2.\\end{align}"),
    (
        "\\begin{align}x&=1,\\ \\text{and}\\\\y&=2\\end{align}",
        "$$\\begin{align}x&=1, \\text{and}\\\\y&=2\\end{align}$$",
    ),
    ("求 $n$ 的最小可能值。", "求 n 的最小可能值."),
    ("ﬁnd the value", "Find the value"),
    ("find\u200b the\u00a0value", "find the value"),
    ("Ｆｉｎｄ　ｘ＝１", "find x=1"),
]

DIFFERENT = [
    # grouping
    ("(2+3)·4", "2+(3·4)"),
    ("$(2+3)\\cdot 4$", "$2+3\\cdot 4$"),
    ("$2(x+1)$", "$2x+1$"),
    ("$-(a-b)$", "$-a-b$"),
    # what a command extends over
    ("$\\sqrt{x+1}=3$", "$\\sqrt{x}+1=3$"),
    ("$\\sqrt[3]{x}$", "$3\\sqrt{x}$"),
    ("$\\sqrt[3]{x}$", "$\\sqrt{3x}$"),
    ("$\\frac{1}{23}$", "$\\frac{12}{3}$"),
    ("$\\frac12 3$", "$\\frac{1}{23}$"),
    ("${a+1 \\over b}$", "$a+{1 \\over b}$"),
    ("$a \\over b$ + c", "$a \\over b + c$"),
    ("$\\binom{1}{23}$", "$\\binom{12}{3}$"),
    ("$\\overline{AB}+C$", "$\\overline{AB+C}$"),
    ("$\\overline{x^2}$", "$\\overline{x}^2$"),
    ("$0.\\overline{3}$", "$0.3$"),
    ("$0.1\\overline{23}$", "$0.\\overline{123}$"),
    ("$\\overline{ab}$", "$ab$"),
    ("$\\vec{a}$", "$a$"),
    # scripts
    ("$2^{n+1}$", "$2^n+1$"),
    ("$x^{2y}$", "$x^2y$"),
    ("$2^{10}$", "$2\\cdot10$"),
    ("$a_{n+1}$", "$a_n+1$"),
    ("$x_{12}$", "$x_1 2$"),
    ("$x^2$", "$x_2$"),
    ("$x²$", "$x2$"),
    ("$\\log_2 8$", "$\\log_{28}$"),
    ("$f^{(2)}$", "$f^2$"),
    # the kind of bracket
    ("$[1,5]$", "$(1,5)$"),
    ("$(1,5]$", "$[1,5)$"),
    ("$\\{1,5\\}$", "$(1,5)$"),
    ("$|x|$", "$x$"),
    ("$\\lfloor x\\rfloor$", "$\\lceil x\\rceil$"),
    ("$\\|x\\|$", "$|x|$"),
    ("$\\langle a,b\\rangle$", "$(a,b)$"),
    # marks
    ("Find $5!$", "Find $5$"),
    ("Find 5!.", "Find 5."),
    ("Find $n!!$", "Find $n!$"),
    ("$f'(x)$", "$f(x)$"),
    ("$f''(x)$", "$f'(x)$"),
    ("$5--3$", "$5-3$"),
    ("$\\pm 3$", "$3$"),
    ("~p", "p"),
    ("$50\\%$", "$50$"),
    ("$90^\\circ$", "$90$"),
    ("$2*3$", "$23$"),
    ("$1:2$", "$12$"),
    ("$1?2?3$", "$123$"),
    ("5 ____ 3 = 8", "53 = 8"),
    ("Complete ____ + 3 = 8", "Complete + 3 = 8"),
    ("{x} + x", "x + x"),
    ("the set {5}", "the set 5"),
    ("the set {1, 2}", "the set 1, 2"),
    # points and commas
    ("Find 1.5", "Find 15"),
    ("Find 1.5", "Find 1,5"),
    ("$1,5$", "$15$"),
    ("$f(x,y)$", "$f(xy)$"),
    ("$(1,234)$", "$(1234)$"),
    ("$\\{1,234\\}$", "$\\{1234\\}$"),
    ("$a_{1,200}$", "$a_{1200}$"),
    ("$a, b$", "$ab$"),
    ("Find a, b", "Find ab"),
    ("Find a.b", "Find ab"),
    ("$1 1/2$", "$11/2$"),
    ("the digits 1 2", "the digits 12"),
    ("$1+2+\\dots+n$", "$1+2+n$"),
    # names and signs
    ("Find $a$ in triangle $ABC$", "Find $A$ in triangle $ABC$"),
    ("$AB$", "$ab$"),
    ("$x < 1$", "$x \\le 1$"),
    ("$x+1$", "$x-1$"),
    ("$a\\cdot b$", "$a\\times b$"),
    ("$\\mathbb{R}$", "$R$"),
    ("$\\sin x$", "$\\cos x$"),
    ("$A \\cup B$", "$A \\cap B$"),
    ("$\\begin{pmatrix}1\\\\2\\end{pmatrix}$", "$\\begin{pmatrix}1&2\\end{pmatrix}$"),
    ("$\\begin{pmatrix}1&2\\end{pmatrix}$", "$\\begin{vmatrix}1&2\\end{vmatrix}$"),
    ("the ① card", "the 1 card"),
    ("½", "1 2"),
    ("____", "?"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_layout_does_not_tell_problems_apart(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_changes_the_meaning_does(one, other):
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize("text", ["{" * 20_000 + "x", "\\sqrt" * 20_000, "$" * 9_999, "\\", "}{^_", "\\frac", "x^"])
def test_any_text_has_a_form(text):
    assert normalised(text)


def test_long_lists_take_time_in_proportion():
    assert normalised(", ".join(["100"] * 50_000)).count("100") == 50_000
    assert normalised("1" + ",100" * 50_000).count("100") == 50_000
