"""Models by name: the embedded one, hub ids, local folders (LoRA weights too), GGUF files."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from sfpo.errors import UsageError
from sfpo.model.source import base_of_adapter, readable, said_by, source_of


def resolve(name: str, trust_remote_code: bool = False) -> tuple[str, dict[str, Any]]:
    """The path or hub id by which transformers finds a model, and further arguments of `from_pretrained`.

    Raises:
        UsageError: the path does not exist, or the model is not a causal language model.
    """
    source, keywords = source_of(name)
    # Always said, yes or no: transformers asks the terminal where nothing is said, and a "y" on stdin would be the answer.
    keywords["trust_remote_code"] = trust_remote_code
    with _one_line(f"the model '{name}'"):
        config = AutoConfig.from_pretrained(base_of_adapter(source) or source, **keywords)
    architectures = config.architectures or []
    if not isinstance(architectures, list):
        raise UsageError(f"cannot load the model '{name}': its config.json has architectures that are no list")
    causal = any(str(a).endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for a in architectures)
    known = type(config) in AutoModelForCausalLM._model_mapping or "AutoModelForCausalLM" in (
        config.to_dict().get("auto_map") or {}
    )
    if not (causal if architectures else known):
        kind = ", ".join(map(str, architectures)) or type(config).__name__
        raise UsageError(f"'{name}' is a {kind}, not a causal language model: choose one that generates text")
    return source, keywords


def longest_readable(name: str, trust_remote_code: bool = False) -> int | None:
    """The tokens beyond which a model cannot read, or nobody means it to; None where it has no limit.

    Raises:
        UsageError: see `resolve`.
    """
    source, keywords = resolve(name, trust_remote_code)
    with _one_line(f"the model '{name}'"):
        config = AutoConfig.from_pretrained(base_of_adapter(source) or source, **keywords).get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    is_rotary = getattr(config, "rope_parameters", None) is not None
    return readable(positions, is_rotary)


def load_tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """The model's tokenizer, which pads on the left as generation requires.

    Raises:
        UsageError: there is none, it cannot be loaded, or it has no token that ends a completion.
    """
    source, keywords = resolve(name, trust_remote_code)
    with _one_line(f"the tokenizer of '{name}'"):
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **keywords)
        # Without files, transformers makes one that knows no text.
        knows_text = bool(tokenizer("1")["input_ids"])
    if not knows_text:
        raise UsageError(f"'{name}' has no tokenizer: save one with the model (tokenizer.save_pretrained)")
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"the tokenizer of '{name}' has no eos_token, so no completion would end: name it in tokenizer_config.json"
        )
    return tokenizer


def load_model(name: str, trust_remote_code: bool = False, **from_pretrained: Any) -> Any:
    """The model, by default in fp32: bf16 weights lose small updates, autocast does not.

    Raises:
        UsageError: there is none, or it cannot be loaded.
    """
    source, keywords = resolve(name, trust_remote_code)
    options = {name: value for name, value in from_pretrained.items() if value is not None}
    options["dtype"] = options.get("dtype", torch.float32)
    with _one_line(f"the model '{name}'"):
        if base := base_of_adapter(source):
            # Merge the adapter, so that evaluation and further training get a plain model again.
            plain = load_model(base, trust_remote_code, **from_pretrained)
            return PeftModel.from_pretrained(plain, source).merge_and_unload()
        model = AutoModelForCausalLM.from_pretrained(source, **keywords, **options)
    if "gguf_file" in keywords:
        # The weights are plain tensors now, and are to be trained and saved as such.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    return model


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Load what somebody else wrote: whatever is wrong with it, one line says so.

    Raises:
        UsageError: it cannot be loaded.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise UsageError(
                f"{what} brings code of its own: read it, and if you trust it, add --trust_remote_code true"
            ) from error
        # Damaged files raise any of the errors of Python, and of the libraries that read them.
        raise UsageError(f"cannot load {what}: {said_by(error)}") from error
