"""Whether the hub answers, found out in seconds and before the libraries are imported that would try for minutes."""

import os
import socket
import threading
from os.path import exists
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sfpo.errors import UsageError
from sfpo.model.embedded import EMBEDDED
from sfpo.nearest import did_you_mean

PATIENCE = 4.0
"""Seconds to wait for a connection."""
_ENDPOINT = "https://huggingface.co"
OFFLINE = "HF_HUB_OFFLINE"
"""The environment variable that keeps the libraries from asking the hub."""


def is_on_hub(model: str) -> bool:
    """Whether a model's name is a hub id: it is not embedded, and no path."""
    is_path = exists(model) or model.startswith(("/", ".", "~")) or model.count("/") > 1
    return model != EMBEDDED and not is_path


def look(model: str, needs_data: bool) -> None:
    """Have the libraries use what is in their caches where the hub does not answer, instead of waiting for it.

    To be called before huggingface_hub is imported. No connection is tried where the hub is not needed, or where the user
    has chosen to be offline.

    Args:
        model: a model's name, as `--model` takes it.
        needs_data: whether data sets are read from the hub.

    Raises:
        UsageError: the model can neither be had from the hub nor from its cache.
    """
    wants_model = is_on_hub(model) and Path(model).suffix != ".gguf"
    if not (wants_model or needs_data):
        return
    chosen = is_offline()
    if not chosen and answers(endpoint()):
        return
    os.environ[OFFLINE] = "1"  # before the cache is asked, since huggingface_hub reads it when it is imported
    if wants_model and not _is_cached(model):
        why = f"{OFFLINE} is set" if chosen else f"{endpoint()} does not answer"
        raise UsageError(
            f"cannot load the model '{model}'{did_you_mean(model, [EMBEDDED])}: {why}, and the cache has no copy; connect, "
            "or give a local folder or a .gguf file"
        )


def endpoint() -> str:
    """The hub's address."""
    return os.environ.get("HF_ENDPOINT", _ENDPOINT)


def is_offline() -> bool:
    """Whether the user has chosen not to ask the hub."""
    return os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")


def answers(address: str) -> bool:
    """Whether a connection to the address, or to the proxy before it, can be made within `PATIENCE` seconds."""
    made = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection(_first_hop(address), timeout=PATIENCE):
                made.set()
        except (OSError, ValueError):
            pass

    # In a thread, since looking a name up may take minutes and knows no time limit.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(PATIENCE)
    return made.is_set()


def _first_hop(address: str) -> tuple[str, int]:
    hop = urlsplit(address)
    proxy = getproxies().get(hop.scheme)
    if proxy and not proxy_bypass(hop.hostname or ""):
        hop = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    return hop.hostname or "", hop.port or (443 if hop.scheme == "https" else 80)


def _is_cached(model: str) -> bool:
    """Whether the hub's cache holds the model, or weights to add to another one."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(model, name), str) for name in ("config.json", "adapter_config.json"))
