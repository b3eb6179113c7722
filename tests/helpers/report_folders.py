"""Folders of runs and comparisons, small and made up, as `sfpo train` and `sfpo compare` write them."""

import json
from pathlib import Path

import yaml

from sfpo.records.comparison import collect
from sfpo.records.summary import write_summary

HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=2</script><!--\u2028$\\frac\ud800'


def write_run(
    folder: Path, method="sfpo", steps=12, closed_from=9, speed=1.0, text="1+2=", seed=0, evaluations=True, **own
):
    """A run whose gate closes at `closed_from`; accuracies rise with `speed`, and `own` are further settings."""
    folder.mkdir(parents=True)
    passes = {"sfpo": 3, "multi_epoch": 3}.get(method, 1)
    settings = {"method": method, "model": "embedded", "task": "arithmetic", "seed": seed, "inner_steps": passes - 1}
    settings |= {"num_generations": 2, "eval_every": 3 if evaluations else 0}
    settings |= {
        "gate": "exit",
        "entropy_threshold": 1.5,
        "gate_sides": "two",
        "note": text.replace("\ud800", ""),
    } | own
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    facts = {
        "started": 1.8e9,
        "versions": {"python": "3.11", "sfpo": "0.1.0", "torch": "2.13.0+cpu"},
        "finished": 1.8e9,
    }
    (folder / "run.json").write_text(json.dumps(facts | {"weights": 1000, "machine": "one thread"}))
    rows = [_evaluation(0, 0.1, seed)] if evaluations else []
    for step in range(1, steps + 1):
        rows.append(_step(step, method, passes, closed_from, speed))
        if evaluations and step % 3 == 0:
            rows.append(_evaluation(step, min(0.95, 0.1 + speed * step / 40), seed))
    rows.append({"kind": "summary", "step": steps, "train_runtime": 3.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    completions = [
        {"step": step, "prompt": text, "completion": f"{text}{answer}", "answer": 3}
        | {"reward": float(answer == 3), "cut_off": answer == 4}
        for step in range(1, steps + 1)
        for answer in (3, 4)
    ]
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in completions))
    return folder


def write_comparison(folder: Path, seeds=(0, 1), text="1+2="):
    """GRPO against SFPO and a slower SFPO that never reaches GRPO's best; one run of another method failed."""
    speeds = {"grpo": ("grpo", {}, 1.0), "sfpo": ("sfpo", {}, 3.0), "sfpo,alpha=0.1": ("sfpo", {"alpha": "0.1"}, 0.5)}
    for name, (method, _, speed) in speeds.items():
        for seed in seeds:
            write_run(folder / "runs" / name / f"seed-{seed}", method, speed=speed, text=text, seed=seed)
    variants = [
        {"name": name, "method": method, "settings": settings, "baseline": "grpo"}
        for name, (method, settings, _) in speeds.items()
    ]
    variants.append({"name": "lookahead", "method": "lookahead", "settings": {}, "baseline": "grpo"})
    specification = {
        "command": ["sfpo", "compare", "--task", text.replace("\ud800", "")],
        "model": "embedded",
        "task": "arithmetic",
        "methods": ["grpo", "lookahead", "sfpo"],
        "seeds": list(seeds),
        "sweep": {},
        "train": [],
        "variants": variants,
        "failed": {"lookahead": [{"seed": 0, "error": "out of memory"}]},
    }
    (folder / "comparison.json").write_text(json.dumps(specification))
    collect(folder, [(name, seed) for name in speeds for seed in seeds])
    write_summary(folder)
    return folder


def _evaluation(step, accuracy, seed):
    right = round(512 * accuracy) + seed
    return {"kind": "evaluation", "step": step, "accuracy": right / 512, "mean_length": 5.0 + step, "cut_off": 0.0} | {
        "problems": 512
    }


def _step(step, method, passes, closed_from, speed):
    closed = method == "sfpo" and step >= closed_from
    row = {"kind": "train", "step": step, "reward": speed * step / 50, "completions/mean_length": 5.0 + step}
    row |= {"completions/clipped_ratio": 0.1, "grad_norm": 1.0 / step, "sfpo/entropy": 1.0 / step}
    row |= {"sfpo/alpha": 0.8 if method == "sfpo" and not closed else 0.0, "sfpo/rollouts": 128.0 * step}
    row |= {"sfpo/rollout_seconds": 0.25, "sfpo/update_seconds": 0.5}
    if method == "sfpo":
        row["sfpo/gate_closed"] = float(closed)
        if step >= 6:
            row |= {"sfpo/z": -1.6 if closed else -1.0, "sfpo/entropy_mean": 0.2, "sfpo/entropy_std": 0.05}
    for index in range(1 if closed else passes):
        row |= {f"sfpo/pass_{index}/{name}": 0.01 * index for name in ("kl", "clip_fraction", "grad_norm")}
        row |= {f"sfpo/pass_{index}/{name}": 1.0 + 0.01 * index for name in ("ratio_mean", "ratio_max")}
    return row
