"""The shapes of a language model, which determine its cost; read from config.json, a GGUF file, or a built-in table."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.model.embedded import MODEL_PATH
from sfpo.model.hub import look

# The formulas describe these families: decoders with grouped-query attention and a gated MLP.
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "smollm3")


@dataclass(frozen=True)
class Architecture:
    """Shapes of a decoder-only transformer with a gated MLP."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether the output head shares its weights with the embedding."""
    qkv_bias: bool = False
    qk_norm: bool = False

    @property
    def layer_matrices(self) -> int:
        """Number of weights in one layer's matrix products."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return 2 * self.hidden * (queries + keys) + 3 * self.hidden * self.mlp

    @property
    def weights(self) -> int:
        """Number of all weights, norms and biases included."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        vectors = 2 * self.hidden + self.qkv_bias * (queries + 2 * keys) + self.qk_norm * 2 * self.head_dim
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * (self.layer_matrices + vectors) + self.hidden + embeddings

    @property
    def cache_values_per_token(self) -> int:
        """Numbers that one token adds to the key-value cache, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def lora_weights(self, rank: int) -> int:
        """Number of weights in rank-`rank` adapters on the query and value projections, PEFT's choice for these families."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return self.layers * rank * (2 * self.hidden + queries + keys)

    def forward_flops(self, tokens: float, attended: float, scored: float) -> float:
        """Floating-point operations of one forward: two for each weight and token, plus attention.

        Args:
            tokens: tokens that go through the layers.
            attended: keys that those tokens attend to, summed over the tokens.
            scored: tokens that go through the output head.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * attended
        return 2 * self.layers * self.layer_matrices * tokens + attention + 2 * self.hidden * self.vocabulary * scored


_QWEN_1_5B = Architecture(1536, 8960, 28, 12, 2, 128, vocabulary=151936, tied=True, qkv_bias=True)
_QWEN_7B = Architecture(3584, 18944, 28, 28, 4, 128, vocabulary=152064, tied=False, qkv_bias=True)

# The paper's models are built in, so that planning for them needs no download.
PAPER_MODELS = {
    "Qwen/Qwen2.5-Math-1.5B": _QWEN_1_5B,
    "Qwen/Qwen2.5-Math-7B": _QWEN_7B,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": replace(_QWEN_1_5B, tied=False),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _QWEN_7B,
    "Qwen/Qwen3-4B-Base": Architecture(2560, 9728, 36, 32, 8, 128, vocabulary=151936, tied=True, qk_norm=True),
}


def load(name: str, config: str | None = None) -> Architecture:
    """The shapes of a model.

    Args:
        name: 'embedded', a local folder, a .gguf file, a model of the paper, or a hub id.
        config: path of a config.json to read instead of the model's own.

    Raises:
        UsageError: the model cannot be found, or the formulas do not describe its family.
    """
    if config is not None:
        return _of_config(Path(config))
    if name == "embedded":
        return _of_config(MODEL_PATH / "config.json")
    if name in PAPER_MODELS:
        return PAPER_MODELS[name]
    path = Path(name)
    if path.suffix == ".gguf":
        return _of_gguf(path)
    return _of_config(path / "config.json" if path.is_dir() else _downloaded(name))


def _of_config(path: Path) -> Architecture:
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the model's shapes from {path}: give a config.json") from error
    config = config.get("text_config", config)
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise UsageError(f"{path} is of the family '{family}': the cost model knows {', '.join(_FAMILIES)}")
    try:
        heads = config["num_attention_heads"]
        return Architecture(
            hidden=config["hidden_size"],
            mlp=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocabulary=config["vocab_size"],
            # A configuration file omits values that are its family's default.
            tied=config.get("tie_word_embeddings", family.startswith("gemma")),
            qkv_bias=family == "qwen2",
            qk_norm=family in ("qwen3", "gemma3_text", "olmo2"),
        )
    except KeyError as error:
        raise UsageError(f"{path} has no {error}: give the config.json of a language model") from error


def _of_gguf(path: Path) -> Architecture:
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give the path of a GGUF model")
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise UsageError("GGUF files need one more package: pip install 'sfpo[gguf]'") from error
    try:
        reader = GGUFReader(path)
    except ValueError as error:
        raise UsageError(f"{path} is not a GGUF model: {error}") from error
    family = reader.fields["general.architecture"].contents()
    if family not in _FAMILIES:
        raise UsageError(f"{path} is of the family '{family}': the cost model knows {', '.join(_FAMILIES)}")

    def value(key: str, default: int = 0) -> int:
        field = reader.fields.get(f"{family}.{key}")
        return int(field.contents()) if field else default

    shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
    heads = value("attention.head_count")
    return Architecture(
        hidden=value("embedding_length"),
        mlp=value("feed_forward_length"),
        layers=value("block_count"),
        heads=heads,
        kv_heads=value("attention.head_count_kv", heads),
        head_dim=value("attention.key_length", value("embedding_length") // heads),
        vocabulary=int(shapes["token_embd.weight"][1]),
        tied="output.weight" not in shapes,
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
    )


def _downloaded(name: str) -> Path:
    look(name, needs_data=False)
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise UsageError(f"there is no model folder {name}, and no hub client: pip install 'sfpo[trl]'") from error
    try:
        return Path(hf_hub_download(name, "config.json"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot get config.json of '{name}': give a local folder, or the file itself with --model_config"
        ) from error
