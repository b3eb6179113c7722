"""JSON messages, one a line, from a pipe that is never waited for."""

from __future__ import annotations

import json
import os
from typing import Any

_CHUNK = 1 << 16


class Inbox:
    """What arrived at a file descriptor, cut into messages. The descriptor becomes non-blocking."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received: list[bytes] = []
        os.set_blocking(descriptor, False)

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that are complete by now; None once the other side has closed its end.

        A line that is no JSON object counts as the message {}: nobody asked for it.
        """
        messages: list[dict[str, Any]] = []
        while True:
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return messages
            if not data:
                return messages or None
            *ends, rest = data.split(b"\n")
            for end in ends:
                messages.append(_message(b"".join([*self._received, end])))
                self._received = []
            self._received.append(rest)


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
