"""What `test_worker.py` compares: updates of one batch by SFPO's worker and, pass by pass, by verl's own."""

import os

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

INNER_STEPS, ALPHA, MINI_BATCHES = 3, 0.8, 2
ROWS, LEARNING_RATE = 8, 1e-2


def make_worker(worker_class, model_path, remove_padding=False, dtype="fp32", lora_rank=0, **engine):
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, TrainingWorkerConfig

    worker = worker_class(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=model_path,
                use_remove_padding=remove_padding,
                override_config={"attn_implementation": "sdpa"},
                enable_gradient_checkpointing=False,
                lora_rank=lora_rank,
                target_modules="all-linear",
            ),
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                use_torch_compile=False,
                use_dynamic_bsz=False,
                micro_batch_size_per_gpu=2,
                infer_micro_batch_size_per_gpu=4,
                mixed_precision={"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
                **engine,
            ),
            optimizer_config=FSDPOptimizerConfig(
                lr=LEARNING_RATE, total_training_steps=10, lr_warmup_steps=0, lr_scheduler_type="cosine", clip_grad=1.0
            ),
            checkpoint_config=CheckpointConfig(),
        )
    )
    torch.manual_seed(0)  # LoRA's adapters are drawn at random
    worker.reset()
    return worker


def set_loss(worker, loss_agg_mode="token-mean"):
    """verl's own loss; returns the list that its calls add their log-probabilities to, row by row."""
    from verl.workers.config import FSDPActorConfig
    from verl.workers.utils.losses import ppo_loss

    actor = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=2,
        ppo_mini_batch_size=2,
        use_torch_compile=False,
        loss_agg_mode=loss_agg_mode,
        loss_scale_factor=12,
    )
    scored = []

    def loss(model_output, **others):
        scored.append([row.detach() for row in model_output["log_probs"].unbind()])
        return ppo_loss(config=actor, model_output=model_output, **others)

    worker.set_loss_fn(loss)
    return scored


def make_batch(worker, seed):
    """Random prompts, responses and advantages, with the log-probabilities of the worker's own policy as π_old."""
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.padding import response_from_nested

    def nested(rows):
        return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)

    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 13, (ROWS, 2), generator=generator).tolist()
    prompts, responses = (
        [torch.randint(2, 16, (row[side],), generator=generator) for row in lengths] for side in (0, 1)
    )
    inputs = [torch.cat(row) for row in zip(prompts, responses, strict=True)]
    advantages = torch.randn(ROWS, generator=generator)
    masks = [torch.cat([torch.zeros_like(p), torch.ones_like(r)]) for p, r in zip(prompts, responses, strict=True)]
    batch = tu.get_tensordict(
        {
            "input_ids": nested(inputs),
            "position_ids": nested(torch.arange(len(row)) for row in inputs),
            "attention_mask": nested(torch.ones_like(row) for row in inputs),
            "prompts": nested(prompts),
            "responses": nested(responses),
            "response_mask": nested(torch.ones_like(row) for row in responses),
            "loss_mask": nested(masks),
            "advantages": nested(a.expand(len(row)).clone() for a, row in zip(advantages, responses, strict=True)),
        },
        non_tensor_dict={"temperature": 1.0, "calculate_entropy": False},
    )
    scores = batch.copy()
    tu.assign_non_tensor(scores, compute_loss=False)
    batch["old_log_probs"] = response_from_nested(worker.infer_batch(scores)["log_probs"], batch["response_mask"])
    return batch


def one_call(worker, batch, **instructions):
    """One `train_mini_batch`, as verl's trainer calls it; its metrics."""
    from verl.utils import tensordict_utils as tu

    data = batch.copy()
    mini_batch = ROWS // MINI_BATCHES * torch.distributed.get_world_size()
    instructions = {"global_batch_size": mini_batch, "mini_batch_size": mini_batch, "epochs": 1, **instructions}
    tu.assign_non_tensor(data, seed=42, dataloader_kwargs={"shuffle": False}, **instructions)
    return tu.get(worker.train_mini_batch(data), "metrics")


def sfpo_step(worker, batch, alpha=ALPHA, every_row_has_gradient=False):
    settings = {
        "inner_steps": INNER_STEPS,
        "alpha": alpha,
        "snapshot_device": "cpu",
        "every_row_has_gradient": every_row_has_gradient,
    }
    return one_call(worker, batch, sfpo=settings)


def as_the_core_writes_it(start, end):
    return torch.lerp(end, start, 1 - ALPHA)


def step_by_hand(worker, batch, reposition=as_the_core_writes_it, fast_passes=INNER_STEPS, slow_pass=True):
    """The same step from verl's own passes, with the reposition on whole weights; those weights, and the drift."""
    engine = worker.engine
    start = whole_weights(worker)
    engine.lr_scheduler_step = lambda: None
    for _ in range(fast_passes):
        one_call(worker, batch)
    del engine.lr_scheduler_step
    end = whole_weights(worker)
    mixed = {name: reposition(start[name], end[name]) for name in start}
    with torch.no_grad():
        for name, weight in engine.module.named_parameters():
            weight.copy_(distribute_tensor(mixed[name], weight.device_mesh, weight.placements))
    if slow_pass:
        one_call(worker, batch)
    else:
        engine.lr_scheduler_step()
    trained = [name for name, weight in engine.module.named_parameters() if weight.requires_grad]
    moved, size = (
        torch.stack([weight.norm() for weight in weights]).norm()
        for weights in ([end[name] - start[name] for name in trained], [start[name] for name in trained])
    )
    return mixed, float(moved / size)


def scores_without_verl(model_path, weights, batch, rows):
    """Log-probabilities by transformers alone, of each token of the rows after the first."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    model.load_state_dict(weights, strict=False)
    scores = []
    for ids in batch["input_ids"].unbind()[:rows]:
        with torch.no_grad():
            logps = model(ids[None]).logits[0, :-1].log_softmax(-1)
        scores.append(logps.gather(1, ids[1:, None])[:, 0])
    return scores


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def whole_weights(worker):
    return {name: whole(weight) for name, weight in worker.engine.module.named_parameters()}


def optimizer_state(worker):
    """Per weight: Adam's step count and moments."""
    states = worker.engine.optimizer.state
    return [{name: whole(value) for name, value in states[weight].items()} for weight in states]


def summary(worker, metrics=None, drift=None):
    return {
        "weights": whole_weights(worker),
        "optimizer": optimizer_state(worker),
        "schedule": worker.engine.lr_scheduler.last_epoch,
        "metrics": metrics,
        "drift": drift,
    }


def both_ways(model_path, steps=1, loss_agg_mode="token-mean", **settings):
    """The same batches by SFPO's worker and by hand, from the same weights."""
    from verl.workers.engine_workers import TrainingWorker

    from sfpo.verl.worker import SlowFastTrainingWorker

    ours, plain = (make_worker(kind, model_path, **settings) for kind in (SlowFastTrainingWorker, TrainingWorker))
    start = whole_weights(ours)
    scored, _ = set_loss(ours, loss_agg_mode), set_loss(plain, loss_agg_mode)
    for step in range(steps):
        batch = make_batch(plain, seed=10 * step + torch.distributed.get_rank())
        scored.clear()
        metrics = sfpo_step(ours, batch)
        mixed, drift = step_by_hand(plain, batch)
    result = {"start": start, "sfpo": summary(ours, metrics), "by_hand": summary(plain, drift=drift)}
    if not settings:
        first = scored[len(scored) * INNER_STEPS // (INNER_STEPS + 1)]  # micro-batch of the slow pass
        result["seen_by_slow_pass"] = [row[:-1] for row in first]
        result["scored_without_verl"] = scores_without_verl(model_path, mixed, batch, len(first))
    return result


def plain_both_ways(model_path):
    """α = 0 against verl's own update, after a step that gave the optimizer something to carry on from."""
    from verl.workers.engine_workers import TrainingWorker

    from sfpo.verl.worker import SlowFastTrainingWorker

    ours, plain = (make_worker(kind, model_path) for kind in (SlowFastTrainingWorker, TrainingWorker))
    for worker in (ours, plain):
        set_loss(worker)
    for step in range(2):
        batch = make_batch(plain, seed=10 * step + torch.distributed.get_rank())
        metrics = sfpo_step(ours, batch, alpha=0.0)
        own = one_call(plain, batch)
    return {"sfpo": summary(ours, metrics), "verl": summary(plain, own)}


def offloaded(model_path):
    """SFPO's worker with verl's offloading, and the moves between host and device that one step took."""
    from sfpo.verl.worker import SlowFastTrainingWorker

    results = []
    for offload in (False, True):
        worker = make_worker(SlowFastTrainingWorker, model_path, param_offload=offload, optimizer_offload=offload)
        set_loss(worker)
        batch = make_batch(worker, seed=torch.distributed.get_rank())
        moves, move = [], worker.engine.to
        worker.engine.to = lambda device, moves=moves, move=move, **what: (
            moves.append(what),
            move(device=device, **what),
        )
        sfpo_step(worker, batch)
        results.append({**summary(worker), "moves": moves})
    return results


def join(rank, world_size, folder):
    """Meet the other ranks at a file: a port found free now may be taken before all have started."""
    from cpu_platform import join_process_group

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), DIST_INIT_METHOD=f"file://{folder}/ranks")
    # verl reads them whether or not they are used.
    os.environ.update(MASTER_ADDR="unused", MASTER_PORT="0")
    torch.set_num_threads(1)
    join_process_group()


def run_all(rank, world_size, model_path, folder):
    join(rank, world_size, folder)
    results = {
        "fp32": both_ways(model_path, steps=2),
        "bf16": both_ways(model_path, dtype="bf16"),
        "bf16_packed": both_ways(model_path, dtype="bf16", remove_padding=True),
        "dr_grpo": both_ways(model_path, loss_agg_mode="seq-mean-token-sum-norm"),
        "lora": both_ways(model_path, lora_rank=4),
        "plain": plain_both_ways(model_path),
        # Replicas of weights that are not sharded; on one rank there is only one.
        "hybrid_sharding": both_ways(model_path, fsdp_size=1),
        "offloaded": offloaded(model_path),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
