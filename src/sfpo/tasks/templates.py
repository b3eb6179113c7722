"""Turn a problem into a prompt with the instructions that common data sets use.

`auto` keeps the instruction that a data set ships with its problems, and adds the boxed one where there is none.
"""

from sfpo.errors import UsageError
from sfpo.nearest import unknown

# The texts before and after the problem.
TEMPLATES: dict[str, tuple[str, str]] = {
    "boxed": ("", "\nPlease reason step by step, and put your final answer within \\boxed{}."),
    "dapo": (
        "Solve the following math problem step by step. The last line of your response should be of the form "
        "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n",
        '\n\nRemember to put your answer on its own line after "Answer:".',
    ),
    "plain": ("", ""),
}

# Further instructions to recognise in shipped prompts; the text that joins them to the problem varies.
_OTHERS = ("Let's think step by step and output the final answer within \\boxed{}.",)


def check_template(name: str, *, auto: bool = True) -> None:
    """Raise UsageError for an unknown name."""
    known = [*(["auto"] if auto else []), *TEMPLATES]
    if name not in known:
        raise UsageError(unknown("prompt template", name, known))


def bare_problem(prompt: str) -> str:
    """The problem in a prompt, without the known instruction around it."""
    text = prompt.strip()
    for before, after in TEMPLATES.values():
        before, after = before.strip(), after.strip()
        if before and text.startswith(before):
            text = text.removeprefix(before).lstrip()
        if after and text.endswith(after):
            text = text.removesuffix(after).rstrip()
    for after in _OTHERS:
        text = text.removesuffix(after).rstrip()
    return text


def as_prompt(problem: str, template: str, shipped: str | None = None) -> str:
    """The prompt for a bare problem; `auto` uses `shipped`, the data set's own prompt."""
    if template == "auto":
        if shipped is not None and shipped.strip() != problem:
            return shipped
        template = "boxed"
    before, after = TEMPLATES[template]
    return f"{before}{problem}{after}"
