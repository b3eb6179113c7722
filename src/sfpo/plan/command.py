"""`sfpo plan`: turn arguments into tables or JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sfpo.methods import GXPO
from sfpo.plan import calibration, hardware, memory, seconds
from sfpo.plan.calibration import Check
from sfpo.plan.hardware import Efficiency
from sfpo.plan.memory import Memory
from sfpo.plan.options import Options, parse
from sfpo.plan.reduction import Reduction, reductions
from sfpo.plan.seconds import StepSeconds

# The K whose step ratios are shown where no rollout reduction is known.
_USUAL_K = (1, 3, 5, 7)


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo plan`; returns the exit code.

    Raises:
        UsageError: a problem that the user can fix.
    """
    options = parse(arguments)
    console = Console()
    efficiency = _efficiency(options)
    work = options.work
    bytes_ = memory.estimate(options.architecture, work, options.device)
    step = seconds.estimate(options.architecture, work, options.device, efficiency)
    by_k = reductions(step, options.rollout_reductions)
    checks = [
        calibration.check(options.architecture, calibration.read_run(folder), options.device, efficiency)
        for folder in options.checks
    ]
    if options.as_json:
        console.print_json(json.dumps(_as_json(options, efficiency, bytes_, step, by_k, checks)))
        return 0
    lengths = (
        f"{work.prompt_length:g} + {work.completion_length:g} tokens, longest completion {work.longest_completion:g}"
    )
    console.print(
        f"[bold]{escape(options.model)}[/], {options.architecture.weights:,} weights · {work.devices} × {options.hardware}, "
        f"{work.engine} · {work.rollouts:,} rollouts of {lengths}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_assumption(options), markup=False, highlight=False, soft_wrap=True)
    console.print(_memory_table(bytes_, options))
    if bytes_.peak > options.device.memory and not options.device.is_cpu:
        console.print(
            f"[red]Does not fit[/] in {_size(options.device.memory)}: use smaller micro-batches, gradient checkpointing, "
            "a sharded engine or more devices",
            highlight=False,
            soft_wrap=True,
        )
    console.print(_seconds_table(step, options))
    if options.method != GXPO:
        console.print(_reduction_table(by_k) if by_k else _ratio_table(step))
    if by_k:
        console.print(f"Least wall-clock time: K = {by_k[0].inner_steps}", highlight=False)
    if checks:
        console.print(_check_table(checks))
    return 0


def _efficiency(options: Options) -> Efficiency:
    if options.measured is not None:
        return calibration.calibrate(options.architecture, options.measured, options.device)
    return hardware.CPU_MEASURED if options.device.is_cpu else hardware.ASSUMED


def _assumption(options: Options) -> str:
    if options.measured is not None:
        return f"Calibrated with {options.measured.folder}"
    if options.device.is_cpu:
        return (
            "Efficiencies measured with the embedded model on one core; for another model or machine, calibrate with "
            "--from and the folder of a short run"
        )
    return "Efficiencies are assumed, not measured: calibrate with --from and the folder of a short run"


def _memory_table(bytes_: Memory, options: Options) -> Table:
    table = _table("Memory per device", "", "GPU or CPU", "host")
    for name in ("weights", "masters", "gradients", "moments", "activations", "cache"):
        table.add_row(_LABELS[name], _size(getattr(bytes_, name)), "")
    copies = {1: "θ_0, SFPO's copy", 2: "θ_0 and g_0, GXPO's copies", 4: "θ_0, g_0 and moments, GXPO's copies"}
    table.add_row(copies[options.work.copies], "", _size(bytes_.snapshot))
    table.add_row("[bold]peak[/]", f"[bold]{_size(bytes_.peak)}[/]", "", end_section=True)
    return table


_LABELS = {
    "weights": "weights in the forward pass",
    "masters": "fp32 masters",
    "gradients": "gradients",
    "moments": "Adam's moments",
    "activations": "activations of one micro-batch",
    "cache": "keys and values, or vLLM's share",
}


def _seconds_table(step: StepSeconds, options: Options) -> Table:
    inner_steps, measured_passes = options.work.inner_steps, options.measured_passes
    table = _table("Seconds per step", "", "s")
    table.add_row("rollouts", _seconds(step.rollouts))
    if step.scoring:
        table.add_row("scoring π_old", _seconds(step.scoring))
    table.add_row("one pass", _seconds(step.a_pass))
    table.add_row("reposition", _seconds(step.reposition))
    table.add_row("GRPO's step", _seconds(step.grpo))
    if options.method == GXPO:
        table.add_row("GXPO's step, three passes whatever K", _seconds(step.sfpo(inner_steps)))
    else:
        table.add_row(f"SFPO's step, K = {inner_steps}", _seconds(step.sfpo(inner_steps)))
    table.add_row(f"{options.method.upper()} / GRPO", f"{step.ratio(inner_steps):.3f}")
    if measured_passes is not None:
        label = f"SFPO's step, {measured_passes:.2f} passes as in the run"
        table.add_row(label, _seconds(step.with_passes(measured_passes) + step.reposition))
    return table


def _ratio_table(step: StepSeconds) -> Table:
    table = _table("Rollout reduction at which time breaks even", "K", "rollout reduction")
    for k in _USUAL_K:
        table.add_row(str(k), f"{step.ratio(k):.2f}×")
    return table


def _reduction_table(by_k: list[Reduction]) -> Table:
    table = _table("Wall-clock, best first", "K", "rollout reduction", "SFPO / GRPO step", "time reduction")
    for r in by_k:
        table.add_row(str(r.inner_steps), f"{r.rollouts:.2f}×", f"{r.step_ratio:.3f}", f"{r.time:.2f}×")
    return table


def _check_table(checks: list[Check]) -> Table:
    table = _table("Predicted and measured seconds per step", "run", "passes", "predicted", "measured", "error")
    for c in checks:
        table.add_row(c.run, f"{c.passes:g}", _seconds(c.predicted), _seconds(c.measured), f"{c.error:+.0%}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table


def _as_json(
    options: Options,
    efficiency: Efficiency,
    bytes_: Memory,
    step: StepSeconds,
    by_k: list[Reduction],
    checks: list[Check],
) -> dict[str, Any]:
    k = options.work.inner_steps
    return {
        "model": options.model,
        "weights": options.architecture.weights,
        "method": options.method,
        "hardware": options.hardware,
        "workload": asdict(options.work) | {"rollouts": options.work.rollouts},
        "efficiency": asdict(efficiency),
        "calibrated_with": None if options.measured is None else str(options.measured.folder),
        "memory_bytes": asdict(bytes_) | {"peak": bytes_.peak},
        "fits": bytes_.peak <= options.device.memory,
        "seconds": asdict(step) | {"grpo": step.grpo, options.method: step.sfpo(k)},
        "step_ratio": step.ratio(k),
        "measured_passes": options.measured_passes,
        "wall_clock": [asdict(r) | {"time": r.time} for r in by_k],
        "best_inner_steps": by_k[0].inner_steps if by_k else None,
        "checks": [asdict(c) | {"predicted": c.predicted, "measured": c.measured, "error": c.error} for c in checks],
    }


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"
