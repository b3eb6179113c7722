"""A report about a folder that somebody else has written: what is read of it, what is left out, and that it ends."""

import json
import os
import signal
from pathlib import Path

import pytest
from report_folders import HOSTILE, write_comparison, write_run

from sfpo.cli import main
from sfpo.errors import UsageError
from sfpo.report import untrusted
from sfpo.report.content import content_of
from sfpo.report.folder import read_folder
from sfpo.report.page import render

SECRET = "root:x:0:0"


@pytest.fixture(autouse=True)
def _ends():
    """Stop a test whose report hangs."""

    def stop(*_):
        raise TimeoutError("the report did not end")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)


@pytest.fixture
def secret(tmp_path):
    """A file outside the folder."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def report(capsys, folder, *options):
    """The page, and the lines that say what was left out."""
    code = main(["report", str(folder), *options])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return (Path(folder) / "report.html").read_text(), [
        line for line in out.splitlines() if line.startswith("Left out")
    ]


def is_drawn(page):
    """Whether the page still shows the run's reward."""
    data = page.partition('id="content">')[2].partition("</script>")[0]
    return any(figure["name"] == "reward" for figure in json.loads(data)["training"])


def replaced(path, content):
    path.unlink()
    path.write_text(content) if isinstance(content, str) else path.write_bytes(content)


ALIASES = "a: &a [x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
LEFT_OUT = {
    "aliases of YAML": ("config.yaml", ALIASES, "cannot be read as a configuration: it has aliases"),
    "deep YAML": ("config.yaml", "a: " + "[" * 20_000, "cannot be read as a configuration: it is nested too deeply"),
    "long YAML": ("config.yaml", "a: x\n" * 100_000, "is too long for a configuration"),
    "many settings": ("config.yaml", "".join(f"a{i}: 1\n" for i in range(3_000)), "nested too deeply or too long"),
    "a Python object": ("config.yaml", "a: !!python/object/apply:os.system [echo]", "it is no YAML"),
    "a date of no month": ("config.yaml", "a: 2026-99-99", "it is no YAML"),
    "a list": ("config.yaml", "- a\n- b\n", "it does not hold 'option: value' lines"),
    "a number of 5,000 digits in YAML": ("config.yaml", f"a: {'9' * 5_000}", "it is no YAML"),
    "a hexadecimal number that cannot be shown": ("config.yaml", f"0x{'f' * 9_000}: 1", "it is no YAML"),
    "no text": ("run.json", b"\xff\xfe\x00", "run.json is no JSON object"),
    "deep JSON": ("run.json", "[" * 100_000, "run.json is no JSON object"),
    "deep JSON in an object": ("run.json", '{"a":' * 100_000, "run.json is no JSON object"),
    "large JSON": ("run.json", '{"a": "' + "x" * 9_000_000 + '"}', "run.json is larger than 8 MiB"),
    "rows that are no JSON": ("completions.jsonl", "{\n" * 5, "completions.jsonl has 5 rows that cannot be read"),
    "deep rows": ("completions.jsonl", "[" * 100_000 + "\n", "completions.jsonl has 1 row that cannot be read"),
    "a long row": ("completions.jsonl", '{"a": "' + "x" * 2_000_000 + '"}\n', "completions.jsonl has 1 row"),
    "rows that are lists": ("completions.jsonl", "[1, 2]\n[]\n", "completions.jsonl has 2 rows that cannot be read"),
    "many rows": ("completions.jsonl", "{}\n" * 1_002, "is too long: only its first 1,000 rows were read"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_cannot_be_read_is_one_line_and_the_rest_is_drawn(tmp_path, capsys, monkeypatch, case):
    monkeypatch.setattr(untrusted, "_MOST_ROWS", 1_000)
    name, content, said = LEFT_OUT[case]
    folder = write_run(tmp_path / "run")
    replaced(folder / name, content)
    page, lines = report(capsys, folder)
    assert is_drawn(page)
    assert len(lines) == 1, lines
    assert said in lines[0]


WRONG_ROWS = [
    f'{{"kind": "train", "step": 13, "reward": {"9" * 5_000}}}',
    '{"kind": "train", "step": 13, "reward": NaN, "sfpo/alpha": Infinity, "sfpo/entropy": -Infinity}',
    '{"kind": "train", "step": 13, "reward": 1e308, "sfpo/alpha": -1e308}',
    '{"kind": "train", "step": 13, "reward": [[1]], "sfpo/alpha": {"a": 1}, "sfpo/gate_closed": "yes"}',
    '{"kind": "train", "step": 13, "reward": true, "sfpo/rollout_seconds": "a", "sfpo/update_seconds": null}',
    '{"kind": "evaluation", "step": 12, "accuracy": 7, "problems": 1000000000000}',
    '{"kind": "evaluation", "step": 12, "accuracy": 0.5, "problems": 1000000000000}',
    '{"kind": "evaluation", "step": 12, "accuracy": 0.5, "problems": -3}',
    '{"kind": "benchmark", "step": 12, "benchmark": ["a"], "pass@1": 0.5, "problems": "x"}',
    '{"kind": "benchmark", "step": 12, "benchmark": "\\ud800\\u202e<b>", "pass@1": 0.5}',
    '{"kind": ["train"], "step": 13}',
    '{"kind": "train", "kind": "summary", "step": 13, "step": 14}',
    '{"kind": "train", "step": 13, "sfpo/pass_999/kl": 1.0}',
    '{"kind": "train", "step": 3, "reward": 1.0}\n{"kind": "train", "step": 3, "reward": 2.0}',
    '{"kind": "train", "step": 1e25, "reward": 1.0}',
]


@pytest.mark.parametrize("rows", [*WRONG_ROWS, "\n".join(WRONG_ROWS)])
def test_a_value_of_the_wrong_kind_leaves_a_gap(tmp_path, capsys, rows):
    folder = write_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(rows + "\n")
    every_one = rows not in WRONG_ROWS
    page, lines = report(capsys, folder, *(["--png", "--svg"] if every_one else []))
    assert is_drawn(page)
    assert lines == []


@pytest.mark.parametrize("step", ["-1", "1.5", "true", "null", '"3"', "NaN"])
def test_a_row_without_a_step_is_left_out(tmp_path, capsys, step):
    folder = write_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f'{{"kind": "train", "step": {step}, "reward": 1.0}}\n')
    page, lines = report(capsys, folder)
    assert is_drawn(page)
    assert lines == ["Left out metrics.jsonl has 1 row without a step, which were left out."]


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "completions.jsonl"])
def test_nothing_is_read_through_a_link(tmp_path, capsys, secret, name):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    (folder / name).symlink_to(secret)
    page, lines = report(capsys, folder)
    assert SECRET not in page
    assert lines == [f"Left out {name} is or lies behind a symbolic link and was not read."]


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "completions.jsonl"])
def test_a_fifo_holds_nobody_up(tmp_path, capsys, name):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    page, lines = report(capsys, folder)
    assert is_drawn(page)
    assert lines == [f"Left out {name} is no regular file and was not read."]


def test_a_folder_whose_metrics_are_a_link_or_a_fifo_says_so(tmp_path, capsys, secret):
    for make, said in ((lambda path: path.symlink_to(secret), "symbolic link"), (os.mkfifo, "no regular file")):
        folder = tmp_path / said
        folder.mkdir()
        make(folder / "metrics.jsonl")
        assert main(["report", str(folder)]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_the_folder_itself_may_be_a_link(tmp_path, capsys):
    (tmp_path / "latest").symlink_to(write_run(tmp_path / "run"))
    page, lines = report(capsys, tmp_path / "latest")
    assert is_drawn(page)
    assert lines == []


@pytest.mark.parametrize("name", ["report.html", "figures", "figures/reward.png"])
def test_nothing_is_written_through_a_link(tmp_path, capsys, secret, name):
    folder = write_run(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(elsewhere if name == "figures" else secret)
    assert main(["report", str(folder), "--png"]) == 2
    err = capsys.readouterr().err
    assert "cannot write" in err
    assert err.count("\n") == 1
    assert secret.read_text() == SECRET
    assert list(elsewhere.iterdir()) == []
    assert not list(folder.glob("**/.*"))


def test_a_fifo_in_place_of_the_page_is_refused(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    os.mkfifo(folder / "report.html")
    assert main(["report", str(folder)]) == 2
    assert "it is no regular file" in capsys.readouterr().err


def test_a_page_that_is_also_another_file_is_replaced(tmp_path, capsys, secret):
    folder = write_run(tmp_path / "run")
    os.link(secret, folder / "report.html")
    report(capsys, folder)
    assert secret.read_text() == SECRET


@pytest.fixture
def compared(tmp_path):
    return write_comparison(tmp_path / "c", seeds=(0,))


def edit(folder, change, name="comparison.json"):
    said = json.loads((folder / name).read_text())
    change(said)
    (folder / name).write_text(json.dumps(said))


@pytest.mark.parametrize("name", ["../../secret", "/etc", "..", "a/../../b", "", "a\x00b", "\ud800", "x" * 5_000])
def test_a_variants_name_leads_nowhere_else(compared, tmp_path, capsys, name):
    write_run(tmp_path / "secret" / "seed-0", text=SECRET)
    edit(
        compared,
        lambda said: said["variants"].append({"name": name, "method": "sfpo", "settings": {}, "baseline": "g"}),
    )
    page, lines = report(capsys, compared)
    assert SECRET not in page
    assert is_drawn(page)
    assert all("\x00" not in line for line in lines)


def test_a_run_behind_a_link_is_left_out(compared, tmp_path, capsys):
    write_run(tmp_path / "elsewhere" / "seed-0", text=SECRET)
    place = compared / "runs" / "sfpo"
    place.rename(tmp_path / "moved")
    place.symlink_to(tmp_path / "elsewhere")
    page, lines = report(capsys, compared)
    assert SECRET not in page
    assert "runs/sfpo/seed-0/metrics.jsonl is or lies behind a symbolic link" in lines[0]


def test_the_file_of_config_is_not_read(compared, capsys, secret):
    edit(compared, lambda said: said.update(train=["--config", str(secret)]))
    page, _ = report(capsys, compared)
    assert SECRET not in page
    assert "is not recorded: the report assumes the defaults" in page
    edit(compared, lambda said: said.update(configuration={"gate": "off"}))
    assert "is not recorded" not in report(capsys, compared)[0]


WRONG = [None, 1, "x", [], {}, [[]], [{}], True, -1, 1e308, "9" * 5_000, HOSTILE]


@pytest.mark.parametrize(
    "key", ["model", "task", "command", "train", "provenance", "configuration", "failed", "sweep"]
)
def test_no_value_of_a_comparison_breaks_the_page(compared, key):
    refused = []
    for value in WRONG:
        edit(compared, lambda said, value=value: said.update({key: value}))
        try:
            shown = read_folder(compared)
        except UsageError as error:
            refused.append(str(error))
            continue
        assert is_drawn(render(content_of(shown)))
    assert all("is not what sfpo compare writes" in said for said in refused)


@pytest.mark.parametrize(
    "key", ["curve", "rollout_reduction", "final_accuracy", "seeds_done", "failed", "baseline", "target_accuracy"]
)
def test_no_figure_of_a_summary_breaks_the_page(compared, key):
    before = (compared / "summary.json").read_text()
    for value in [*WRONG, {"value": "x"}, {"accuracy": [1, 2], "rollouts": [1]}]:
        (compared / "summary.json").write_text(before)
        edit(compared, lambda said, value=value: said["variants"]["sfpo"].update({key: value}), "summary.json")
        assert is_drawn(render(content_of(read_folder(compared))))


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("key", ["name", "method", "settings", "baseline"])
def test_a_variant_that_cannot_be_read_is_left_out(compared, key, value):
    edit(compared, lambda said: said["variants"][1].update({key: value}))
    assert is_drawn(render(content_of(read_folder(compared))))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('a,"b\nc', "has"),
        ("variant,seed,step\n" + "x" * 200_000, "is no CSV after line"),
        ("variant,seed,step,reward\ngrpo,0,1\n", "has 1 row that cannot be read"),
        ("variant,seed,step,reward\ngrpo,0,1,abc\n", "has 1 row that cannot be read"),
        ("variant,seed,step,reward\ngrpo,0,inf,1\n", "has 1 row that cannot be read"),
        ("variant,seed,step,reward\ngrpo,0,1,nan\n", "has 1 row that cannot be read"),
        ("variant,seed,step,reward\ngrpo,0," + "9" * 5_000 + ",1\n", "has 1 row that cannot be read"),
        ("seed,step,reward\n0,1,1\n", "has 1 row that cannot be read"),
        (b"\x00\xff\x00\n\x00", "steps.csv"),
    ],
)
def test_a_broken_csv_is_one_line(compared, capsys, content, said):
    for run in (compared / "runs" / "lookahead", compared / "runs" / "grpo"):
        if run.exists():
            run.rename(compared / run.name)
    replaced(compared / "steps.csv", content)
    page, lines = report(capsys, compared)
    assert is_drawn(page)
    assert len(lines) <= 1
    assert all("steps.csv" in line for line in lines)
    if said != "has":
        assert said in lines[0]


def test_a_hundred_thousand_steps_end(tmp_path, capsys):
    folder = write_run(tmp_path / "run", evaluations=False)
    rows = [
        {"kind": "train", "step": step, "reward": 0.5, "sfpo/alpha": 0.8, "sfpo/gate_closed": float(step % 2)}
        for step in range(100_000)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, lines = report(capsys, folder)
    assert is_drawn(page)
    assert lines == []


def test_a_million_variants_and_seeds_end(compared, capsys):
    def many(said):
        said["seeds"] = list(range(100_000))
        one = said["variants"][0]
        said["variants"] += [one | {"name": f"v{index}"} for index in range(30_000)]

    edit(compared, many)
    page, _ = report(capsys, compared)
    assert is_drawn(page)


def test_hostile_text_in_every_place_stays_text(compared, capsys):
    def spoilt(value):
        if isinstance(value, dict):
            return {key: spoilt(one) for key, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one) for one in value]
        return value + HOSTILE if isinstance(value, str) else value

    specification = json.loads((compared / "comparison.json").read_text())
    names = {variant["name"]: variant["name"] for variant in specification["variants"]}
    said = spoilt(specification)
    for variant, name in zip(said["variants"], names, strict=True):
        variant["name"] = name
    (compared / "comparison.json").write_text(json.dumps(said))
    page, _ = report(capsys, compared, "--svg")
    assert is_drawn(page)
    assert "<img" not in page
    for drawing in (compared / "figures").glob("*.svg"):
        assert "<img" not in drawing.read_text()


def test_lines_that_say_what_was_left_out_are_few_and_printable(tmp_path):
    files = untrusted.Untrusted(tmp_path)
    for index in range(1_000):
        files.leave_out(f"\x1b[31m\n{index}", "is odd")
    assert len(files.left_out) == 21
    assert files.left_out[-1] == "980 more things were left out."
    assert all(line.isprintable() for line in files.left_out)


def test_a_folder_has_a_limit_for_all_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "_ALL_FILES", 100)
    (tmp_path / "a").write_text('{"x": 1}\n' * 20)
    files = untrusted.Untrusted(tmp_path)
    assert len(list(files.rows("a"))) == 20
    assert list(files.rows("a")) == []
    assert "the folder holds more than" in files.left_out[0]
