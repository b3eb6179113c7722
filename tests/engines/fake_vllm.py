"""vLLM where TRL calls it: what it is asked to do is noted, and its completions are always the same."""

from types import SimpleNamespace

COMPLETIONS = [[4, 5, 6], [7, 8], [9, 10, 11, 12], [5, 4]]


class FakeServer:
    """TRL's client of a vLLM server."""

    def __init__(self, events):
        self.events = events

    def __call__(self, **connection):
        return self

    def init_communicator(self, device):
        pass

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata, weights):
        self.events.append(("sync", {name: weight.clone() for name, weight in weights}))

    def reset_prefix_cache(self):
        pass

    def generate(self, prompts, n, **sampling):
        self.events.append(("generate", (len(prompts) * n, sampling | sampling["generation_kwargs"])))
        completions = [COMPLETIONS[index % 4] for index in range(n * len(prompts))]
        logprobs = [[[-2.0] for _ in completion] for completion in completions]
        return {"prompt_ids": prompts, "completion_ids": completions, "logprobs": logprobs}


class FakeColocated:
    """vllm.LLM as TRL uses it: weights are loaded one by one, then the prefix cache is reset."""

    def __init__(self, events):
        self.events = events
        runner = SimpleNamespace(model=self)
        driver = SimpleNamespace(model_runner=runner)
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(driver_worker=driver), model_config=SimpleNamespace(max_model_len=64)
        )
        self._loading = {}

    def __call__(self, **settings):
        return self

    def load_weights(self, pairs):
        self._loading |= {name: weight.clone() for name, weight in pairs}

    def reset_prefix_cache(self):
        self.events.append(("sync", self._loading))
        self._loading = {}

    def generate(self, prompts, sampling_params, use_tqdm):
        self.events.append(("generate", (len(prompts), vars(sampling_params))))
        outputs = []
        for index, prompt in enumerate(prompts):
            ids = COMPLETIONS[index % 4]
            logprobs = [{token: SimpleNamespace(logprob=-2.0, rank=1)} for token in ids]
            completion = SimpleNamespace(token_ids=ids, logprobs=logprobs)
            outputs.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[completion]))
        return outputs
