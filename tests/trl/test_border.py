"""What SFPO takes from TRL, transformers, accelerate and DeepSpeed without their promise, by name."""

import inspect
from argparse import ArgumentParser
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.state import GradientState
from accelerate.utils.deepspeed import DeepSpeedEngineWrapper
from border import Source, members, signature_of
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, Trainer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import sfpo

PACKAGE = Path(sfpo.__file__).parent
SOURCE = Source(path for path in sorted(PACKAGE.rglob("*.py")) if "verl" not in path.relative_to(PACKAGE).parts)
HOSTS = (
    GRPOTrainer,
    RLOOTrainer,
    TrainerCallback,
    PreTrainedModel,
    PreTrainedConfig,
    Accelerator,
    GradientState,
    DeepSpeedEngineWrapper,
)

SCORING = (
    "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
    "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
    "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
    "image_position_ids=None)"
)
OF_BOTH_TRAINERS = {
    # Overridden.
    "_prepare_inputs": "(self, generation_batch)",
    "_generate_and_score_completions": "(self, inputs)",
    "_get_per_token_logps_and_entropies": SCORING,
    "compute_loss": "(self, model, inputs, return_outputs=False, num_items_in_batch=None)",
    "_get_grad_norm": "(self, model, grad_norm=None)",
    "_save_checkpoint": "(self, model, trial)",
    "_load_optimizer_and_scheduler": "(self, checkpoint)",
    "_get_output_dir": "(self, trial)",
    "_push_from_checkpoint": "(self, checkpoint_folder)",
    "set_initial_training_values": "(self, args, dataloader)",
    "train": "(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)",
    # Called.
    "_clip_grad_norm": "(self, model)",
}
METHODS = [
    *((host, name, signature) for host in (GRPOTrainer, RLOOTrainer) for name, signature in OF_BOTH_TRAINERS.items()),
    (
        GRPOTrainer,
        "_generate_single_turn",
        "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)",
    ),
    (GRPOTrainer, "_generate", "(self, prompts)"),
    (GRPOTrainer, "_calculate_rewards", "(self, inputs, prompts, completions, completion_ids_list)"),
    (RLOOTrainer, "_generate_single_turn", "(self, prompt_ids, images, multimodal_fields)"),
    # Called past TRL's own.
    (Trainer, "training_step", "(self, model, inputs, num_items_in_batch=None)"),
    *(
        (TrainerCallback, f"on_{point}", "(self, args, state, control, **kwargs)")
        for point in ("train_begin", "step_begin", "pre_optimizer_step", "optimizer_step", "step_end")
    ),
    (GradientState, "_set_sync_gradients", "(self, sync_gradients)"),
    (Accelerator, "no_sync", "(self, model)"),
    (Accelerator, "gather", "(self, tensor)"),
    (Accelerator, "reduce", "(self, tensor, reduction='sum', scale=1.0)"),
    (DeepSpeedEngineWrapper, "__init__", "(self, engine)"),
    (DeepSpeedEngineWrapper, "backward", "(self, loss, sync_gradients=True, **kwargs)"),
]

OF_CLASSES = [
    *((host, name) for host in (GRPOTrainer, RLOOTrainer) for name in ("_tag_names", "_name", "_paper")),
    (PreTrainedConfig, "_name_or_path"),
    (PreTrainedConfig, "_attn_implementation"),
    (AutoModelForCausalLM, "_model_mapping"),
    (ArgumentParser, "_actions"),
    (ArgumentParser, "_add_action"),
]

OF_CONSTRUCTED_TRAINERS = [
    "_buffered_inputs",
    "_metrics",
    "_step",
    "aux_loss_enabled",
    "beta",
    "eos_token_ids",
    "epsilon_high",
    "epsilon_low",
    "is_distributed_loading_by_transformers",
    "model_wrapped",
    "ref_model",
    "temperature",
]
OF_GRPO_ALONE = [
    "_entropy_bonus_enabled",
    "environment_factories",
    "importance_sampling_level",
    "loss_type",
    "rollout_func",
    "tools",
    "top_entropy_quantile",
]
OF_GRPO_FOR_REMAX = [
    "_logs",
    "_pending_extra_logs",
    "_pending_metrics",
    "generation_config",
    "num_generations",
    "reward_weights",
    "use_vllm",
]

# Public in spite of their names: a named tuple's methods and `os._exit`.
OF_PYTHON = {"_asdict", "_fields", "_make", "_replace", "_exit"}

OPTIONAL = {
    "getattr(module, 'is_causal', True)": "some of transformers' attention modules leave it out, which its own code reads so",
    "getattr(model.config.get_text_config(), 'max_position_embeddings', None)": "models without a limit have none",
    "getattr(config, 'max_position_embeddings', None)": "models without a limit have none",
    "getattr(config, 'rope_parameters', None)": "models without rotary positions have none",
    "getattr(yaml, 'CSafeLoader', yaml.SafeLoader)": "PyYAML has it where it was built with libyaml",
    "hasattr(model.config, 'quantization_config')": "only what was quantized has one",
    "hasattr(os, 'sched_getaffinity')": "Linux alone has it",
    "hasattr(value, 'free_symbols')": "SymPy's expressions have them, its relations' parts may not",
    "hasattr(value, 'has')": "SymPy's expressions have it, what stands for a set may not",
    "getattr(torch.get_device_module(kind), 'get_device_name', None)": "not every accelerator names its devices",
    "getattr(torch.get_device_module(device), 'mem_get_info', None)": "not every accelerator says what memory is free",
    "getattr(torch.version, 'hip', None)": "torch for ROCm has it",
    "getattr(error, 'strerror', None)": "an OSError has one, a UnicodeDecodeError has none",
}


@pytest.mark.parametrize(("host", "name", "signature"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_methods_take_what_they_took(host, name, signature):
    assert hasattr(host, name), f"{host.__name__} has no {name} any more"
    assert signature_of(getattr(host, name)) == signature


@pytest.mark.parametrize(("host", "name"), OF_CLASSES, ids=lambda value: getattr(value, "__name__", value))
def test_attributes_of_classes_are_there(host, name):
    assert name in members(host), f"{host.__name__} has no {name} any more"


@pytest.fixture(scope="module", params=[(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)], ids=["GRPO", "RLOO"])
def constructed(request, tiny_model, tmp_path_factory):
    host, config = request.param
    return host(
        model=tiny_model,
        reward_funcs=lambda completions, **columns: [0.0] * len(completions),
        args=config(output_dir=str(tmp_path_factory.mktemp("host")), report_to="none", use_cpu=True, bf16=False),
        train_dataset=Dataset.from_dict({"prompt": ["1+1="] * 8}),
    )


def test_attributes_of_constructed_trainers_are_there_and_mean_what_they_meant(constructed):
    assert [name for name in OF_CONSTRUCTED_TRAINERS if not hasattr(constructed, name)] == []
    # What training starts from, and is set back to when it begins anew.
    assert constructed._step == 0
    if isinstance(constructed, GRPOTrainer):
        assert [name for name in OF_GRPO_FOR_REMAX if not hasattr(constructed, name)] == []
        # ReMax's advantages push out TRL's.
        assert constructed._logs["advantages"].maxlen == constructed.args.generation_batch_size
    assert constructed._buffered_inputs is None
    assert constructed._metrics == {"train": {}, "eval": {}}
    assert constructed.accelerator.gradient_state.plugin_kwargs.get("sync_each_batch") in (None, False)


def test_grpo_has_what_rloo_lacks(constructed):
    """`host.py` takes RLOO to have none of these options: where it gets one, it must be read."""
    there = [name for name in OF_GRPO_ALONE if hasattr(constructed, name)]
    options = [name for name in ("cast_lm_head_to_fp32", "use_adaptive_entropy") if hasattr(constructed.args, name)]
    if isinstance(constructed, GRPOTrainer):
        assert there == OF_GRPO_ALONE
        assert options == ["cast_lm_head_to_fp32", "use_adaptive_entropy"]
        assert constructed._entropy_bonus_enabled is False
        assert constructed.loss_type != "bnpo"
        assert constructed.importance_sampling_level == "token"
    else:
        assert there == options == []


def test_accelerate_calls_what_stands_in_for_its_deepspeed_engine():
    """`engines.py` replaces an attribute; under another name, the engine would step within `backward` again."""
    assert "self.deepspeed_engine_wrapped.backward(" in inspect.getsource(Accelerator.backward)
    assert "self.deepspeed_engine_wrapped.get_global_grad_norm()" in inspect.getsource(Accelerator.clip_grad_norm_)


def test_deepspeed_keeps_its_masters_where_they_were():
    pytest.importorskip("deepspeed")
    from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    expected = {
        DeepSpeedZeroOptimizer: [
            "single_partition_of_fp32_groups",
            "update_lp_params",
            "scaled_global_norm",
            "loss_scale",
        ],
        DeepSpeedZeroOptimizer_Stage3: [
            "fp32_partitioned_groups_flat",
            "fp16_partitioned_groups_flat",
            "persistent_parameters",
            "_get_norm_groups",
            "loss_scale",
        ],
    }
    missing = {
        host.__name__: [name for name in names if name not in members(host)] for host, names in expected.items()
    }
    assert missing == {host.__name__: [] for host in expected}
    # Wrapped for profiling, so that `inspect.signature` sees nothing of these.
    for host, name in (
        (DeepSpeedZeroOptimizer_Stage3, "_get_norm_groups"),
        (DeepSpeedZeroOptimizer, "update_lp_params"),
    ):
        assert f"def {name}(self):" in inspect.getsource(host)


def test_every_private_member_of_others_is_listed_here():
    listed = {name for _, name, _ in METHODS if name.startswith("_")} | {name for _, name in OF_CLASSES}
    listed |= {name for name in OF_CONSTRUCTED_TRAINERS + OF_GRPO_ALONE + OF_GRPO_FOR_REMAX if name.startswith("_")}
    listed |= {"_get_norm_groups"}
    listed -= {"__init__"}
    found = SOURCE.private_of_others(HOSTS)
    assert {name: places for name, places in found.items() if name not in listed | OF_PYTHON} == {}
    assert sorted(listed - found.keys()) == [], "listed, but nothing in the package uses it"


def test_no_member_of_a_host_is_read_with_a_default():
    found = SOURCE.lookups_with_a_default()
    assert {code: places for code, places in found.items() if code not in OPTIONAL} == {}
    assert sorted(OPTIONAL.keys() - found.keys()) == [], "listed, but nothing in the package uses it"


class Host:
    def __init__(self):
        self._counter = 0

    def _hook(self):
        pass


def test_the_listing_sees_what_it_must(tmp_path):
    (tmp_path / "code.py").write_text(
        "from elsewhere import _imported\n"
        "class Mixin:\n"
        "    _counter: int\n"
        "    def _hook(self): self._own = 1\n"
        "    def more(self): return self._own, self._counter, self._unknown\n"
        "class Ours(Mixin, Host): pass\n"
        "class Apart:\n"
        "    def __init__(self, host): self._counter, self._host = 1, host\n"
        "    def use(self): return self._host._counter, getattr(self._host, '_named', None)\n"
    )
    found = Source([tmp_path / "code.py"]).private_of_others([Host])
    lines = {name: [int(place.rpartition(":")[2]) for place in places] for name, places in found.items()}
    assert lines == {"_imported": [1], "_hook": [2], "_counter": [5, 9], "_unknown": [5], "_named": [9]}
    assert list(Source([tmp_path / "code.py"]).lookups_with_a_default()) == ["getattr(self._host, '_named', None)"]
