"""Options as the fields of a dataclass describe them, also of one whose module takes seconds to import.

A parser needs the class itself. To tell a misspelt option from a right one, to print help and to complete words, the source
that defines the class is enough, and reading it takes milliseconds.
"""

import ast
import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sfpo.errors import UsageError
from sfpo.nearest import did_you_mean

Kind = Literal["whole", "number", "switch", "words", "text"]

_IN_WORDS = {"whole": "a whole number", "number": "a number", "switch": "true or false"}
# Those that the parsers of transformers and TRL take.
_TRUTHS = ("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Args:
        kind: `words` takes one or more; a `switch` may be given without a value.
        choices: the values that there are, where they are few.
        takes_none: whether null is a value in a configuration.
    """

    name: str
    kind: Kind
    default: Any = None
    help: str = ""
    choices: tuple[str, ...] = ()
    takes_none: bool = False

    def described(self, words: str | None = None) -> str:
        """The help, or these words instead, with the default where there is one to tell."""
        text = words or self.help
        if not self.default or self.default == -1:
            return text
        default = ",".join(self.default) if isinstance(self.default, list) else self.default
        return f"{text} Default: {'true' if default is True else default}."

    def check(self, value: Any, written: str) -> None:
        """Refuse what is no value of this option.

        Args:
            value: as `given` or a configuration has it.
            written: what the user calls the option, such as `--seed`.

        Raises:
            UsageError: a value of another kind, or none of the choices.
        """
        if value is None and self.takes_none:
            return
        if value is True and self.kind in ("whole", "number"):
            raise UsageError(f"{written} needs a value: {_IN_WORDS[self.kind]}")
        if not self._is_of_kind(value):
            raise UsageError(f"{written} should be {_IN_WORDS[self.kind]}, got {'null' if value is None else value}")
        if value is False and "off" in self.choices:  # what YAML makes of a bare off
            return
        if self.choices and str(value) not in self.choices:
            hint = did_you_mean(str(value), self.choices)
            raise UsageError(f"{written} cannot be '{value}'{hint}: choose among {', '.join(self.choices)}")

    def _is_of_kind(self, value: Any) -> bool:
        if self.kind == "whole":
            return type(value) is int
        if self.kind == "number":
            return type(value) in (int, float)
        if self.kind == "switch":
            return str(value).lower() in _TRUTHS
        return True


def options_of(one: type) -> list[Option]:
    """Those of a dataclass."""
    return [
        Option(
            f.name,
            _kind(str(f.type) if not isinstance(f.type, type) else f.type.__name__),
            _default(f),
            str(f.metadata.get("help", "")),
            tuple(f.metadata.get("choices", ())),
            _takes_none(str(f.type)),
        )
        for f in dataclasses.fields(one)
    ]


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def options_in(source: Path, name: str, choices: Mapping[str, tuple[str, ...]] | None = None) -> list[Option]:
    """Those that the body of a class in a source file defines, without those that it inherits.

    Args:
        choices: the values of enumerations by the name of their class, see `enumerations_in`.

    Raises:
        UsageError: the file has no such class.
    """
    for statement in _parsed(source).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return [
                _of_field(field, choices or {})
                for field in statement.body
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            ]
    raise UsageError(f"{source} has no class {name}: install the versions that sfpo was tested with")


def enumerations_in(source: Path) -> dict[str, tuple[str, ...]]:
    """The values of the enumerations of texts that a source file defines, by the name of their class."""
    found = {}
    for statement in _parsed(source).body:
        if isinstance(statement, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in statement.bases):
            values = [item.value for item in statement.body if isinstance(item, ast.Assign)]
            found[statement.name] = tuple(str(v.value) for v in values if isinstance(v, ast.Constant) and v.value)
    return found


def source_of(package: str, *path: str) -> Path:
    """A file of an installed package, which is not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    return Path(spec.origin).parent.joinpath(*path)


def by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Options by their names; a later one of the same name replaces an earlier one."""
    return {option.name: option for option in options}


def _parsed(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _of_field(field: ast.AnnAssign, choices: Mapping[str, tuple[str, ...]]) -> Option:
    annotation = ast.unparse(field.annotation)
    arguments = {k.arg: k.value for k in field.value.keywords} if isinstance(field.value, ast.Call) else {}
    metadata: dict[str, Any] = {}
    if isinstance(written := arguments.get("metadata"), ast.Dict):
        for key, value in zip(written.keys, written.values, strict=True):
            if isinstance(key, ast.Constant):
                metadata[str(key.value)] = _literal(value)
    of_class = next((choices[word] for word in re.findall(r"\w+", annotation) if word in choices), ())
    return Option(
        ast.unparse(field.target),
        _kind(annotation),
        _literal(arguments.get("default", field.value if not arguments else None)),
        str(metadata.get("help") or ""),
        tuple(metadata.get("choices") or of_class),
        _takes_none(annotation),
    )


def _literal(value: ast.expr | None) -> Any:
    """What an expression spells, None where that takes more than reading it."""
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None


def _kind(annotation: str) -> Kind:
    types = [part.strip() for part in re.sub(r"\[.*?\]+", "[]", annotation).split("|")]
    if any(part.startswith("list") for part in types):
        return "words"
    for part in types:
        if part not in ("int", "float", "bool", "None"):
            return "text"
    return "number" if "float" in types else "whole" if "int" in types else "switch"


def _takes_none(annotation: str) -> bool:
    return "None" in annotation
