"""How α was decided in a run, above all by the entropy gate, from the run's records."""

from dataclasses import dataclass

from sfpo.records.rows import Row
from sfpo.report import region
from sfpo.report.folder import Run, column
from sfpo.report.region import has_region
from sfpo.report.wording import counted
from sfpo.settings import SlowFastSettings


def has_gate(run: Run) -> bool:
    """Whether a gate decided α, open or not."""
    return any("sfpo/gate_closed" in row or "sfpo/z" in row for row in run.steps)


@dataclass(frozen=True)
class Band:
    """The entropies that the gate allows: within τ standard deviations of the mean of the last `window` steps."""

    tau: float
    is_two_sided: bool
    window: int

    @property
    def text(self) -> str:
        """The band in words, as an interval of Z."""
        return f"the band of ±{self.tau:g}" if self.is_two_sided else f"what τ = {self.tau:g} allows"


def band(run: Run) -> Band:
    """The band of a run's gate; a setting that is not a number is replaced by its default."""
    (tau,), (window,) = (column([run.settings], name) for name in ("entropy_threshold", "entropy_window"))
    return Band(
        SlowFastSettings.entropy_threshold if tau is None else tau,
        run.settings["gate_sides"] == "two",
        SlowFastSettings.entropy_window if window is None else int(window),
    )


def closed_steps(run: Run) -> list[int]:
    """Steps whose α the gate set to 0."""
    return [row["step"] for row in run.steps if _is_closed(row)] if has_gate(run) else []


def _is_closed(row: Row) -> bool:
    closed, alpha, share = (column([row], f"sfpo/{name}")[0] for name in ("gate_closed", "alpha", "active_share"))
    # A comparison's own records have only α, which is also 0 with a KL budget if all completions have zero advantage.
    return closed == 1.0 if closed is not None else alpha == 0.0 and share != 0.0


def closed_ranges(run: Run) -> list[tuple[float, float]]:
    """The `closed_steps` as ranges of consecutive log rows, each widened by half a step on both sides."""
    closed = set(closed_steps(run))
    ranges: list[tuple[float, float]] = []
    previous_closed = False
    for row in run.steps:
        step = row["step"]
        if step in closed:
            start = ranges.pop()[0] if previous_closed else step - 0.5
            ranges.append((start, step + 0.5))
        previous_closed = step in closed
    return ranges


def what_happened(run: Run) -> str:
    """One or two sentences for a reader."""
    alphas = [alpha for alpha in column(run.steps, "sfpo/alpha") if alpha is not None]
    if not alphas:
        return "This run recorded no α."
    count, opened = len(run.steps), max(alphas)
    if has_region(run):
        return " ".join(
            [
                *([_how_often(len(closed_steps(run)))] if has_gate(run) else []),
                region.what_happened(run),
            ]
        )
    # GXPO makes a plain step where there is no gradient.
    idle = sum(alpha == 0.0 for alpha in alphas) - len(closed_steps(run))
    everywhere = f"α was {opened:g} in all {count:,} steps"
    if idle and opened:
        everywhere += f" but {idle:,}, in which no completion had an advantage"
    if not has_gate(run):
        if opened == 0.0:
            return f"Plain GRPO: {everywhere}, and there is no gate."
        return f"No gate acted: {everywhere}."
    closed = closed_steps(run)
    allowed = band(run)
    if not closed:
        if not any("sfpo/z" in row for row in run.steps):
            return f"The gate's window of {allowed.window} was never full: {everywhere}."
        return f"The gate stayed open: Z never left {allowed.text}, and {everywhere}."
    first = next(row for row in run.steps if row["step"] == closed[0])
    z = column([first], "sfpo/z")[0]
    at = f"at step {closed[0]:,}" + ("" if z is None else f", where Z was {z:.2f}".replace("-", "−"))
    ranges = [_spell(low + 0.5, high - 0.5) for low, high in closed_ranges(run)]
    shown = ", ".join(ranges[:8]) + (f" and {len(ranges) - 8} more ranges" if len(ranges) > 8 else "")
    return f"α went to 0 {at}. Plain GRPO in {len(closed):,} of {count:,} steps: {shown}."


def _how_often(closed: int) -> str:
    return f"The entropy gate closed in {counted(closed, 'step')}." if closed else "The entropy gate never closed."


def _spell(first: float, last: float) -> str:
    return f"{first:.0f}" if first == last else f"{first:.0f}–{last:.0f}"
