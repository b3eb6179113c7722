"""Wall-clock time to GRPO's best held-out accuracy on the embedded task: stock `trl.GRPOTrainer` and `sfpo train`.

- TRL: `GRPOTrainer` with its default precision, checkpointing and threads on this machine, and with the recipe of the
  embedded run: 48 steps of 16 prompts x 8 completions, learning rate 3e-5, constant.
- TRL tuned: the same with the precision, threads and memory settings that `sfpo train` chooses. No goal depends on it; it
  shows how much of the gain is due to the update.
- SFPO: `sfpo train` with its defaults, the fixed α of the paper.
- SFPO, auto: `sfpo train --alpha auto`, α from a KL budget.

A seed gives all methods the same problems. Every 2 steps, one sampler answers 512 held-out problems once each, with the
same random numbers and with the clock stopped: seconds are those of rollouts and updates alone. Curves are means over
seeds, and each evaluation is averaged with its neighbours (3 evaluations). GRPO's best is the maximum of TRL's curve. The
time to reach it comes from each method's curve, linear between evaluations. The 95 % interval of the ratio resamples seeds;
"never reached" counts as a ratio of 0. With few seeds the interval is rough.

Each method has its own process, and they take turns, one rollout batch each. Finished runs are kept in
results/speed/time_to_accuracy/ and are not repeated.

Goals: at least 4.2x less time with a fixed α, at least 10x less with `alpha=auto`.

    python benchmarks/time_to_accuracy.py --rounds 5    # seeds 0 to 4
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import CONSOLE, EMBEDDED, ROOT, Goal, Requests, Worker, folder, machine, made_by, parser, print_goals, save
from rich.table import Table

from sfpo.model.embedded.recipe import EMBEDDED_RECIPE

METHODS = {"trl": "TRL", "trl-tuned": "TRL tuned", "sfpo": "SFPO", "sfpo-auto": "SFPO, auto"}
RECIPE: dict[str, Any] = {
    name: EMBEDDED_RECIPE[name]
    for name in (
        "per_device_train_batch_size",
        "num_generations",
        "max_completion_length",
        "max_steps",
        "learning_rate",
        "lr_scheduler_type",
    )
}
"""What TRL has of the embedded run's recipe; the precision is left to each method."""
QUICK = {"per_device_train_batch_size": 16, "max_steps": 8}
PROBLEMS = 10_000
HELD_OUT = 512
EVERY = 2
BOUNDS = {"sfpo": 4.2, "sfpo-auto": 10}
"""At least how many times less time than TRL each may take."""
RESAMPLES = 10_000

Run = dict[str, list[float]]
"""One method and seed, with one entry per evaluation: `steps`, `seconds` since the start, `accuracy`."""


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = options.parse_args()
    if arguments.worker is not None:
        return work(**arguments.worker)
    seeds = range(2 if arguments.quick else arguments.rounds)
    where = folder(arguments.quick) / "time_to_accuracy"
    for seed in seeds:
        train(arguments.methods, seed, where, arguments.quick)
    runs = {method: [load(path_of(where, method, seed)) for seed in seeds] for method in arguments.methods}
    curves = {method: mean_curve(of_seeds) for method, of_seeds in runs.items()}
    best, times = reach(runs, arguments.methods)
    print_table(curves, best, times)
    goals = [
        Goal(f"time to GRPO's best accuracy, TRL / {METHODS[method]}", ratio(times, method), bound, at_most=False)
        for method, bound in BOUNDS.items()
        if method in arguments.methods
    ]
    print_goals(goals)
    save(
        "time_to_accuracy",
        arguments.quick,
        {
            "seeds": list(seeds),
            "recipe": RECIPE | (QUICK if arguments.quick else {}),
            "held_out": HELD_OUT,
            "every": EVERY,
        },
        goals,
        grpo_best=best,
        seconds_to_reach={method: finite(seconds) for method, seconds in times.items()},
        ratio={
            method: {"value": ratio(times, method), "interval_95": interval(runs, arguments.methods, method)}
            for method in arguments.methods
            if method != "trl"
        },
        curves=curves,
    )


# ---- Training -----------------------------------------------------------------------------------------------------


def train(methods: Sequence[str], seed: int, where: Path, quick: bool) -> None:
    """Run the missing methods of one seed, taking turns."""
    missing = [method for method in methods if not path_of(where, method, seed).exists()]
    workers: dict[str, Worker] = {}
    try:
        for method in missing:
            workers[method] = Worker({"method": method, "seed": seed, "quick": quick}, stock=method == "trl")
        batches: dict[str, list[dict[str, Any]]] = {method: [] for method in missing}
        for _ in range((RECIPE | (QUICK if quick else {}))["max_steps"]):
            for method, worker in workers.items():
                batches[method].append(worker.ask())
        for method, worker in workers.items():
            keep(path_of(where, method, seed), worker.facts, batches[method])
            CONSOLE.print(f"seed {seed}, {METHODS[method]}: {batches[method][-1]['accuracy']:.1%} at the end")
    finally:
        for worker in workers.values():
            worker.close()


def keep(path: Path, facts: dict[str, Any], batches: list[dict[str, Any]]) -> None:
    start = facts.pop("accuracy")
    steps, seconds, accuracy, elapsed = [0], [0.0], [start], 0.0
    for batch in batches:
        elapsed += batch["seconds"]
        if "accuracy" in batch:
            steps.append(batch["step"])
            seconds.append(elapsed)
            accuracy.append(batch["accuracy"])
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        **made_by(),
        "machine": machine(),
        "worker": facts,
        "steps": steps,
        "seconds": seconds,
        "accuracy": accuracy,
        "batch_seconds": [batch["seconds"] for batch in batches],
        "rollout_seconds": [batch["rollout_seconds"] for batch in batches],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    CONSOLE.print(f"Written to {path.relative_to(ROOT)}", style="dim")


def path_of(where: Path, method: str, seed: int) -> Path:
    return where / f"{method}-{seed}.json"


def load(path: Path) -> Run:
    content = json.loads(path.read_text())
    return {name: content[name] for name in ("steps", "seconds", "accuracy")}


def work(method: str, seed: int, quick: bool) -> None:
    """A worker: one run of one method."""
    requests = Requests()
    import torch
    import trainers

    from sfpo.model.load import load_model, load_tokenizer
    from sfpo.model.sampler import sample
    from sfpo.tasks import load_task

    # As `sfpo train` loads it.
    task = load_task("arithmetic", train_problems=PROBLEMS, eval_problems=HELD_OUT, seed=seed)
    settings = RECIPE | {"seed": seed} | (QUICK if quick else {})
    if method in ("sfpo", "sfpo-auto"):
        own = {"alpha": "auto"} if method == "sfpo-auto" else {}
        trainer = trainers.sfpo_defaults(
            EMBEDDED, task.reward, task.train, **own, **(QUICK if quick else {}), seed=seed
        )
    elif method == "trl-tuned":
        trainer = trainers.same_settings("grpo", EMBEDDED, task.reward, task.train, **settings)
    else:
        trainer = trainers.trl_defaults(EMBEDDED, task.reward, task.train, **settings)
    judged = load_model(EMBEDDED)  # fp32 and nobody's wrappers, for all methods alike
    tokenizer = load_tokenizer(EMBEDDED)
    prompts = [tokenizer(prompt)["input_ids"] for prompt in task.held_out["prompt"]]

    def accuracy() -> float:
        judged.load_state_dict(trainer.model.state_dict())
        with torch.random.fork_rng():
            torch.manual_seed(0)
            sampled = sample(
                judged, prompts, max_new_tokens=RECIPE["max_completion_length"], end_ids=[tokenizer.eos_token_id]
            )
        texts = tokenizer.batch_decode(sampled.completion_ids, skip_special_tokens=True)
        scores = task.reward(prompts=task.held_out["prompt"], completions=texts, answer=task.held_out["answer"])
        return sum(score or 0.0 for score in scores) / len(scores)

    class EvaluatedTurns(trainers.Turns):
        def between(self, step: int) -> dict[str, Any]:
            return {"accuracy": accuracy()} if step % EVERY == 0 else {}

    EvaluatedTurns(trainer, requests)
    requests.answer(**trainers.facts(trainer), accuracy=accuracy())
    trainer.train()


# ---- Reading the curves -------------------------------------------------------------------------------------------


def mean_curve(runs: Sequence[Run]) -> Run:
    """The mean over seeds, with its accuracy averaged over each evaluation and its neighbours."""
    mean = {
        name: [sum(values) / len(runs) for values in zip(*(run[name] for run in runs), strict=True)]
        for name in runs[0]
    }
    accuracy = mean["accuracy"]
    windows = [accuracy[max(0, index - 1) : index + 2] for index in range(len(accuracy))]
    return mean | {"smoothed": [sum(window) / len(window) for window in windows]}


def reach(runs: dict[str, Sequence[Run]], methods: Sequence[str]) -> tuple[float, dict[str, float]]:
    """GRPO's best, and the seconds that each method takes to reach it; infinite if it never does."""
    curves = {method: mean_curve(runs[method]) for method in methods}
    best = max(curves["trl"]["smoothed"])
    return best, {method: first_time(curve, best) for method, curve in curves.items()}


def first_time(curve: Run, accuracy: float) -> float:
    times, values = curve["seconds"], curve["smoothed"]
    for index, value in enumerate(values):
        if value >= accuracy:
            if index == 0:
                return times[0]
            below = values[index - 1]
            return times[index - 1] + (times[index] - times[index - 1]) * (accuracy - below) / (value - below)
    return math.inf


def ratio(times: dict[str, float], method: str) -> float:
    """How many times sooner than TRL a method reaches GRPO's best."""
    return times["trl"] / times[method] if times[method] else math.inf


def interval(runs: dict[str, Sequence[Run]], methods: Sequence[str], method: str) -> list[float]:
    """95 % interval of the ratio: draws seeds with replacement, the same for both methods."""
    generator = random.Random(0)
    seeds = range(len(runs["trl"]))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = generator.choices(seeds, k=len(seeds))
        _, times = reach({name: [runs[name][seed] for seed in drawn] for name in ("trl", method)}, ("trl", method))
        ratios.append(ratio(times, method))
    ratios.sort()
    return [ratios[round(share * (RESAMPLES - 1))] for share in (0.025, 0.975)]


def finite(seconds: float) -> float | str:
    return seconds if math.isfinite(seconds) else "never reached"


def print_table(curves: dict[str, Run], best: float, times: dict[str, float]) -> None:
    table = Table(title=f"GRPO's best held-out accuracy: {best:.1%}", title_justify="left")
    for column in ("", "seconds to reach it", "TRL / this", "best", "at the end", "seconds in all"):
        table.add_column(column, justify="right" if column else "left")
    for method, curve in curves.items():
        seconds = finite(times[method])
        table.add_row(
            METHODS[method],
            seconds if isinstance(seconds, str) else f"{seconds:.1f}",
            f"{ratio(times, method):.2f}x",
            f"{max(curve['smoothed']):.1%}",
            f"{curve['smoothed'][-1]:.1%}",
            f"{curve['seconds'][-1]:.0f}",
        )
    CONSOLE.print(table)


if __name__ == "__main__":
    main()
