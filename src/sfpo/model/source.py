"""Where a model is by its name, and what its files say of it; needs neither torch nor transformers."""

import json
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.model.embedded import EMBEDDED, MODEL_PATH
from sfpo.model.label import model_label

ADAPTER = "adapter_config.json"
_FAR_BEYOND = 100


def source_of(name: str) -> tuple[str, dict[str, Any]]:
    """The path or hub id by which transformers finds a model, and further arguments of `from_pretrained`.

    Raises:
        UsageError: the name is a path where no model is.
    """
    return (str(MODEL_PATH), {}) if name == EMBEDDED else _local_or_hub(name)


def _local_or_hub(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix == ".gguf":
        if not isfile(name):
            raise UsageError(f"there is no file {name}: give the path of a GGUF model")
        return str(path.parent), {"gguf_file": path.name}
    if isdir(path) and not isfile(path / "config.json") and not isfile(path / ADAPTER):
        raise UsageError(
            f"{name or 'this folder'} holds no config.json: give the folder of a saved model, or a .gguf file"
        )
    if isfile(path / ADAPTER) and not any(isfile(path / f"adapter_model.{kind}") for kind in ("safetensors", "bin")):
        raise UsageError(f"{name} holds an adapter without its weights: save it again")
    if not exists(path) and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
        raise UsageError(f"there is no model folder {name}")
    if isfile(path):
        raise UsageError(f"{name} is a file: give the folder of a saved model, or a .gguf file")
    return name, {}


def base_of_adapter(source: str) -> str | None:
    """The base model of a folder of LoRA weights, or None if the folder holds none.

    Raises:
        UsageError: the folder does not say which.
    """
    file = Path(source) / ADAPTER
    if not isfile(file):
        return None
    try:
        adapter = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON ({said_by(error)}): save the adapter again") from error
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    if not isinstance(base, str) or not base:
        raise UsageError(f"{file} does not name the model that it adapts: add its base_model_name_or_path")
    if isdir(base) and isfile(Path(base) / ADAPTER) and not isfile(Path(base) / "config.json"):
        raise UsageError(f"{file} adapts {base}, which is itself an adapter: merge that one first")
    return base


def readable(positions: object, is_rotary: bool) -> int | None:
    """The tokens beyond which a model cannot read, or nobody means it to; None where it has no limit.

    A model with learned positions has no more than those. Rotary ones go on past the positions that they were trained on, worse
    and worse; a hundred times as many are a slip of the pen.
    """
    return positions * (_FAR_BEYOND if is_rotary else 1) if isinstance(positions, int) else None


def stated_readable(name: str) -> int | None:
    """As `readable`, where a local `config.json` says it in so many words; None where transformers has to be asked.

    Raises:
        UsageError: see `source_of`.
    """
    source, _ = source_of(name)
    try:
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        text = config.get("text_config", config)
        positions, is_rotary = text.get("max_position_embeddings"), text.get("rope_parameters") is not None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return readable(positions, True) if is_rotary else None


def refuse_longer(model: str, completion: int, limit: int | None) -> None:
    """Refuse completions that are longer than a model can read.

    Raises:
        UsageError: naming the model's limit.
    """
    if limit is not None and completion > limit:
        raise UsageError(
            f"--max_completion_length {completion} is more than {model_label(model)} can read: {limit:,} tokens at most"
        )


def said_by(error: BaseException) -> str:
    """The first line of an error that says something, with its kind where the words alone would puzzle."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    plain = isinstance(error, OSError | ValueError | ImportError | RuntimeError)
    return first if first and plain else f"{type(error).__name__} {first}".strip()
