"""A hub that does not answer is found out in seconds."""

import socket
import threading
import time

import pytest

from sfpo.errors import UsageError
from sfpo.model import hub

OFFLINE = "HF_HUB_OFFLINE"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setenv(OFFLINE, "0")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_an_address_answers_where_a_connection_is_made(listening, refusing, monkeypatch):
    assert hub.answers(listening)
    assert not hub.answers(refusing)
    monkeypatch.setenv("http_proxy", listening)
    monkeypatch.setenv("no_proxy", "")
    assert hub.answers("http://hub.invalid")


def test_a_name_that_is_never_found_is_waited_for_only_so_long(monkeypatch):
    given_up = threading.Event()

    def connect(*arguments, **options):
        given_up.wait(30)
        raise OSError

    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    monkeypatch.setattr(socket, "create_connection", connect)
    started = time.monotonic()
    assert not hub.answers("https://hub.invalid")
    assert time.monotonic() - started < 10
    given_up.set()


def test_a_model_that_nobody_has_is_one_line(refusing, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", refusing)
    with pytest.raises(UsageError, match=r"cannot load the model 'nobody/nothing'.* does not answer"):
        hub.look("nobody/nothing", needs_data=False)
    with pytest.raises(UsageError, match=r"'embeded' \(did you mean embedded\?\): HF_HUB_OFFLINE is set"):
        hub.look("embeded", needs_data=False)


def test_the_libraries_use_their_caches_where_the_hub_does_not_answer(refusing, listening, monkeypatch):
    import os

    monkeypatch.setenv("HF_ENDPOINT", refusing)
    monkeypatch.setattr(hub, "_is_cached", lambda model: True)
    hub.look("some/model", needs_data=False)
    assert os.environ[OFFLINE] == "1"
    monkeypatch.setenv(OFFLINE, "0")
    monkeypatch.setenv("HF_ENDPOINT", listening)
    hub.look("some/model", needs_data=True)
    assert os.environ[OFFLINE] == "0"


@pytest.mark.parametrize("model", ["embedded", "./folder", "/some/folder", "a/b/c", "model.gguf"])
def test_nothing_is_asked_where_nothing_is_needed(model, monkeypatch):
    monkeypatch.setattr(hub, "answers", lambda endpoint: pytest.fail("asked"))
    hub.look(model, needs_data=False)
