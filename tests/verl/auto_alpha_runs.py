"""What `test_auto_alpha.py` compares: steps whose α a trust region chose, and the same from verl's own passes."""

import torch
from worker_runs import MINI_BATCHES, ROWS, join, make_batch, make_worker, one_call, set_loss, sfpo_step, step_by_hand
from worker_runs import summary as summary_of

IDLE_ROWS = 3
"""Rows of the first rank without an advantage; each further rank has one more."""
BUDGETS = {"wide": 20.0, "narrow": 1e-6}


def with_idle_rows(batch, idle):
    rows = [torch.zeros_like(row) if index < idle else row for index, row in enumerate(batch["advantages"].unbind())]
    batch["advantages"] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    return batch


def over_ranks(value):
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def kl_by_hand(scored, batch, every_row=False):
    """r - 1 - log r over the responses of the rows that count, in float64, from log-probabilities row by row."""
    kl = tokens = 0.0
    rows = zip(batch["old_log_probs"].unbind(), batch["advantages"].unbind(), strict=True)
    for scores, (old, advantages) in zip(scored, rows, strict=False):  # of the first mini-batch only, perhaps
        if every_row or advantages.any():
            log_ratio = scores[-len(old) - 1 : -1].double() - old.double()
            kl += float((log_ratio.exp() - 1 - log_ratio).sum())
            tokens += len(old)
    kls, counts = zip(*over_ranks((kl, tokens)), strict=True)
    return sum(kls) / sum(counts)


def both_ways(model_path, budget, every_row=False):
    """One batch by SFPO's worker, and by hand with the α, the fast passes and the slow pass that it chose."""
    from verl.workers.engine_workers import TrainingWorker

    from sfpo.verl.whole_passes import WholePassTrustRegion
    from sfpo.verl.worker import SlowFastTrainingWorker

    ours, plain = (make_worker(kind, model_path) for kind in (SlowFastTrainingWorker, TrainingWorker))
    set_loss(ours)
    scored = set_loss(plain)
    rank = torch.distributed.get_rank()
    batch = with_idle_rows(make_batch(plain, seed=rank), IDLE_ROWS + rank)
    metrics = sfpo_step(ours, batch, WholePassTrustRegion(budget, alpha_max=100.0), every_row)
    alpha, slow_pass = metrics["sfpo/alpha"], "sfpo/kl_reached" in metrics
    passes = int(metrics["sfpo/passes"])
    scored.clear()
    step_by_hand(plain, batch, lambda start, end: torch.lerp(end, start, 1 - alpha), passes - slow_pass, slow_pass)
    rows = [row for micro_batch in scored for row in micro_batch]
    by_pass = [rows[index * ROWS : (index + 1) * ROWS] for index in range(passes)]
    return {
        "sfpo": summary_of(ours, metrics),
        "by_hand": summary_of(plain),
        "kls": [kl_by_hand(scores, batch, every_row) for scores in by_pass],
        "kl_at_the_last_start": kl_by_hand(by_pass[-1][: ROWS // MINI_BATCHES], batch, every_row),
        "share": sum(over_ranks(ROWS - IDLE_ROWS - rank)) / (ROWS * torch.distributed.get_world_size()),
    }


def without_an_advantage(model_path):
    """A batch in which no completion has an advantage, after one that left momentum: SFPO's worker and verl's own."""
    from verl.workers.engine_workers import TrainingWorker

    from sfpo.verl.whole_passes import WholePassTrustRegion
    from sfpo.verl.worker import SlowFastTrainingWorker

    ours, plain = (make_worker(kind, model_path) for kind in (SlowFastTrainingWorker, TrainingWorker))
    for worker in (ours, plain):
        set_loss(worker)
    first = make_batch(plain, seed=torch.distributed.get_rank())
    sfpo_step(ours, first, alpha=0.0)
    one_call(plain, first)
    batch = with_idle_rows(make_batch(plain, seed=10), ROWS)
    metrics = sfpo_step(ours, batch, WholePassTrustRegion())
    one_call(plain, batch)
    return {"sfpo": summary_of(ours, metrics), "verl": summary_of(plain)}


def run_all(rank, world_size, model_path, folder):
    join(rank, world_size, folder)
    results = {name: both_ways(model_path, budget) for name, budget in BUDGETS.items()}
    results["every_row"] = both_ways(model_path, BUDGETS["wide"], every_row=True)
    results["without_an_advantage"] = without_an_advantage(model_path)
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
