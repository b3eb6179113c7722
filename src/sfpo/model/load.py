"""Models by name: the embedded one, hub ids, local folders (LoRA weights too), GGUF files."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sfpo.errors import UsageError
from sfpo.model.embedded import EMBEDDED, MODEL_PATH

ADAPTER = "adapter_config.json"


def resolve(name: str) -> tuple[str, dict[str, Any]]:
    """The path or hub id by which transformers finds a model, and further arguments of `from_pretrained`.

    Raises:
        UsageError: the path does not exist, or the model is not a causal language model.
    """
    source, keywords = (str(MODEL_PATH), {}) if name == EMBEDDED else _source(name)
    try:
        config = AutoConfig.from_pretrained(_base_of_adapter(source) or source, **keywords)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot load the model '{name}': {_first_line(error)}") from error
    architectures = config.architectures or []
    causal = any(a.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for a in architectures)
    if not (causal if architectures else type(config) in AutoModelForCausalLM._model_mapping):
        kind = ", ".join(architectures) or type(config).__name__
        raise UsageError(f"'{name}' is a {kind}, not a causal language model: choose one that generates text")
    return source, keywords


def positions_of(name: str) -> int | None:
    """The tokens that a model can read, prompt and completion together; None where it has no limit."""
    source, keywords = resolve(name)
    config = AutoConfig.from_pretrained(_base_of_adapter(source) or source, **keywords).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    rotary = getattr(config, "rope_parameters", None)
    factor = (
        rotary.get("factor", 1.0) if isinstance(rotary, dict) else 1.0
    )  # stretched beyond the positions trained on
    return None if positions is None else int(positions * max(1.0, factor or 1.0))


def load_tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """The model's tokenizer, which pads on the left as generation requires."""
    source, keywords = resolve(name)
    try:
        return AutoTokenizer.from_pretrained(
            source, padding_side="left", trust_remote_code=trust_remote_code, **keywords
        )
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot load the tokenizer of '{name}': {_first_line(error)}") from error


def load_model(name: str, **from_pretrained: Any) -> Any:
    """The model, by default in fp32: bf16 weights lose small updates, autocast does not."""
    source, keywords = resolve(name)
    options = {name: value for name, value in from_pretrained.items() if value is not None}
    options["dtype"] = options.get("dtype", torch.float32)
    try:
        if base := _base_of_adapter(source):
            # Merge the adapter, so that evaluation and further training get a plain model again.
            return PeftModel.from_pretrained(load_model(base, **from_pretrained), source).merge_and_unload()
        model = AutoModelForCausalLM.from_pretrained(source, **keywords, **options)
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot load the model '{name}': {_first_line(error)}") from error
    if "gguf_file" in keywords:
        # The weights are plain tensors now, and are to be trained and saved as such.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    return model


def _source(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UsageError(f"there is no file {name}: give the path of a GGUF model")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir() and not (path / "config.json").is_file() and not (path / ADAPTER).is_file():
        raise UsageError(f"{name} holds no config.json: give the folder of a saved model, or a .gguf file")
    if not path.exists() and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise UsageError(f"there is no model folder {name}")
    return name, {}


def _base_of_adapter(source: str) -> str | None:
    """The base model of a folder of LoRA weights, or None if the folder holds none."""
    file = Path(source) / ADAPTER
    return str(json.loads(file.read_text())["base_model_name_or_path"]) if file.is_file() else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
