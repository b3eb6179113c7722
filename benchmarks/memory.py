"""Peak memory of one SFPO step compared with GRPO's, and where the extra bytes come from.

Each variant has its own process, with the same precision, threads and memory settings:

- grpo: stock `trl.GRPOTrainer`, one pass.
- sfpo, bare: the slow-fast update on TRL's own sampling and scoring, so that it adds only the copy of the weights.
- sfpo: all of it, with its defaults. If training is in bf16 on a CPU, its sampler keeps a bf16 copy of the weights; its
  compact passes need less memory for activations.
- authors' scheme: the same bare step, but holding what the released code holds: a full copy of the start, a full copy of
  the end of the trajectory, and a temporary per parameter that is never freed. This is our reimplementation of their
  scheme.

The first step is not measured, so that the optimizer's state exists. One step measures the peak of resident memory (VmHWM,
reset before the step where the kernel permits), which includes the libraries and the allocator's fragments. One more step
measures the peak of bytes allocated for tensors above those held when the step began, from torch's own allocator events; it
ignores freeing of memory that was held before, for all variants. "Extra" is that peak plus the bytes held between steps,
minus GRPO's.

Goals, to the hundredth of a copy: at most one copy of the weights more than GRPO at the peak, bare and with the defaults,
and the copy itself no larger than the weights. On an accelerator, with the copy on the host, the bare step adds nothing to
GRPO's peak in the device's allocator; a machine without an accelerator reports this goal as not measured.

    python benchmarks/memory.py --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import CONSOLE, EMBEDDED, Goal, Requests, Worker, model_name, parser, print_goals, save, shown, spread
from rich.table import Table

BARE = {"compact_passes": False, "compact_rollouts": False}
VARIANTS: dict[str, dict[str, Any]] = {"grpo": {}, "sfpo, bare": BARE, "sfpo": {}, "authors' scheme": BARE}


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--model", help="a second model besides the embedded one, such as a .gguf file")
    arguments = options.parse_args()
    if arguments.worker is not None:
        return work(**arguments.worker)
    rounds = 1 if arguments.quick else arguments.rounds
    cells: list[dict[str, Any]] = []
    goals: list[Goal] = []
    for model in [EMBEDDED, arguments.model] if arguments.model else [EMBEDDED]:
        cell = measure(model, sizes(model, arguments.quick), rounds)
        print_table(cell)
        cells.append(cell)
        goals += judge(cell)
        save("memory", arguments.quick, {"rounds": rounds, "K": 3}, goals, cells=cells)
    print_goals(goals)


def sizes(model: str, quick: bool) -> dict[str, int]:
    if quick:
        return {"prompts": 4, "group": 4, "prompt_tokens": 6, "completion_tokens": 6}
    if model == EMBEDDED:
        return {"prompts": 16, "group": 8, "prompt_tokens": 20, "completion_tokens": 20}
    return {"prompts": 4, "group": 4, "prompt_tokens": 50, "completion_tokens": 50}


def measure(model: str, size: dict[str, int], rounds: int) -> dict[str, Any]:
    """Run the variants one after another, because each needs a whole model's memory."""
    variants: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        worker = Worker({"model": model, "variant": variant, "size": size})
        try:
            worker.ask()  # this creates the optimizer's state
            resident = [worker.ask() for _ in range(rounds)]
            allocated = worker.ask(allocations=True)
        finally:
            worker.close()
        variants[variant] = {
            "facts": worker.facts,
            "tensor_peak_bytes": allocated["tensor_peak_bytes"],
            "snapshot_bytes": resident[-1]["snapshot_bytes"],
            "device_peak_bytes": resident[-1]["device_peak_bytes"],
            "held_bytes": resident[-1]["held_bytes"],
            "peak_was_reset": all(answer["peak_was_reset"] for answer in resident),
            "resident_peak_bytes": spread([answer["resident_peak_bytes"] for answer in resident]),
        }
    weights = variants["grpo"]["facts"]["weight_bytes"]
    base = variants["grpo"]
    for own in variants.values():
        # Memory held between steps counts at the peak too.
        own["extra_peak_bytes"] = (own["tensor_peak_bytes"] + own["held_bytes"]) - (
            base["tensor_peak_bytes"] + base["held_bytes"]
        )
        own["extra_copies"] = own["extra_peak_bytes"] / weights
    return {"model": model_name(model), **size, "weight_bytes": weights, "variants": variants}


def judge(cell: dict[str, Any]) -> list[Goal]:
    variants, name = cell["variants"], cell["model"]
    bare, whole = variants["sfpo, bare"], variants["sfpo"]
    device = bare["device_peak_bytes"]
    return [
        Goal(f"{name}: the copy of θ_0 / weights", whole["snapshot_bytes"] / cell["weight_bytes"], 1.0),
        Goal(f"{name}: extra at the peak / weights, bare", round(bare["extra_copies"], 2), 1.0),
        Goal(f"{name}: extra at the peak / weights, as it comes", round(whole["extra_copies"], 2), 1.0),
        Goal(
            f"{name}: extra on the accelerator at the peak / weights",
            None
            if device is None
            else round((device - variants["grpo"]["device_peak_bytes"]) / cell["weight_bytes"], 2),
            0.0,
        ),
    ]


def print_table(cell: dict[str, Any]) -> None:
    mib = 2**20
    table = Table(title=f"{cell['model']}: weights {cell['weight_bytes'] / mib:.1f} MiB", title_justify="left")
    for column in ("", "allocated at the peak", "held between steps", "extra", "in copies", "θ_0", "resident peak"):
        table.add_column(
            column if column in ("", "in copies") else f"{column} (MiB)", justify="right" if column else "left"
        )
    for variant, own in cell["variants"].items():
        resident = {key: value / mib for key, value in own["resident_peak_bytes"].items() if key != "samples"}
        table.add_row(
            variant,
            f"{own['tensor_peak_bytes'] / mib:.1f}",
            f"{own['held_bytes'] / mib:.1f}",
            f"{own['extra_peak_bytes'] / mib:+.1f}",
            f"{own['extra_copies']:+.2f}",
            f"{own['snapshot_bytes'] / mib:.1f}",
            shown(resident, 0) + ("" if own["peak_was_reset"] else " (since the start)"),
        )
    CONSOLE.print(table)


# ---- A worker -----------------------------------------------------------------------------------------------------


def work(model: str, variant: str, size: dict[str, int]) -> None:
    requests = Requests()
    import torch
    import trainers

    import sfpo.trl.step

    rollouts = trainers.Shape(**size)
    rollouts.zero_share = 0.5
    if variant == "authors' scheme":
        sfpo.trl.step.SlowFast = two_copies()
    trainer = trainers.same_settings(
        "grpo" if variant == "grpo" else "sfpo",
        model,
        rollouts.rewards,
        rollouts.data,
        max_steps=trainers.FOREVER,
        use_cpu=not torch.accelerator.is_available(),
        **rollouts.settings,
        **VARIANTS[variant],
    )
    rollouts.impose(trainer)
    device = trainer.accelerator.device.type

    class MeasuredTurns(trainers.Turns):
        def _wait(self) -> None:
            request = self._requests.next()
            if request is None:
                raise SystemExit
            gc.collect()
            self._held = tensor_bytes()
            self._allocations = torch.profiler.profile(profile_memory=True) if request.get("allocations") else None
            if device != "cpu":
                torch.get_device_module(device).reset_peak_memory_stats()
            self._was_reset = reset_resident_peak()
            if self._allocations is not None:
                self._allocations.start()

        def _report(self) -> None:
            values = trainer._metrics["train"].get("sfpo/snapshot_bytes") or [0.0]
            answer: dict[str, Any] = {
                "resident_peak_bytes": resident_peak(),
                "peak_was_reset": self._was_reset,
                "held_bytes": self._held,
                "snapshot_bytes": max([*values, *logged(trainer, "sfpo/snapshot_bytes")]),
                "device_peak_bytes": None
                if device == "cpu"
                else torch.get_device_module(device).max_memory_allocated(),
            }
            if self._allocations is not None:
                self._allocations.stop()
                answer["tensor_peak_bytes"] = peak_of_allocations(self._allocations)
                self._allocations = None
            self._requests.answer(**answer)

    MeasuredTurns(trainer, requests)
    weight_bytes = sum(parameter.nbytes for parameter in trainer.model.parameters())
    requests.answer(**trainers.facts(trainer), weight_bytes=weight_bytes, device=device)
    trainer.train()


def logged(trainer: Any, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]


def tensor_bytes() -> int:
    """Bytes of all live tensors, counting each storage once."""
    import torch

    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.layout == torch.strided and thing.device.type != "meta":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def peak_of_allocations(profile: Any) -> int:
    """The most bytes allocated at once since the profile began, from the allocator's events in their order."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def reset_resident_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def two_copies() -> type:
    """`SlowFast` with the memory of the authors' released code."""
    import torch

    from sfpo.slow_fast import SlowFast, TrajectoryLine

    class TwoCopies(SlowFast):
        @contextmanager
        def trajectory(self, update: Callable[[], Any], alpha: float | None = None) -> Iterator[TrajectoryLine]:
            weights = [parameter for parameter in self._parameters if parameter.requires_grad]
            share = self.alpha if alpha is None else alpha
            start = [weight.detach().clone() for weight in weights]
            for _ in range(self.inner_steps):
                self.report.passes.append(update())
            end = [weight.detach().clone() for weight in weights]
            between = []
            with torch.no_grad():
                for weight, first, last in zip(weights, start, end, strict=True):
                    between.append(first + share * (last - first))
                    weight.copy_(between[-1])
            self.report.bytes_held = sum(copy.nbytes for copy in (*start, *end, *between))
            yield TrajectoryLine(None, share, self.report)

    return TwoCopies


if __name__ == "__main__":
    main()
