"""The name of a model in titles."""

from pathlib import Path


def model_label(name: str) -> str:
    """A hub id (`owner/name`) unchanged; for a local file or folder, the last part of its path."""
    path = Path(name)
    is_local = path.is_absolute() or name.startswith(".") or path.suffix == ".gguf" or len(path.parts) > 2
    return path.resolve().name if is_local else name
