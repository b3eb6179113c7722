"""JSON objects are what their readers need, or refused in one line."""

import os

import pytest

from sfpo.errors import UsageError
from sfpo.json_object import read_object

SHAPE = {"seeds": [int], "variants": [{"name": str}], "gate": (type(None), {"closed": bool}), "share": int | float}
WHOLE = '{"seeds": [0, 1], "variants": [{"name": "a", "more": 1}], "gate": null, "share": 0.5, "other": []}'


def test_what_has_the_shape_is_read(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(WHOLE)
    assert read_object(path, SHAPE, "mend it")["variants"] == [{"name": "a", "more": 1}]
    path.write_text(WHOLE.replace("null", '{"closed": true}').replace("0.5", "1"))
    assert read_object(path, SHAPE, "mend it")["gate"] == {"closed": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"null", "holds null instead of an object"),
        (b"[1, 2]", "holds [1, 2] instead of an object"),
        (b"{}", "has no 'seeds'"),
        *(
            (WHOLE.replace(old, new).encode(), said)
            for old, new, said in (
                ("[0, 1]", "null", "has null as 'seeds'"),
                ("[0, 1]", "[0, true]", "has true as 'seeds[1]'"),
                ("[0, 1]", '"0"', """has "0" as 'seeds'"""),
                ('"name"', '"nome"', "has no 'variants[0].name'"),
                ("null", '{"closed": "false"}', """has "false" as 'gate.closed'"""),
                ("0.5", "false", "has false as 'share'"),
            )
        ),
    ],
)
def test_what_has_not_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_object(path, SHAPE, "mend it")
    message = str(refused.value)
    assert message.startswith(f"{path} {said}")
    assert message.endswith(": mend it")
    assert len(message) < 200 + len(str(path))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "."):
        with pytest.raises(UsageError, match="is no regular file: mend it"):
            read_object(tmp_path / name, {}, "mend it")
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "gone.json", {}, "mend it")
