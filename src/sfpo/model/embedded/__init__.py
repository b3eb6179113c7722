"""The tiny language model that ships with the package, built by `scripts/build_embedded_model.py`."""

from pathlib import Path

MODEL_PATH = Path(__file__).parent / "model"

EMBEDDED = "embedded"
"""The name by which users call it."""
