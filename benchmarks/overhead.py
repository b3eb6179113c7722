"""The cost of the slow-fast update apart from its passes, how a step's time grows, and how close a pass gets to the
machine's peak.

A pass is forward, backward, clipping and the optimizer's step (AdamW) over one micro-batch of given shape, with SFPO's
scoring: groups of `--group` completions share their prompt, and every completion has a non-zero advantage. The parts take
turns within each round, in one process with the settings that `sfpo train` chooses.

1. Overhead, on `--model` (SmolLM2-135M, bf16 autocast, `--tokens` per pass): copying the weights, their drift and the
   reposition, as a share of a pass. The goal for 135 M weights and passes of at least 2048 tokens is below 1 %. Also the
   gate's decision and the metrics of the passes, as a share of a step (K = 3).
2. Share of the peak, on the same model: floating-point operations of a pass per second, divided by the rate of a
   4096 x 4096 bf16 matrix product measured between the passes. The goal is at least 60 %. For U distinct prompts of P
   tokens and R completions of C tokens, the count is

       6 W (U P + R C) + 12 L d (U P²/2 + R (C P + C²/2)) + 6 V h R C

   with W the weights of the layers (without embeddings and norms), L layers, d heads x their width, V the vocabulary, and
   h the hidden size. It counts each product once in the forward and twice in the backward, a shared prompt once, attention
   only to earlier tokens, and the head only for completion tokens. Recomputation would not count.
3. Growth: seconds of an SFPO step on random Qwen2 models (fp32) as one of model size, batch, length and K grows, with the
   exponent fitted by least squares to the logarithms. For K, the fit uses the number of passes, K + 1.

    python benchmarks/overhead.py --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from common import CONSOLE, Goal, Requests, Worker, model_name, parser, print_goals, save, shown, spread
from rich.table import Table

ROW_TOKENS = 256
"""Tokens of a row in parts 1 and 2, half of them prompt."""
SWEEPS: dict[str, list[dict[str, int]]] = {
    "weights": [{"hidden": hidden} for hidden in (64, 128, 192, 256, 384)],
    "batch": [{"rows": rows} for rows in (8, 16, 32, 64, 128)],
    "length": [{"length": length} for length in (32, 64, 128, 256, 512)],
    "passes": [{"inner_steps": inner} for inner in (1, 2, 3, 5, 7)],
}
BASE = {"hidden": 128, "layers": 4, "rows": 16, "length": 64, "inner_steps": 3}


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument(
        "--model", help="model of parts 1 and 2, such as a .gguf file; without it only growth is measured"
    )
    options.add_argument("--tokens", type=int, default=2048, help="tokens of a pass in parts 1 and 2 (2048)")
    options.add_argument("--group", type=int, default=8, help="completions of a prompt in parts 1 and 2 (8)")
    options.add_argument("--no-growth", action="store_true", help="leave out part 3")
    arguments = options.parse_args()
    if arguments.worker is not None:
        return work(**arguments.worker)
    rounds = 1 if arguments.quick else arguments.rounds
    goals: list[Goal] = []
    results: dict[str, Any] = {}
    if arguments.model:
        tokens = 256 if arguments.quick else arguments.tokens
        chosen = {"tokens": tokens, "group": arguments.group, "quick": arguments.quick}
        results["model"] = of_model(
            arguments.model, ask({"part": "model", "model": arguments.model, **chosen}, rounds)
        )
        print_model(results["model"])
        goals += judge(results["model"])
    if not arguments.no_growth:
        results["growth"] = {}
        for name, points in SWEEPS.items():
            swept = points[:2] if arguments.quick else points
            measured = ask({"part": "growth", "points": [BASE | point for point in swept]}, rounds)
            results["growth"][name] = of_growth(name, swept, measured)
        print_growth(results["growth"])
    if goals:
        print_goals(goals)
    settings = {"rounds": rounds, "row_tokens": ROW_TOKENS, "base": BASE}
    save("overhead", arguments.quick, settings, goals, **results)


def ask(settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """A worker's facts, including where a pass's time goes, and its samples by part, without those of the first round."""
    worker = Worker(settings)
    try:
        answers = [worker.ask() for _ in range(rounds + 1)][1:]
        profile = worker.ask(profile=True) if settings["part"] == "model" else {}
    finally:
        worker.close()
    seconds = {name: spread([answer[name] for answer in answers]) for name in answers[0]}
    return {"facts": worker.facts | profile, "seconds": seconds}


# ---- Reading the samples ------------------------------------------------------------------------------------------


def of_model(model: str, measured: dict[str, Any]) -> dict[str, Any]:
    facts, seconds = measured["facts"], measured["seconds"]
    passes = seconds["pass"]["samples"]
    step = seconds["step"]["samples"]

    def over(name: str, whole: list[float]) -> dict[str, Any]:
        return spread([part / total for part, total in zip(seconds[name]["samples"], whole, strict=True)])

    def of_peak(name: str) -> dict[str, Any]:
        pairs = zip(seconds[name]["samples"], seconds["product"]["samples"], strict=True)
        return spread([(facts["flops_of_a_pass"] / own) / (facts["flops_of_a_product"] / peak) for own, peak in pairs])

    return {
        "model": model_name(model),
        **facts,
        "seconds": seconds,
        "peak_gflops": facts["flops_of_a_product"] / seconds["product"]["median"] / 1e9,
        "slow_fast_share_of_a_pass": over("slow_fast", passes),
        "gate_share_of_a_step": over("gate", step),
        "metrics_share_of_a_step": over("metrics", step),
        "pass_share_of_peak": of_peak("pass"),
        "forward_backward_share_of_peak": of_peak("forward_backward"),
    }


def judge(result: dict[str, Any]) -> list[Goal]:
    share = result["slow_fast_share_of_a_pass"]["median"]
    peak = result["pass_share_of_peak"]["median"]
    name = f"{result['model']}, {result['tokens']} tokens a pass"
    return [
        Goal(f"{name}: snapshot, drift and reposition / pass", 100 * share, 1.0, unit=" %"),
        Goal(f"{name}: pass / peak of matrix products", 100 * peak, 60.0, at_most=False, unit=" %"),
    ]


def of_growth(name: str, points: list[dict[str, int]], measured: dict[str, Any]) -> dict[str, Any]:
    seconds = [measured["seconds"][str(index)] for index in range(len(points))]
    sizes = measured["facts"]["weights"] if name == "weights" else [next(iter(point.values())) for point in points]
    if name == "passes":
        sizes = [inner_steps + 1 for inner_steps in sizes]
    return {
        "sizes": sizes,
        "seconds": seconds,
        "exponent": exponent(sizes, [sample["median"] for sample in seconds]),
        # Fit only the upper half, where fixed costs matter less.
        "exponent_of_the_largest": exponent(sizes[-3:], [sample["median"] for sample in seconds[-3:]]),
    }


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log sizes, by least squares."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - x_mean) ** 2 for a in x)


def print_model(result: dict[str, Any]) -> None:
    title = (
        f"{result['model']}: {result['weights'] / 1e6:.1f} M weights, {result['tokens']} tokens a pass, "
        f"{result['threads']} thread(s), peak {result['peak_gflops']:.0f} GFLOP/s in bf16"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", "seconds", "share"):
        table.add_column(column, justify="right" if column else "left")

    def percent(name: str) -> str:
        return shown({key: 100 * result[name][key] for key in ("median", "min", "max")}, 2) + " %"

    shares = {
        "snapshot": "",
        "slow_fast": f"{percent('slow_fast_share_of_a_pass')} of a pass",
        "gate": f"{percent('gate_share_of_a_step')} of a step",
        "metrics": f"{percent('metrics_share_of_a_step')} of a step",
        "forward_backward": f"{percent('forward_backward_share_of_peak')} of the peak",
        "optimizer": "",
        "pass": f"{percent('pass_share_of_peak')} of the peak",
        "step": "",
    }
    names = {
        "snapshot": "snapshot",
        "slow_fast": "snapshot, drift and reposition",
        "gate": "entropy at the start and gate",
        "metrics": "metrics of all passes",
        "forward_backward": "forward and backward",
        "optimizer": "clipping and optimizer",
        "pass": "pass",
        "step": "SFPO step (K = 3)",
    }
    for key, share in shares.items():
        table.add_row(names[key], shown(result["seconds"][key], 4), share)
    CONSOLE.print(table)


def print_growth(growth: dict[str, Any]) -> None:
    table = Table(title="Seconds of an SFPO step as one size grows", title_justify="left")
    for column in ("", "sizes", "seconds", "exponent", "of the largest 3"):
        table.add_column(column, justify="right" if column in ("exponent", "of the largest 3") else "left")
    for name, own in growth.items():
        table.add_row(
            name,
            ", ".join(f"{size:,}" for size in own["sizes"]),
            ", ".join(f"{sample['median']:.3f}" for sample in own["seconds"]),
            f"{own['exponent']:.2f}",
            f"{own['exponent_of_the_largest']:.2f}",
        )
    CONSOLE.print(table)


# ---- A worker -----------------------------------------------------------------------------------------------------


def work(part: str, **settings: Any) -> None:
    requests = Requests()
    (work_model if part == "model" else work_growth)(requests, **settings)


def timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


class Passes:
    """Passes over one micro-batch, by an SFPO trainer's own loss and optimizer, without its loop."""

    def __init__(self, model: Any, rows: int, group: int, length: int, bf16: bool, inner_steps: int = 3) -> None:
        import torch
        import trainers
        from transformers import AutoTokenizer

        from sfpo.model.embedded import MODEL_PATH
        from sfpo.slow_fast import SlowFast
        from sfpo.trl import SFPOConfig, SFPOTrainer

        trainers.compute.prepare_cpu(model, trains_in_bf16=bf16)
        config = SFPOConfig(
            **trainers.quiet(),
            bf16=bf16,
            gradient_checkpointing=False,
            per_device_train_batch_size=rows,
            num_generations=2,
        )
        self.trainer = SFPOTrainer(
            model=model,
            reward_funcs=lambda completions, **columns: [0.0] * len(completions),
            args=config,
            train_dataset=trainers.Shape(rows, 2, 1, 1).data,
            processing_class=AutoTokenizer.from_pretrained(MODEL_PATH, padding_side="left"),  # never used
        )
        self.trainer.model.train()
        self.trainer.create_optimizer()
        self.trainer.current_gradient_accumulation_steps = 1
        self.weights = [parameter for parameter in self.trainer.model.parameters() if parameter.requires_grad]
        self.slow_fast = SlowFast(self.weights, inner_steps)
        generator = torch.Generator().manual_seed(0)
        prompt, completion = length - length // 2, length // 2
        ids = torch.randint(2, model.config.vocab_size, (rows, length), generator=generator)
        mask = torch.ones_like(ids)
        self.inputs = {
            "prompt_ids": ids[::group, :prompt].repeat_interleave(group, dim=0),
            "prompt_mask": mask[:, :prompt],
            "completion_ids": ids[:, prompt:],
            "completion_mask": mask[:, prompt:],
            "advantages": torch.tensor([1.0, -1.0]).repeat(rows)[:rows],
            "num_items_in_batch": torch.tensor(rows * completion),
        }
        self.forward_backward()  # leaves π_old and the entropies in the batch

    def forward_backward(self) -> None:
        self.trainer.model.zero_grad()
        self.trainer.compute_loss(self.trainer.model, self.inputs).backward()

    def optimize(self) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.trainer.optimizer.step()

    def one(self) -> None:
        self.forward_backward()
        self.optimize()

    def step(self) -> None:
        self.slow_fast.step(self.one)


def work_model(requests: Requests, model: str, tokens: int, group: int, quick: bool) -> None:
    import torch
    import trainers

    from sfpo.gate import EntropyGate
    from sfpo.model.load import load_model
    from sfpo.snapshot import Snapshot
    from sfpo.trl.pass_metrics import PassMetrics

    policy = load_model(model)
    prompt = completion = (16 if quick else ROW_TOKENS) // 2
    groups = -(-tokens // (prompt + group * completion))
    passes = Passes(policy, groups * group, group, prompt + completion, bf16=True)
    size = 512 if quick else 4096
    left, right = torch.randn(size, size).bfloat16(), torch.randn(size, size).bfloat16()
    product = torch.empty_like(left)
    gate = EntropyGate()
    inputs = passes.inputs
    logps, entropies = inputs["old_per_token_logps"], inputs["entropies_at_start"]

    def decide() -> None:
        gate.update(passes.trainer._sfpo_step.entropy_at_start([[inputs]]))

    def metrics() -> None:
        for _ in range(4):
            summed = PassMetrics()
            advantages = inputs["advantages"]
            summed.add(logps, logps, entropies, inputs["completion_mask"], advantages, "token", (0.8, 1.2))
            summed.add_grad_norm(1.0)
            summed.summary(passes.trainer._step_log.reduce)

    def slow_fast() -> None:
        with passes.slow_fast.trajectory(lambda: None):
            pass

    requests.answer(
        threads=torch.get_num_threads(),
        weights=trainers.weights(policy),
        rows=groups * group,
        group=group,
        prompt_tokens=prompt,
        completion_tokens=completion,
        tokens=groups * (prompt + group * completion),
        flops_of_a_pass=flops(policy, groups, group, prompt, completion),
        flops_of_a_product=2 * size**3,
    )
    while (request := requests.next()) is not None:
        if request.get("profile"):
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                passes.one()
            requests.answer(profile_of_a_pass=trainers.largest_operations(profile))
            continue
        forward_backward = timed(passes.forward_backward)
        optimizer = timed(passes.optimize)
        # Measure before and after, so that the peak belongs to the same moments.
        peak = timed(lambda: torch.mm(left, right, out=product))
        one = timed(passes.one)
        peak = min(peak, timed(lambda: torch.mm(left, right, out=product)))
        requests.answer(
            **{
                "forward_backward": forward_backward,
                "optimizer": optimizer,
                "product": peak,
                "pass": one,
                "snapshot": timed(lambda: Snapshot(passes.weights, None)),
                "slow_fast": timed(slow_fast),
                "gate": timed(decide),
                "metrics": timed(metrics),
                "step": timed(passes.step),
            }
        )


def flops(model: Any, groups: int, group: int, prompt: int, completion: int) -> float:
    """Floating-point operations of one pass; the formula is at the top of the file."""
    config = model.config
    completions = groups * group
    of_layers = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.dim() == 2)
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = groups * prompt**2 / 2 + completions * (completion * prompt + completion**2 / 2)
    layers = 6.0 * of_layers * (groups * prompt + completions * completion)
    attention = 12.0 * config.num_hidden_layers * config.num_attention_heads * head_width * pairs
    return layers + attention + 6.0 * config.vocab_size * config.hidden_size * completions * completion


def work_growth(requests: Requests, points: list[dict[str, int]]) -> None:
    import torch
    import trainers
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def passes(hidden: int, layers: int, rows: int, length: int, inner_steps: int) -> Passes:
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=512,
            hidden_size=hidden,
            intermediate_size=3 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
        )
        return Passes(Qwen2ForCausalLM(config), rows, 8, length, bf16=False, inner_steps=inner_steps)

    measured = [passes(**point) for point in points]
    torch.set_num_threads(1)  # the same for all sizes
    requests.answer(threads=1, weights=[trainers.weights(own.trainer.model) for own in measured])
    while requests.next() is not None:
        requests.answer(**{str(index): timed(own.step) for index, own in enumerate(measured)})


if __name__ == "__main__":
    main()
