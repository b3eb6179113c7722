"""ReMax's advantages in TRL's GRPO: each prompt's baseline is the reward of its greedy completion.

    advantage of a sample = its reward − the reward of its prompt's greedy completion

Without division by a standard deviation, and with any number of samples a prompt, one included (Li et al., arXiv 2310.10505).
The greedy completion is one more rollout a prompt. It is sampled and graded as the others are, and enters no loss.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfpo.trl.config import GREEDY, REMAX, SFPOConfig
from sfpo.trl.step_log import PREFIX, metrics_apart

if TYPE_CHECKING:
    _HostTrainer = Any
else:
    _HostTrainer = object


class GreedyBaseline(_HostTrainer):
    """Gives `GRPOTrainer` ReMax's advantages where `advantage_estimator` asks for them, and is GRPO otherwise.

    Every departure, complete: `_generate` first completes each prompt greedily, `_calculate_rewards` grades these after the
    samples, and the advantages that TRL has made of the samples' rewards are replaced, also in its table of completions.
    TRL's metrics of rewards and lengths stay those of the samples; `num_tokens` and `rollouts` count the greedy ones, too.

    Raises:
        ValueError: the rollouts are those of a `rollout_func` or an `environment_factory`, which cannot be asked to be greedy,
            or to begin anew for one more rollout.
    """

    args: Any
    num_generations: int
    rollouts: int
    _pending_extra_logs: Any
    _pending_metrics: Any

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._greedy: tuple[list[list[int]], list[Any]] | None = None
        """Token ids and completions, one for each group of the batch that is being made."""
        self._advantages: Tensor
        """(R,) those of that batch, of all processes."""
        # Axolotl's configurations have SFPO's settings without this one.
        self._is_remax = isinstance(self.args, SFPOConfig) and self.args.advantage_estimator == REMAX
        if self._is_remax:
            sources = {"rollout_func": self.rollout_func, "environment_factory": self.environment_factories}
            for name in (name for name, source in sources.items() if source is not None):
                raise ValueError(
                    f"advantage_estimator='{REMAX}' needs a greedy rollout of every prompt, which {name} cannot be asked for: "
                    f"leave {name} out, or take advantage_estimator='grpo'"
                )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self._greedy is not None:
            start = self.accelerator.process_index * len(inputs)
            output["advantages"] = self._advantages[start : start + len(inputs)]
            # As long as a batch, so that these push out the ones that TRL has added.
            self._logs["advantages"].extend(self._advantages.tolist())
        return output

    def _generate(self, prompts: list[Any]) -> Any:
        self._greedy = None
        if self._is_remax and self.model.training:
            of_groups = prompts[:: self.num_generations]
            with metrics_apart(self), self._greedily():
                _, completion_ids, _, completions, *_ = super()._generate(of_groups)
            self._greedy = completion_ids, completions
            self.rollouts += len(of_groups) * self.accelerator.num_processes
        return super()._generate(prompts)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._greedy is not None:
            group = self.num_generations
            greedy_ids, greedy = self._greedy
            with self._user_logs_apart():
                of_groups = [{**row, GREEDY: True} for row in inputs[::group]]
                greedy_rewards = super()._calculate_rewards(of_groups, prompts[::group], greedy, greedy_ids)
            baselines = self._weighed(greedy_rewards)
            self._metrics["train"][f"{PREFIX}greedy_reward"].append(baselines.nanmean().item())
            advantages = self._weighed(rewards) - baselines.repeat_interleave(group)
            # TRL's rule: what no reward function could judge teaches nothing.
            self._advantages = advantages.nan_to_num(0.0)
        return rewards

    def _weighed(self, rewards: Tensor) -> Tensor:
        """(R,) rewards, as TRL adds up those of its (R, F) reward functions; NaN where none of them judged."""
        total: Tensor = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        return total.masked_fill(rewards.isnan().all(dim=1), torch.nan)

    @contextmanager
    def _greedily(self) -> Iterator[None]:
        """Whatever samples takes the likeliest token each time, and one completion a prompt."""
        group, self.num_generations = self.num_generations, 1
        holder, name = (self.vllm_generation, "generation_kwargs") if self.use_vllm else (self, "generation_config")
        sampled = getattr(holder, name)
        if self.use_vllm:
            greedy = {**sampled, "temperature": 0.0}
        else:
            greedy = deepcopy(sampled)
            # The others are the values without an effect, for which `generate` would warn.
            greedy.update(do_sample=False, temperature=1.0, top_p=1.0, top_k=50, min_p=None)
        setattr(holder, name, greedy)
        try:
            yield
        finally:
            self.num_generations = group
            setattr(holder, name, sampled)

    @contextmanager
    def _user_logs_apart(self) -> Iterator[None]:
        """Reward functions log what they log for the samples alone, whose columns stand in a table beside them."""
        logs, metrics = self._pending_extra_logs, self._pending_metrics
        self._pending_extra_logs, self._pending_metrics = defaultdict(list), defaultdict(list)
        try:
            yield
        finally:
            self._pending_extra_logs, self._pending_metrics = logs, metrics
