"""Completion tokens per second of `sfpo.model.sampler.sample`, `model.generate`, the same with a static cache and a compiled
forward pass, and transformers' continuous batching.

Each engine samples groups of completions of the same prompts (embedded: 16 x 8 in fp32; another model: 8 x 8) at
temperature 1, with the precision, threads, matrix products and memory settings that `sfpo train` chooses for the model. The
lengths are fixed in advance, so that every engine makes the same number of tokens. They are either all equal, or skewed:
geometric with a mean of a quarter of the limit, cut off at the limit, and drawn again each round. The benchmark makes
`sample` and `generate` choose the end token at a completion's length and nowhere else; continuous batching takes the
length with each request. The clock includes encoding the prompts but not compiling, which happens in a first warm-up round.
Each engine has its own process, and they take turns. The benchmark skips an engine that cannot run on this machine, and
gives the reason.

Goals: at least 1.0x the best of the others on equal lengths, and 2x on skewed ones.

    python benchmarks/rollout.py --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import random
import time
from itertools import product
from typing import Any

from common import (
    CONSOLE,
    EMBEDDED,
    Goal,
    Requests,
    Worker,
    WorkerError,
    in_bf16,
    model_name,
    parser,
    print_goals,
    save,
    shown,
    spread,
)
from rich.table import Table

ENGINES = {
    "sfpo": "sfpo.model.sampler",
    "generate": "model.generate",
    "static": "compiled static cache",
    "continuous": "continuous batching",
}
BOUNDS = {"equal": 1.0, "skewed": 2.0}


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--model", help="a second model besides the embedded one, such as a .gguf file")
    options.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    arguments = options.parse_args()
    if arguments.worker is not None:
        return work(**arguments.worker)
    rounds = 1 if arguments.quick else arguments.rounds
    cells: list[dict[str, Any]] = []
    goals: list[Goal] = []
    for model in [EMBEDDED, arguments.model] if arguments.model else [EMBEDDED]:
        size = sizes(model, arguments.quick)
        measured = measure(model, size, arguments.engines, rounds)
        print_table(model, measured)
        cells += measured
        goals += judge(measured)
        save("rollout", arguments.quick, {"rounds": rounds}, goals, cells=cells)
    print_goals(goals)


def sizes(model: str, quick: bool) -> dict[str, int]:
    if quick:
        return {"prompts": 2, "group": 4, "prompt_tokens": 8, "limit": 8}
    if model == EMBEDDED:
        return {"prompts": 16, "group": 8, "prompt_tokens": 12, "limit": 64}
    return {"prompts": 8, "group": 8, "prompt_tokens": 64, "limit": 128}


def lengths_of(kind: str, rows: int, limit: int, seed: int) -> list[int]:
    if kind == "equal":
        return [limit // 2] * rows
    generator = random.Random(seed)
    ends = 4 / limit  # the chance that a completion ends with any one token
    lengths = []
    for _ in range(rows):
        length = 1
        while length < limit and generator.random() > ends:
            length += 1
        lengths.append(length)
    return lengths


def measure(model: str, size: dict[str, int], engines: list[str], rounds: int) -> list[dict[str, Any]]:
    rows = size["prompts"] * size["group"]
    workers: dict[str, Worker] = {}
    left_out: dict[str, str] = {}
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in product(BOUNDS, engines)}
    tokens: dict[str, list[int]] = {kind: [] for kind in BOUNDS}
    try:
        for engine in engines:
            workers[engine] = Worker({"model": model, "engine": engine, "size": size})
        for number, kind in product(range(rounds + 1), BOUNDS):
            lengths = lengths_of(kind, rows, size["limit"], seed=number)
            # The maximum of the kind, not of this draw, so that code compiled for one round fits the next.
            limit = max(lengths) if kind == "equal" else size["limit"]
            for engine in list(workers):
                try:
                    seconds = workers[engine].ask(lengths=lengths, limit=limit)["seconds"]
                except WorkerError as error:
                    left_out[engine] = (str(error).strip().splitlines() or ["it ended without a word"])[-1]
                    workers.pop(engine).close()
                    continue
                if number > 0:
                    rates[kind, engine].append(sum(lengths) / seconds)
            if number > 0:
                tokens[kind].append(sum(lengths))
        facts = {engine: worker.facts for engine, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return [
        {
            "model": model_name(model),
            "lengths": kind,
            **size,
            "tokens": tokens[kind],
            "workers": facts,
            "tokens_per_second": {engine: spread(rates[kind, engine]) for engine in facts},
            # Compare within the same round, so that a slow moment of the machine cancels out.
            "sfpo_over": {
                engine: spread([o / t for o, t in zip(rates[kind, "sfpo"], rates[kind, engine], strict=True)])
                for engine in facts
                if engine != "sfpo" and "sfpo" in facts
            },
            "left_out": left_out,
        }
        for kind in BOUNDS
    ]


def judge(cells: list[dict[str, Any]]) -> list[Goal]:
    """Goals for the ratio to the best other engine, the one over which SFPO's sampler gains least."""
    return [
        Goal(
            f"{cell['model']}, {cell['lengths']} lengths: sfpo / best of {', '.join(ENGINES[e] for e in cell['sfpo_over'])}",
            min((ratio["median"] for ratio in cell["sfpo_over"].values()), default=None),
            BOUNDS[cell["lengths"]],
            at_most=False,
        )
        for cell in cells
    ]


def print_table(model: str, cells: list[dict[str, Any]]) -> None:
    facts = cells[0]["workers"]
    any_facts = next(iter(facts.values()))
    title = (
        f"{model_name(model)} ({any_facts['dtype']}, {any_facts['threads']} thread(s)), completion tokens per second"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("lengths")
    for engine in facts:
        table.add_column(ENGINES[engine], justify="right")
    others = list(cells[0]["sfpo_over"])
    for engine in others:
        table.add_column(f"sfpo / {ENGINES[engine]}", justify="right")
    for cell in cells:
        row = [cell["lengths"]] + [shown(cell["tokens_per_second"][engine], 0) for engine in facts]
        table.add_row(*row, *(shown(cell["sfpo_over"][engine]) for engine in others))
    CONSOLE.print(table)
    for engine, reason in cells[0]["left_out"].items():
        CONSOLE.print(f"Left out: {ENGINES[engine]}, which does not run here: {reason}", markup=False)


# ---- The engines --------------------------------------------------------------------------------------------------


def work(model: str, engine: str, size: dict[str, int]) -> None:
    """A worker: one engine with its own model."""
    requests = Requests()
    import torch

    from sfpo.model import cpu
    from sfpo.model.load import load_model, load_tokenizer

    policy = load_model(model, dtype=torch.bfloat16 if in_bf16(model) else torch.float32).eval()
    cpu.prepare_cpu(policy)
    end = int(load_tokenizer(model).eos_token_id)
    generator = random.Random(0)
    prompts = [
        [generator.randrange(2, policy.config.vocab_size) for _ in range(size["prompt_tokens"])]
        for _ in range(size["prompts"])
    ]
    prompt_ids = [prompt for prompt in prompts for _ in range(size["group"])]
    run = {
        "sfpo": with_sampler,
        "generate": with_generate,
        "static": with_static_cache,
        "continuous": with_continuous_batching,
    }[engine]
    requests.answer(threads=torch.get_num_threads(), dtype=str(next(policy.parameters()).dtype))
    while (request := requests.next()) is not None:
        lengths = request["lengths"]
        torch.manual_seed(0)
        started = time.perf_counter()
        made = run(policy, prompt_ids, lengths, end, request["limit"])
        seconds = time.perf_counter() - started
        if made != lengths:
            raise RuntimeError(f"{engine} made completions of other lengths than asked for: {made} for {lengths}")
        requests.answer(seconds=seconds)


def ending(logits: Any, ends_now: Any, end: int) -> Any:
    """Logits (rows, V) that choose the end token in the rows where `ends_now`, and nowhere else."""
    logits = logits.clone()
    logits[:, end] = -float("inf")
    logits[ends_now] = -float("inf")
    logits[ends_now, end] = 0.0
    return logits


def with_sampler(policy: Any, prompt_ids: list[list[int]], lengths: list[int], end: int, limit: int) -> list[int]:
    import torch

    from sfpo.model.sampler import sample

    ends = torch.tensor(lengths)
    position = 0

    def restrict(logits: torch.Tensor) -> torch.Tensor:
        nonlocal ends, position
        if len(logits) < len(ends):  # those that had ended have left the batch
            ends = ends[ends > position]
        position += 1
        return ending(logits, ends == position, end)

    sampled = sample(policy, prompt_ids, max_new_tokens=limit, end_ids=[end], restrict=restrict)
    return [len(ids) for ids in sampled.completion_ids]


def with_generate(policy: Any, prompt_ids: list[list[int]], lengths: list[int], end: int, limit: int) -> list[int]:
    return generated(policy, prompt_ids, lengths, end, max_new_tokens=limit, disable_compile=True)  # as TRL does


def with_static_cache(policy: Any, prompt_ids: list[list[int]], lengths: list[int], end: int, limit: int) -> list[int]:
    from transformers import CompileConfig

    compile_config = CompileConfig(mode="default", dynamic=False)
    compile_config._compile_all_devices = True  # otherwise transformers compiles only for accelerators
    settings = {"max_new_tokens": limit, "cache_implementation": "static", "compile_config": compile_config}
    return generated(policy, prompt_ids, lengths, end, **settings)


def generated(policy: Any, prompt_ids: list[list[int]], lengths: list[int], end: int, **settings: Any) -> list[int]:
    import torch
    from transformers import LogitsProcessorList

    ends = torch.tensor(lengths)
    prompt_tokens = len(prompt_ids[0])

    def process(input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return ending(logits, ends == input_ids.shape[1] - prompt_tokens + 1, end)

    with torch.no_grad():
        ids = torch.tensor(prompt_ids)
        output = policy.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            eos_token_id=end,
            pad_token_id=end,
            logits_processor=LogitsProcessorList([process]),
            **settings,
        )
    ended = (output[:, prompt_tokens:] == end).int()
    return [row.index(1) + 1 for row in ended.tolist()]


def with_continuous_batching(
    policy: Any, prompt_ids: list[list[int]], lengths: list[int], end: int, limit: int
) -> list[int]:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    generation = GenerationConfig(max_new_tokens=limit, do_sample=True, top_k=0, eos_token_id=-1, pad_token_id=end)
    longest = len(prompt_ids[0]) + limit
    settings = ContinuousBatchingConfig(
        page_size=64,
        num_blocks=len(prompt_ids) * (longest // 64 + 2),
        max_batch_tokens=max(1024, sum(map(len, prompt_ids))),
        use_cuda_graph=False,
    )
    # `generate_batch` is this with one length for all.
    with policy.continuous_batching_context_manager(
        generation_config=generation, continuous_batching_config=settings, block=True, timeout=5
    ) as manager:
        order = [
            manager.add_request(ids, max_new_tokens=length) for ids, length in zip(prompt_ids, lengths, strict=True)
        ]
        made: dict[str, int] = {}
        while len(made) < len(order):
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError("continuous batching ended by itself")
            elif result.error is not None:
                raise RuntimeError(f"continuous batching failed: {result.error}")
            elif result.is_finished():
                made[result.request_id] = len(result.generated_tokens)
    return [made[request] for request in order]


if __name__ == "__main__":
    main()
