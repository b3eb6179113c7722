"""How the trust region of a run chose α from a KL budget, from the run's records."""

from statistics import median

from sfpo.report.folder import Run, column
from sfpo.report.wording import counted


def has_region(run: Run) -> bool:
    """Whether a KL budget decided α, where a completion had an advantage and the gate was open."""
    return any("sfpo/active_share" in row or "sfpo/kl_budget" in row for row in run.steps)


def what_happened(run: Run) -> str:
    """A few sentences for a reader."""
    rows = [row for row in run.steps if "sfpo/kl_budget" in row]
    alphas = [alpha for alpha in column(rows, "sfpo/alpha") if alpha is not None]
    said = []
    if alphas:
        spread = f"{min(alphas):.2g} to {max(alphas):.2g}, median {median(alphas):.2g}"
        said.append(f"α followed the KL budget in {len(rows):,} of {len(run.steps):,} steps: {spread}.")
    shares = [
        reached / budget
        for reached, budget in zip(column(rows, "sfpo/kl_reached"), column(rows, "sfpo/kl_budget"), strict=True)
        if reached is not None and budget
    ]
    if shares:
        said.append(f"Before the slow pass the policy was at {median(shares):.0%} of the budget in the median step.")
    searches = sum(value or 0.0 for value in column(rows, "sfpo/line_search_steps"))
    if searches:
        said.append(f"The line search moved back {counted(round(searches), 'time')}.")
    idle = sum(share == 0.0 for share in column(run.steps, "sfpo/active_share"))
    if idle:
        were = "it was" if idle == 1 else "they were"
        said.append(f"In {counted(idle, 'step')} no completion had an advantage, and {were} plain GRPO.")
    return " ".join(said)
