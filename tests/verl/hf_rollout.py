"""Rollouts for verl by a plain transformers loop on the CPU, for tests; `actor_rollout_ref.rollout.name=hf_cpu`."""

import os

import ray
import torch
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput


class Server:
    """One replica: its own copy of the model, sampled token by token."""

    def __init__(self, path, response_length, seed):
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self._response_length = response_length
        self._version = 0

    async def load_weights(self, weights, version):
        weights = {name: torch.from_numpy(weight.copy()) for name, weight in weights.items()}
        missing, unexpected = self._model.load_state_dict(weights, strict=False)
        assert not unexpected
        assert missing in ([], ["lm_head.weight"])  # tied to the embeddings
        self._version = self._version if version is None else version

    async def generate(self, request_id, prompt_ids, sampling_params, **others):
        temperature = sampling_params.get("temperature", 1.0)
        longest = sampling_params.get("max_tokens") or self._response_length
        ids, logps, cache, inputs = [], [], None, torch.tensor([prompt_ids])
        while len(ids) < longest and (not ids or ids[-1] != self._model.config.eos_token_id):
            with torch.no_grad():
                output = self._model(input_ids=inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logp = torch.log_softmax(output.logits[0, -1].float() / (temperature or 1.0), -1)
            token = torch.multinomial(logp.exp(), 1) if temperature else logp.argmax(keepdim=True)
            ids.append(int(token))
            logps.append(float(logp[token]))
            inputs = token[None]
        return TokenOutput(
            token_ids=ids,
            log_probs=logps if sampling_params.get("logprobs") else None,
            stop_reason="length" if len(ids) == longest else "completed",
            extra_fields={"global_steps": self._version},
        )

    async def _nothing(self, *arguments, **keywords):
        return None

    wake_up = sleep = clear_kv_cache = release_kv_cache = resume_kv_cache = _nothing
    abort_all_requests = resume_generation = start_profile = stop_profile = _nothing


def _name(rank):
    return f"hf_cpu_{rank}"


class Replica(RolloutReplica):
    async def launch_servers(self):
        self._server_address = _name(self.replica_rank)
        server = ray.remote(Server).options(name=self._server_address, num_cpus=0)
        self._server_handle = server.remote(self.model_config.path, self.config.response_length, self.config.seed)
        self.servers = [self._server_handle]


class Adapter(BaseRollout):
    """Passes a worker's weights to the replica of the same rank."""

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, **others):
        # All ranks must go through the weights, each of which is gathered when its turn comes.
        whole = {name: weight.detach().float().numpy().copy() for name, weight in weights}
        await ray.get_actor(_name(os.environ["RANK"])).load_weights.remote(whole, global_steps)


RolloutReplicaRegistry.register("hf_cpu", lambda: Replica)
_ROLLOUT_REGISTRY["hf_cpu", "async"] = "hf_rollout.Adapter"
