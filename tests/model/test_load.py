"""Models from elsewhere: damaged files end in one line, and nobody's code runs unless the user trusts it."""

import io
import json
import os
import pickle
import shutil
import sys
from contextlib import suppress

import pytest

from sfpo.errors import UsageError
from sfpo.model.load import load_model, load_tokenizer, resolve


def _edit(file, **changes):
    values = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not ...}))


def _cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


def _only_bin(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def _adapter(folder, text, weights=b"damaged"):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(text.replace("BASE", str(folder.parent / "whole")))
    if weights is not None:
        (folder / "adapter_model.safetensors").write_bytes(weights)


class _Touch:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


LORA = '{"base_model_name_or_path": "BASE", "peft_type": "LORA", "target_modules": ["q_proj"]}'

# What is done to the folder of a whole model, and what the line says.
DAMAGE = {
    "header_cut": (lambda f: _cut(f / "model.safetensors", 1000), "cannot load the model"),
    "weights_cut": (lambda f: _cut(f / "model.safetensors", 20_000), "cannot load the model"),
    "weights_empty": (lambda f: _cut(f / "model.safetensors", 0), "cannot load the model"),
    "weights_missing": (lambda f: (f / "model.safetensors").unlink(), "no file named model.safetensors"),
    "bin_damaged": (lambda f: _only_bin(f, b"PK\x03\x04 damaged"), "cannot load the model"),
    "bin_text": (lambda f: _only_bin(f, b"<html>not found</html>"), "cannot load the model"),
    "no_tokenizer": (lambda f: [p.unlink() for p in f.glob("*token*")], "tokenizer"),
    "tokenizer_cut": (lambda f: _cut(f / "tokenizer.json", 100), "cannot load the tokenizer"),
    "tokenizer_other": (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot load the tokenizer"),
    "tokenizer_list": (lambda f: (f / "tokenizer_config.json").write_text("[]"), "cannot load the tokenizer"),
    "no_eos": (lambda f: _edit(f / "tokenizer_config.json", eos_token=None), "has no eos_token"),
    "config_empty": (lambda f: _cut(f / "config.json", 0), "not a valid JSON file"),
    "config_list": (lambda f: (f / "config.json").write_text("[]"), "cannot load the model"),
    "config_latin": (lambda f: (f / "config.json").write_bytes(b'{"a": "\xe9"}'), "cannot load the model"),
    "config_deep": (lambda f: (f / "config.json").write_text("[" * 100_000), "cannot load the model"),
    "size_is_text": (lambda f: _edit(f / "config.json", hidden_size="big"), "cannot load the model"),
    "other_size": (lambda f: _edit(f / "config.json", hidden_size=64), "cannot load the model"),
    "layers": (lambda f: _edit(f / "config.json", num_hidden_layers=3), "cannot load the model"),
    "architectures": (lambda f: _edit(f / "config.json", architectures=5), "cannot load the model"),
    "adapter_empty": (lambda f: _adapter(f, ""), "adapter_config.json is not JSON"),
    "adapter_nothing": (lambda f: _adapter(f, "{}"), "does not name the model that it adapts"),
    "adapter_list": (lambda f: _adapter(f, "[]"), "does not name the model that it adapts"),
    "adapter_null": (lambda f: _adapter(f, '{"base_model_name_or_path": null}'), "does not name the model"),
    "adapter_nowhere": (lambda f: _adapter(f, LORA.replace("BASE", "/nowhere/at/all")), "/nowhere/at/all"),
    "adapter_kind": (lambda f: _adapter(f, LORA.replace("LORA", "XX")), "cannot load the model"),
    "adapter_cut": (lambda f: _adapter(f, LORA), "cannot load the model"),
    "adapter_bare": (lambda f: _adapter(f, LORA, weights=None), "an adapter without its weights"),
    "adapter_of_itself": (lambda f: _adapter(f, LORA.replace("BASE", str(f))), "itself an adapter"),
}  # fmt: skip


def _load(name):
    load_tokenizer(name)
    load_model(name)


@pytest.fixture
def whole(tiny_model, tmp_path):
    """A copy of a model that loads."""
    folder = tmp_path / "whole"
    shutil.copytree(tiny_model, folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_one_line(whole, tmp_path, damage):
    folder = tmp_path / damage
    shutil.copytree(whole, folder)
    do, said = DAMAGE[damage]
    do(folder)
    with pytest.raises(UsageError) as caught:
        _load(str(folder))
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"GGUF", b"nothing", b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_a_damaged_gguf_file_is_one_line(tmp_path, content):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(UsageError, match="cannot load the model") as caught:
        _load(str(tmp_path / "a.gguf"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a" * 300, "/" + "a" * 300, "x\0y", "", "/dev/null", __file__])
def test_a_name_of_no_model_is_one_line(name):
    with pytest.raises(UsageError) as caught:
        _load(name)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_whole_loads(whole):
    _load(str(whole))


def test_pickled_weights_run_nothing(whole, tmp_path):
    _only_bin(whole, pickle.dumps({"weight": _Touch(tmp_path / "ran")}))
    with pytest.raises(UsageError, match="cannot load the model"):
        _load(str(whole))
    assert not (tmp_path / "ran").exists()


OWN_CODE = """
from pathlib import Path
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2TokenizerFast
Path({ran!r}).open("a").write(__name__)
class OwnConfig(Qwen2Config):
    model_type = "of_our_own"
class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(Qwen2TokenizerFast):
    pass
"""


@pytest.fixture
def own_code(whole, tmp_path, monkeypatch):
    """A model that brings code, which leaves a file behind where it ran. Everybody says yes to everything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    # Of every place from which code may come: the configuration, the model, the tokenizer.
    (whole / "own.py").write_text(OWN_CODE.format(ran=str(tmp_path / "ran")))
    return whole


CLASSES = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}


def test_own_code_runs_only_where_it_is_trusted(own_code, tmp_path):
    # That it generates text, its code alone says.
    _edit(own_code / "config.json", model_type="of_our_own", auto_map=CLASSES, architectures=...)
    for load in (load_model, load_tokenizer, resolve):
        with pytest.raises(UsageError, match="--trust_remote_code true"):
            load(str(own_code))
    assert sys.stdin.read() == "y\n" * 100  # nobody was asked
    assert not (tmp_path / "ran").exists()
    assert type(load_model(str(own_code), True)).__name__ == "OwnModel"
    assert (tmp_path / "ran").exists()
    load_tokenizer(str(own_code), True)
    assert sys.stdin.read() == ""


def test_code_of_a_known_type_does_not_run_either(own_code, tmp_path):
    _edit(own_code / "config.json", auto_map=CLASSES)
    _edit(own_code / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own.OwnTokenizer"]})
    for load in (load_model, load_tokenizer):
        # transformers takes its own classes, or refuses; either way, the code does not run.
        with suppress(UsageError):
            load(str(own_code))
    assert not (tmp_path / "ran").exists()


def test_code_of_an_adapted_model_does_not_run(own_code, tmp_path):
    _edit(own_code / "config.json", model_type="of_our_own", auto_map=CLASSES)
    adapter = tmp_path / "adapter"
    shutil.copytree(own_code, adapter)
    _adapter(adapter, LORA.replace("BASE", str(own_code)))
    with pytest.raises(UsageError, match="--trust_remote_code true"):
        load_model(str(adapter))
    assert not (tmp_path / "ran").exists()


def test_counting_the_weights_of_a_comparison_runs_no_code(own_code, tmp_path):
    from sfpo.comparison.schedule import default_jobs

    _edit(own_code / "config.json", model_type="of_our_own", auto_map=CLASSES)
    with pytest.raises(UsageError, match="--trust_remote_code true"):
        default_jobs(str(own_code))
    assert not (tmp_path / "ran").exists()
    assert default_jobs(str(own_code), trust_remote_code=True) >= 1
