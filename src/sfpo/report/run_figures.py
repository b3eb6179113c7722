"""The figures of one run."""

import re
from dataclasses import replace
from itertools import accumulate, islice

from sfpo.records.pass_at_k import wilson
from sfpo.records.rows import Row
from sfpo.report.ceiling import with_error
from sfpo.report.colors import DASHES, NEUTRAL, color_of, shades
from sfpo.report.figure import Axis, Curves, Estimate, Figure, Intervals, Level, Series, Values
from sfpo.report.folder import Run, column
from sfpo.report.gate import band, closed_ranges, has_gate
from sfpo.report.region import has_region
from sfpo.report.thinning import thinned

STEP = Axis("step", "integer")
ROLLOUTS = Axis("rollouts sampled", "integer")
SECONDS = Axis("time of rollouts and updates (s)")
ACCURACY = Axis("held-out accuracy (%)", "percent")
TOKENS = Axis("mean length (tokens)")
REWARD = Axis("mean reward")
NORM = Axis("gradient norm before clipping")
ENTROPY = Axis("entropy (nats per token)")
KL = Axis("KL (nats per token)")
STEP_SECONDS = Axis("time of a step (s)")
FEWEST_OF_A_CURVE = 3
"""Evaluations that are drawn as a curve; fewer say how it began and ended, not what it looks like."""
_MOST_PASSES, _MOST_BENCHMARKS, _MOST_SHADES = 64, 20, 1_000
_KL_OF_A_PASS = re.compile(r"sfpo/pass_(\d{1,3})/kl")

# The figures that have one line for every pass: name, title, axis, caption.
_OF_PASSES = (
    ("ratio_mean", "Mean importance ratio", Axis("mean ratio to the sampling policy"), "How far each pass has moved on average: 1 is the sampling policy."),
    ("ratio_max", "Largest importance ratio", Axis("largest ratio of a token"), "The one token that moved furthest."),
    ("kl", "KL from the sampling policy", KL, "Estimated on the step's own rollouts."),
    ("clip_fraction", "Clipped tokens", Axis("tokens clipped (%)", "percent"), "Tokens beyond the clipping range, which add nothing to the gradient."),
    ("grad_norm", "Gradient norm of each pass", NORM, "Mean over the pass's mini-batches."),
)  # fmt: skip


def evaluated(run: Run) -> list[Row]:
    """The evaluations on held-out problems that have an accuracy."""
    return [row for row in run.evaluations if row.get("problems", 0) >= 1 and 0 <= row.get("accuracy", -1) <= 1]


def interval_of(row: Row) -> tuple[float, float, float]:
    """Accuracy of an evaluation that asked each problem once, with its 95 % interval over problems."""
    estimate = wilson(row["accuracy"], row["problems"])
    return row["accuracy"], estimate.low, estimate.high


def results(run: Run, most: int) -> list[Figure]:
    """What was learned: accuracy on held-out problems and benchmarks, or the reward where few evaluations were made."""
    figures: list[Figure] = []
    spent = run.spent
    known = thinned([row for row in evaluated(run) if row["step"] in spent], most)
    if len(known) < FEWEST_OF_A_CURVE:
        figures += [*_reward_by_rollouts(run, most), *_before_and_after(known, run)]
    else:
        estimates = [interval_of(row) for row in known]
        problems = known[-1]["problems"]
        caption = (
            f"{problems:,} held-out problems, one sampled answer each. Band: 95 % interval over problems; it is for one seed "
            "and says nothing about other seeds."
        )
        for index, axis, by in ((0, ROLLOUTS, "rollouts"), (1, SECONDS, "seconds")):
            accuracy = Series(
                "held-out accuracy",
                [spent[row["step"]][index] for row in known],
                [value for value, _, _ in estimates],
                color_of(run.method),
                [low for _, low, _ in estimates],
                [high for _, _, high in estimates],
            )
            figure = Curves(f"accuracy_by_{by}", f"Accuracy against {by}", caption, axis, ACCURACY, [accuracy])
            figures.append(with_error(figure, problems))
    of_benchmark: dict[str, list[Row]] = {}
    for row in run.benchmarks:
        of_benchmark.setdefault(str(row.get("benchmark")), []).append(row)
    of_benchmark = {name: thinned(rows, most) for name, rows in islice(of_benchmark.items(), _MOST_BENCHMARKS)}
    if of_benchmark:
        series = [
            Series(
                name,
                column(rows, "step"),
                column(rows, "pass@1"),
                color,
                column(rows, "pass@1_low"),
                column(rows, "pass@1_high"),
                dash=DASHES[index % len(DASHES)],
            )
            for index, ((name, rows), color) in enumerate(
                zip(of_benchmark.items(), shades(run.method, len(of_benchmark)), strict=True)
            )
        ]
        caption = "Band: 95 % interval over problems."
        axis = Axis("pass@1 (%)", "percent")
        figures.append(Curves("benchmarks", "Benchmarks", caption, STEP, axis, series))
    return figures


def _reward_by_rollouts(run: Run, most: int) -> list[Figure]:
    """The reward of every step, and its running mean where there are enough steps for one."""
    rows = [row for row in run.steps if "reward" in row]
    if len(rows) < FEWEST_OF_A_CURVE:
        return []
    window = max(1, len(rows) // 10)
    rewards = [float(row["reward"]) for row in rows]
    smooth = running_mean(rewards, window)
    spent = run.spent
    drawn = thinned(list(zip([spent[row["step"]][0] for row in rows], rewards, smooth, strict=True)), most)
    rollouts: Values = [at for at, _, _ in drawn]
    each: Values = [reward for _, reward, _ in drawn]
    mean: Values = [value for _, _, value in drawn]
    series = [Series("each step", rollouts, each, NEUTRAL, style="points")]
    caption = "Mean over a step's rollouts."
    if window > 1:
        series.append(Series(f"mean of {window} steps", rollouts, mean, color_of(run.method)))
    else:
        series = [replace(series[0], style="line", color=color_of(run.method))]
    caption += " To see the accuracy on held-out problems grow, set --eval_every."
    return [Curves("reward_by_rollouts", "Reward against rollouts", caption, ROLLOUTS, REWARD, series)]


def _before_and_after(known: list[Row], run: Run) -> list[Figure]:
    """The held-out accuracy of the first evaluation and of the last."""
    if not known:
        return []
    rows = []
    for row in known:
        value, low, high = interval_of(row)
        label = "before training" if row["step"] == 0 else f"after step {row['step']:,}"
        text = f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        rows.append(Estimate(label, value, low, high, text, color_of(run.method) if row["step"] else NEUTRAL))
    caption = (
        f"{known[-1]['problems']:,} held-out problems, one sampled answer each; 95 % intervals over problems. The dashed line "
        "is the first evaluation."
    )
    title = "Held-out accuracy before and after"
    return [Intervals("accuracy", title, caption, ACCURACY, rows, known[0]["accuracy"])]


def running_mean(values: list[float], window: int) -> list[float]:
    """Each value averaged with its neighbours, `window` in all, fewer at the ends."""
    sums = [0.0, *accumulate(values)]
    before, after = (window - 1) // 2, window // 2
    means = []
    for index in range(len(values)):
        start, end = max(0, index - before), min(len(values), index + after + 1)
        means.append((sums[end] - sums[start]) / (end - start))
    return means


def training(run: Run, most: int) -> list[Figure]:
    """Rewards, response lengths, gradient norms and seconds of at most `most` steps."""
    rows = thinned(run.steps, most)
    steps, color = column(rows, "step"), color_of(run.method)
    held = thinned(run.evaluations, most)
    sampled = Series("rollouts", steps, column(rows, "completions/mean_length"), color)
    held_out = Series(
        "held-out problems",
        column(held, "step"),
        column(held, "mean_length"),
        NEUTRAL,
        style="points",
    )
    return _with_data(
        [
            _line("reward", "Reward", "Mean over a step's rollouts.", REWARD, rows, "reward", run),
            Curves("length", "Response length", "Mean length of a response.", STEP, TOKENS, [sampled, held_out]),
            _line(
                "cut_off",
                "Responses cut off",
                "Rollouts that reached the maximum length.",
                Axis("rollouts cut off (%)", "percent"),
                rows,
                "completions/clipped_ratio",
                run,
            ),
            _line("grad_norm", "Gradient norm", "In a step's first pass.", NORM, rows, "grad_norm", run),
            _time(rows, run),
        ]
    )


def gate(run: Run, most: int) -> list[Figure]:
    """The entropy, the gate's band around it, Z, and α."""
    rows = thinned(run.steps, most)
    steps, color = column(rows, "step"), color_of(run.method)
    shaded = closed_ranges(run)[:_MOST_SHADES]
    label = "α = 0: plain GRPO"
    allowed = band(run)
    tau, two_sided = allowed.tau, allowed.is_two_sided
    mean, std = column(rows, "sfpo/entropy_mean"), column(rows, "sfpo/entropy_std")
    low, high = (
        [None if m is None or s is None else m + sign * tau * s for m, s in zip(mean, std, strict=True)]
        for sign in (-1, 1)
    )
    entropy = [Series("entropy of the sampling policy", steps, column(rows, "sfpo/entropy"), color)]
    caption = "Mean over a step's completion tokens."
    if any(value is not None for value in mean):
        # One-sided: the gate does not act below the mean.
        lower = low if two_sided else mean
        entropy.append(Series("the gate's band", steps, mean, NEUTRAL, lower, high, dash=(4, 3)))
        caption += (
            f" Band: mean of the last {allowed.window} steps {'±' if two_sided else '+'} {tau:g} standard deviations."
        )
    levels = [Level(tau, f"τ = {tau:g}"), *([Level(-tau, f"−{tau:g}")] if two_sided else [])]
    z = [Series("Z", steps, column(rows, "sfpo/z"), color)]
    alpha = [Series("α", steps, column(rows, "sfpo/alpha"), color, style="step")]
    figures = [Curves("entropy", "Entropy", caption, STEP, ENTROPY, entropy, [], shaded, label)]
    # Plain GRPO has an α of 0 in every step.
    if any(column(run.steps, "sfpo/alpha")):
        caption = "0 makes the step plain GRPO." + (
            " Above 1 the trajectory is extrapolated." if has_region(run) else ""
        )
        figures.append(Curves("alpha", "α", caption, STEP, Axis("α"), alpha, [], shaded, label))
    figures.append(_kl(rows, run, shaded, label))
    if has_gate(run):
        caption = f"The gate closes where {'|Z|' if two_sided else 'Z'} reaches τ."
        axis = Axis("Z (standard deviations)")
        figures.append(Curves("z", "Z of the entropy", caption, STEP, axis, z, levels, shaded, label))
    return _with_data(figures)


def _kl(rows: list[Row], run: Run, shaded: list[tuple[float, float]], label: str) -> Curves:
    """How far a step's last pass starts from the policy that sampled, and the budget if there is one."""
    steps, color = column(rows, "step"), color_of(run.method)
    if has_region(run):
        kl = [
            Series("reached before the slow pass", steps, column(rows, "sfpo/kl_reached"), color),
            Series(
                "predicted at the trajectory's end", steps, column(rows, "sfpo/kl_predicted"), NEUTRAL, dash=(1, 3)
            ),
            Series("budget", steps, column(rows, "sfpo/kl_budget"), NEUTRAL, style="step", dash=(4, 3)),
        ]
        caption = "KL to the policy that sampled, over the completions that have an advantage. The budget shrinks with their share."
        return Curves("kl", "KL and its budget", caption, STEP, KL, kl, [], shaded, label)
    kl = [Series("KL", steps, [kl_of(row) for row in rows], color)]
    caption = "KL to the policy that sampled, at the start of the step's last pass."
    return Curves("kl", "KL", caption, STEP, KL, kl, [], shaded, label)


def kl_of(row: Row) -> float | None:
    """The KL that a step reached before its last pass; None for a step of one pass."""
    if "sfpo/kl_reached" in row:
        return column([row], "sfpo/kl_reached")[0]
    last = max(_passes_in(row), default=0)
    return column([row], f"sfpo/pass_{last}/kl")[0] if last else None


def _passes_in(row: Row) -> set[int]:
    return {int(found[1]) for key in row if key.endswith("/kl") and (found := _KL_OF_A_PASS.fullmatch(key))}


def passes(run: Run, most: int) -> list[Figure]:
    """How far the passes within a step move, for at most `most` steps; no figures if no pass leaves its start."""
    count, first_moves = passes_of(run), moves_in_pass_0(run)
    if count < 2 and not first_moves:
        return []
    rows = thinned(run.steps, most)
    steps = column(rows, "step")
    colors = shades("", count - 1)
    figures = []
    for key, title, axis, caption in _OF_PASSES:
        series = [
            Series(
                f"pass {index}{' (slow)' if is_slow(run, index) else ''}",
                steps,
                column(rows, f"sfpo/pass_{index}/{key}"),
                color_of(run.method) if index == count - 1 else colors[index],
                dash=DASHES[(count - 1 - index) % len(DASHES)],
            )
            # If pass 0 stays at the sampling policy, its gradient norm is its only value that is not known beforehand.
            for index in range(0 if first_moves or key == "grad_norm" else 1, count)
        ]
        figures.append(Curves(f"pass_{key}", title, caption, STEP, axis, series))
    return _with_data(figures)


def passes_of(run: Run) -> int:
    """The largest number of passes that a step of the run made, up to a limit."""
    return min(_MOST_PASSES, 1 + max((index for row in run.steps for index in _passes_in(row)), default=-1))


def moves_in_pass_0(run: Run) -> bool:
    """Whether pass 0 has several mini-batches, so that the later ones start at a distance from the sampling policy."""
    return any(kl for kl in column(run.steps, "sfpo/pass_0/kl"))


def is_slow(run: Run, index: int) -> bool:
    """Whether a pass is the slow correction."""
    if run.method == "gxpo":
        return index == 2
    # If a KL budget ends trajectories early, the slow correction is not always the same pass.
    return run.method == "sfpo" and run.settings.get("inner_steps") == index and not has_region(run)


def _line(name: str, title: str, caption: str, axis: Axis, rows: list[Row], key: str, run: Run) -> Curves:
    series = Series(axis.label, column(rows, "step"), column(rows, key), color_of(run.method))
    return Curves(name, title, caption, STEP, axis, [series])


def _time(rows: list[Row], run: Run) -> Curves:
    steps = column(rows, "step")
    rollout, update = column(rows, "sfpo/rollout_seconds"), column(rows, "sfpo/update_seconds")
    total: Values = [None if a is None or b is None else a + b for a, b in zip(rollout, update, strict=True)]
    zero: Values = [None if value is None else 0.0 for value in rollout]
    series = [
        Series("update", steps, update, color_of(run.method), rollout, total, style="area"),
        Series("rollouts", steps, rollout, NEUTRAL, zero, rollout, style="area"),
    ]
    caption = "Without evaluations."
    return Curves("time", "Time of a step", caption, STEP, STEP_SECONDS, series)


def _with_data(figures: list[Curves]) -> list[Figure]:
    """Only the figures and series that have recorded values."""
    kept = [(figure, [one for one in figure.series if any(y is not None for y in one.y)]) for figure in figures]
    return [replace(figure, series=series) for figure, series in kept if series]
