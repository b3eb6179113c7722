"""The card of a trained model: what it was made from, how, what came of it, and how to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard
from trl import RLOOTrainer

from sfpo import __version__
from sfpo.settings import AUTO
from sfpo.trl.config import REMAX, SFPOConfig

PICTURE = "reward.png"
"""The curve of the reward, next to the card."""
_ROWS = 9
"""The most rows of the table of the training."""
_SFPO = "[Slow-Fast Policy Optimization](https://arxiv.org/abs/2510.04072) (SFPO, arXiv 2510.04072)"
_GXPO = "[GXPO](https://arxiv.org/abs/2605.06755) (arXiv 2605.06755)"
_REMAX = "[ReMax](https://arxiv.org/abs/2310.10505) (arXiv 2310.10505)"
_EQUATIONS = """    fast trajectory   θ_{k+1} = θ_k − η ∇L(θ_k),  k = 0 … K−1
    reposition        θ̃ = θ_0 + α (θ_K − θ_0)
    slow correction   θ_next = θ̃ − η ∇L(θ̃)"""
_COLUMNS = {
    "step": ("step", ".0f"),
    "reward": ("reward", ".3f"),
    "completions/mean_length": ("tokens a completion", ".1f"),
    "sfpo/entropy": ("entropy, nats a token", ".3f"),
    "sfpo/alpha": ("α", ".2f"),
}


@dataclass
class CardFacts:
    """What a trainer cannot know of its own run, for its model card.

    Args:
        base_model: as the user named it: a hub id, or words such as "a local model".
        is_on_hub: whether `base_model` is a hub id.
        task: its name, or None where only the reward functions are known.
        reproduce: shell commands that train the model again.
        evaluations: one a measurement, with `step`, `accuracy` (a share), `mean_length` (tokens) and `problems`.
    """

    base_model: str
    is_on_hub: bool
    task: str | None = None
    reproduce: str = ""
    evaluations: Sequence[Mapping[str, Any]] = field(default_factory=list)


def write_card(trainer: Any, facts: CardFacts, name: str) -> None:
    """Replace the text of the card that TRL wrote, and keep its tags; draws `reward.png` where matplotlib is installed."""
    path = Path(trainer.args.output_dir) / "README.md"
    data = ModelCard.load(path).data
    data.base_model = facts.base_model if facts.is_on_hub else None
    data.model_name = name
    data.pipeline_tag = "text-generation"
    if facts.task and facts.evaluations:
        last = facts.evaluations[-1]
        data.eval_results = [
            EvalResult(
                task_type="text-generation",
                dataset_type=facts.task,
                dataset_name=f"{facts.task}, {last['problems']} held-out problems",
                metric_type="accuracy",
                metric_value=round(float(last["accuracy"]), 4),
            )
        ]
    logged = [row for row in trainer.state.log_history if "reward" in row]
    drawn = _draw(logged, path.with_name(PICTURE))
    sections = [
        f"# {name}",
        _opening(facts),
        _result(facts),
        _method(trainer),
        _advantages(trainer.args),
        _settings(trainer.args),
        _training(trainer, logged, drawn),
        _reproduction(trainer, facts),
        _citation(trainer),
    ]
    ModelCard(f"---\n{data}\n---\n\n" + "\n\n".join(part for part in sections if part) + "\n").save(path)


def _opening(facts: CardFacts) -> str:
    base = f"[{facts.base_model}](https://huggingface.co/{facts.base_model})" if facts.is_on_hub else facts.base_model
    on = f" on the task **{facts.task}**" if facts.task else ""
    return f"Made from {base} by reinforcement learning{on}, with sfpo {__version__} and TRL."


def _result(facts: CardFacts) -> str:
    if not facts.evaluations:
        return ""
    rows = [
        f"| {row['step']} | {row['accuracy']:.1%} | {row['mean_length']:.1f} | {row['problems']} |"
        for row in _some(facts.evaluations)
    ]
    return (
        "## Evaluation\n\nOne sampled answer to each held-out problem; none of them occurs in training. One training seed.\n\n"
        "| step | accuracy | tokens an answer | problems |\n|---|---|---|---|\n" + "\n".join(rows)
    )


def _method(trainer: Any) -> str:
    args = trainer.args
    host = "RLOO" if isinstance(trainer, RLOOTrainer) else "GRPO"
    passes = args.inner_steps + 1
    if args.gxpo_moments is not None:
        text = f"{_GXPO} with the objective of {host}: two fast passes over each batch of rollouts, extrapolated to "
        return f"## Method\n\n{text}{args.inner_steps} virtual ones, a reposition by α = {args.alpha:g}, and one slow pass."
    if args.alpha == 0:
        return f"## Method\n\n{host}: one pass over each batch of rollouts."
    if args.alpha == 1 and args.slow_correction:
        return f"## Method\n\nMulti-epoch {host}: {passes} passes over each batch of rollouts."
    alpha = (
        f"α is chosen in every step, so that the reposition stays within a KL budget of {args.kl_budget:g} nats a token "
        f"(at most {args.alpha_max:g})"
        if args.alpha == AUTO
        else f"α = {args.alpha:g}"
    )
    equations = _EQUATIONS if args.slow_correction else _EQUATIONS.rpartition("\n")[0]
    without = "" if args.slow_correction else ", without its slow pass (Lookahead)"
    gate = "" if args.gate == "off" else " While the entropy gate is closed, a step is plain " + host + "."
    return (
        f"## Method\n\n{_SFPO}{without}, with the objective of {host}. Each batch of rollouts is used for K = "
        f"{args.inner_steps} fast passes, a step back, and one slow pass:\n\n{equations}\n\n{alpha}.{gate}"
    )


def _advantages(args: Any) -> str:
    if not isinstance(args, SFPOConfig) or args.advantage_estimator != REMAX:
        return ""
    return (
        f"Advantages are those of {_REMAX}: the reward of a completion minus that of the greedy completion of its prompt, which "
        "is one of the rollouts counted below."
    )


def _settings(args: Any) -> str:
    names = [
        "learning_rate", "lr_scheduler_type", "max_steps" if args.max_steps > 0 else "num_train_epochs", "num_generations",
        "advantage_estimator", "generation_batch_size", "max_completion_length", "temperature", "beta", "loss_type", "inner_steps", "alpha", "gate",
        "bf16", "seed",
    ]  # fmt: skip
    known = {field.name for field in fields(args)}  # RLOO has not all of GRPO's
    rows = [f"| `{name}` | {_plain(getattr(args, name))} |" for name in names if name in known]
    return "## Settings\n\n| setting | value |\n|---|---|\n" + "\n".join(rows)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value.value if isinstance(value, Enum) else value)


def _training(trainer: Any, logged: list[dict[str, Any]], drawn: bool) -> str:
    if not logged:
        return ""
    known = {key: column for key, column in _COLUMNS.items() if any(key in row for row in logged)}
    head = f"| {' | '.join(title for title, _ in known.values())} |\n|{'---|' * len(known)}"
    rows = [
        f"| {' | '.join(format(row[key], form) if key in row else '' for key, (_, form) in known.items())} |"
        for row in _some(logged)
    ]
    text = f"## Training\n\n{trainer.rollouts:,} rollouts in {trainer.state.global_step:,} steps.\n\n"
    if drawn:
        text += f"![Mean reward of each step]({PICTURE})\n\n"
    return text + "\n".join([head, *rows])


def _some(rows: Sequence[Any]) -> list[Any]:
    """At most `_ROWS` of them, evenly spaced, the first and the last among them."""
    if len(rows) <= _ROWS:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (_ROWS - 1))] for index in range(_ROWS)]


def _draw(logged: list[dict[str, Any]], path: Path) -> bool:
    """Draw the reward of every step; returns whether there was something to draw, and something to draw it with."""
    if len(logged) < 2:
        return False
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in logged], [row["reward"] for row in logged], color="#1d3557")
    axes.set_xlabel("step")
    axes.set_ylabel("mean reward")
    axes.grid(color="#e4e4e4")
    figure.savefig(path, dpi=150)
    return True


def _reproduction(trainer: Any, facts: CardFacts) -> str:
    packages = ("sfpo", "torch", "transformers", "trl")
    versions = ", ".join(f"{name} {__version__ if name == 'sfpo' else version(name)}" for name in packages)
    commands = f"```bash\n{facts.reproduce}\n```\n\n" if facts.reproduce else ""
    if not commands:
        commands = f"Train with `{type(trainer).__name__}` and the settings above.\n\n"
    return f"## How to reproduce\n\n{commands}Made with {versions}."


def _citation(trainer: Any) -> str:
    if trainer.args.alpha == 0 or trainer.args.gxpo_moments is not None:
        return ""
    return f"## Citation\n\n```bibtex\n{trainer._paper['citation']}\n```"
