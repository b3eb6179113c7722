"""Seconds of one SFPO step (K = 3, gate off) compared with stock `trl.GRPOTrainer`, on rollouts of the same sizes.

A step is all the work on one batch of rollouts: sampling, grading, passes, metrics, logging. For `num_iterations=4` these
are the four trainer steps that use the batch.

- same settings: both sides use the precision, threads, matrix products and memory settings that `sfpo train` chooses,
  without gradient checkpointing.
- defaults: `sfpo train` and `GRPOTrainer`, each with its own default precision, checkpointing and threads.

The rollouts give every variant the same work: distinct prompts of one length, completions of exactly one length, hardly two
of them equal because the temperature is 10, and rewards that leave a chosen share of the groups with zero advantage. The
sweep covers that share (0, 25, 50, 75 %) at prompt:completion 1:1, and that ratio (1:4, 1:1, 4:1) at 50 %. Every variant
has its own process; they take turns, one batch each. `--profile` also shows, per variant, where the time of one more step
goes.

Goals at 50 % and 1:1: with the same settings at most 0.45x of num_iterations=4 and 1.6x of num_iterations=1; default
against default at most 1.0x.

    python benchmarks/step_cost.py --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

from itertools import product
from typing import Any

from common import CONSOLE, EMBEDDED, Goal, Requests, Worker, model_name, parser, print_goals, save, shown, spread
from rich.table import Table

SHARES = (0.0, 0.25, 0.5, 0.75)
RATIOS = {"1:4": 0.2, "1:1": 0.5, "4:1": 0.8}  # the prompt's share of all tokens
VARIANTS = {"same": ("sfpo", "grpo", "grpo x4"), "defaults": ("sfpo", "grpo")}
AT = (0.5, "1:1")


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--model", help="a second model besides the embedded one, such as a .gguf file")
    options.add_argument("--settings", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options.add_argument(
        "--only-goals", action="store_true", help="measure at 50 %% and 1:1 alone, in a file of its own"
    )
    options.add_argument("--profile", action="store_true", help="record where one more step's time goes")
    arguments = options.parse_args()
    if arguments.worker is not None:
        return work(**arguments.worker)
    rounds = 1 if arguments.quick else arguments.rounds
    only_goals = arguments.quick or arguments.only_goals
    names = [EMBEDDED, arguments.model] if arguments.model else [EMBEDDED]
    cells: list[dict[str, Any]] = []
    goals: list[Goal] = []
    for model, settings in product(names, arguments.settings):
        size = sizes(model, arguments.quick)
        measured = [
            cell
            for ratio in RATIOS
            if not (only_goals and ratio != AT[1])
            for cell in measure(model, settings, ratio, size, rounds, only_goals, arguments.profile)
        ]
        print_table(model, settings, measured)
        cells += measured
        goals += judge(model, settings, measured)
        save(
            "step_cost_goals" if arguments.only_goals else "step_cost",
            arguments.quick,
            {"rounds": rounds, "K": 3},
            goals,
            cells=cells,
        )
    print_goals(goals)


def sizes(model: str, quick: bool) -> dict[str, int]:
    if quick:
        return {"prompts": 4, "group": 4, "tokens": 20 if model == EMBEDDED else 10}
    return {"prompts": 16, "group": 8, "tokens": 40} if model == EMBEDDED else {"prompts": 4, "group": 8, "tokens": 60}


def measure(
    model: str, settings: str, ratio: str, size: dict[str, int], rounds: int, only_goals: bool, profile: bool
) -> list[dict[str, Any]]:
    """One cell for each share of zero-advantage groups; variants take turns within each round."""
    prompt_tokens = round(RATIOS[ratio] * size["tokens"])
    shape = {"prompts": size["prompts"], "group": size["group"], "prompt_tokens": prompt_tokens}
    shape["completion_tokens"] = size["tokens"] - prompt_tokens
    shares = [share for share in SHARES if (ratio == AT[1] and not only_goals) or share == AT[0]]
    workers: dict[str, Worker] = {}
    try:
        for variant in VARIANTS[settings]:
            what = {"model": model, "settings": settings, "variant": variant, "shape": shape}
            workers[variant] = Worker(what, stock=settings == "defaults" and variant != "sfpo")
        seconds: dict[tuple[float, str], list[tuple[float, float]]] = {k: [] for k in product(shares, workers)}
        for number in range(rounds + 1):
            for share, (variant, worker) in product(shares, workers.items()):
                if number == 0 and share != shares[0]:
                    continue  # one batch of warm-up is enough
                answer = worker.ask(zero_share=share)
                if number > 0:
                    seconds[share, variant].append((answer["seconds"], answer["rollout_seconds"]))
        profiles = {
            variant: worker.ask(zero_share=AT[0], profile=True)["profile"]
            for variant, worker in workers.items()
            if profile and ratio == AT[1]
        }
        facts = {variant: worker.facts for variant, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return [
        {
            "model": model_name(model),
            "settings": settings,
            "zero_advantage_share": share,
            "prompt_to_completion": ratio,
            **shape,
            "workers": facts,
            "step_seconds": {v: spread([whole for whole, _ in seconds[share, v]]) for v in facts},
            "rollout_seconds": {v: spread([rollout for _, rollout in seconds[share, v]]) for v in facts},
            "update_seconds": {v: spread([whole - rollout for whole, rollout in seconds[share, v]]) for v in facts},
            # Compare within the same round, so that a slow moment of the machine cancels out.
            "step_ratio": {v: spread(ratios(seconds, share, v, update=False)) for v in facts if v != "sfpo"},
            "update_ratio": {v: spread(ratios(seconds, share, v, update=True)) for v in facts if v != "sfpo"},
            **({"profile": profiles} if profiles and share == AT[0] else {}),
        }
        for share in shares
    ]


def ratios(
    seconds: dict[tuple[float, str], list[tuple[float, float]]], share: float, variant: str, update: bool
) -> list[float]:
    """SFPO's seconds divided by the variant's, round by round."""
    return [
        (ours[0] - update * ours[1]) / (theirs[0] - update * theirs[1])
        for ours, theirs in zip(seconds[share, "sfpo"], seconds[share, variant], strict=True)
    ]


def print_table(model: str, settings: str, cells: list[dict[str, Any]]) -> None:
    facts = cells[0]["workers"]
    names = ", ".join(f"{name}: {own['threads']} thread(s)" for name, own in facts.items())
    table = Table(title=f"{model_name(model)}, {settings} ({names}), seconds", title_justify="left")
    table.add_column("zero-advantage groups", justify="right")
    table.add_column("prompt:completion", justify="right")
    variants = list(facts)
    for variant in variants:
        table.add_column(f"{variant} step", justify="right")
        table.add_column("update", justify="right")
    for variant in variants[1:]:
        table.add_column(f"sfpo / {variant}", justify="right")
        table.add_column("update", justify="right")
    for cell in cells:
        row = [f"{cell['zero_advantage_share']:.0%}", f"{cell['prompt_tokens']}:{cell['completion_tokens']}"]
        for variant in variants:
            row += [shown(cell["step_seconds"][variant]), f"{cell['update_seconds'][variant]['median']:.2f}"]
        for variant in variants[1:]:
            row += [shown(cell["step_ratio"][variant]), f"{cell['update_ratio'][variant]['median']:.2f}"]
        table.add_row(*row)
    CONSOLE.print(table)


def judge(model: str, settings: str, cells: list[dict[str, Any]]) -> list[Goal]:
    cell = next(c for c in cells if (c["zero_advantage_share"], c["prompt_to_completion"]) == AT)
    bounds = {"grpo x4": 0.45, "grpo": 1.6} if settings == "same" else {"grpo": 1.0}
    return [
        Goal(
            f"{model_name(model)}, {settings}: SFPO step / {variant} step",
            cell["step_ratio"][variant]["median"],
            bound,
        )
        for variant, bound in bounds.items()
    ]


def work(model: str, settings: str, variant: str, shape: dict[str, int]) -> None:
    """A worker: train for ever, one batch at a time."""
    requests = Requests()
    import trainers

    rollouts = trainers.Shape(**shape)
    chosen = rollouts.settings | {"max_steps": trainers.FOREVER}
    data = rollouts.data
    if settings == "same":
        iterations = {"num_iterations": 4} if variant == "grpo x4" else {}
        trainer = trainers.same_settings(variant.split()[0], model, rollouts.rewards, data, **chosen, **iterations)
    elif variant == "sfpo":
        trainer = trainers.sfpo_defaults(model, rollouts.rewards, data, gate="off", **chosen)
    else:
        trainer = trainers.trl_defaults(model, rollouts.rewards, data, **chosen)
    rollouts.impose(trainer)
    trainers.Turns(trainer, requests, rollouts)
    requests.answer(**trainers.facts(trainer))
    trainer.train()


if __name__ == "__main__":
    main()
