"""What our source takes from other packages without their promise, and whether it is still there.

A member of a host that is gone, or that takes other arguments, must fail a test by its name. Otherwise an upgrade could
switch off what keeps passes exact, and nothing would say so.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any


def signature_of(function: Callable[..., Any]) -> str:
    """Names, kinds and defaults of a function's parameters, without their types."""
    signature = inspect.signature(function)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


@cache
def members(host: type) -> set[str]:
    """Names that a class, or one that it derives from, defines or assigns to its instances."""
    names = set(dir(host))
    for cls in host.__mro__:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        except (OSError, TypeError):  # written in C
            continue
        names |= {name for name, _ in _assigned_to_self(tree)}
    return names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


class Source:
    """The classes and accesses of the Python files in a folder."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.trees = {file: ast.parse(file.read_text(), str(file)) for file in files}
        self._classes = {
            node.name: node
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }
        self._own = {name: _defined(node) for name, node in self._classes.items()}

    def private_of_others(self, hosts: Iterable[type]) -> dict[str, list[str]]:
        """Private members that the source uses or overrides and that are not its own alone: name → places.

        One that a host has, too, counts as the host's, except on `self` in a class that has nothing to do with that host.
        """
        of_hosts = {host: {name for name in members(host) if is_private(name)} for host in hosts}
        own = {name for defined in self._own.values() for name in defined}
        found: dict[str, list[str]] = {}
        for file, tree in self.trees.items():
            for name, line, cls in _accesses(tree):
                may_be_of = list(of_hosts) if cls is None else self._hosts_of(cls, of_hosts)
                if name not in own or any(name in of_hosts[host] for host in may_be_of):
                    found.setdefault(name, []).append(f"{file}:{line}")
        return found

    def _hosts_of(self, cls: str, hosts: Iterable[type]) -> list[type]:
        """The hosts that a class derives from, or that one which derives from it does, as from a mixin."""
        lineages = [lineage for lineage in map(self._lineage, self._classes) if cls in lineage]
        related = {name for lineage in lineages for name in lineage}
        return [host for host in hosts if related & {ancestor.__name__ for ancestor in host.__mro__[:-1]}]

    def _lineage(self, cls: str) -> set[str]:
        """A class and all that it derives from, as far as the source says."""
        lineage, unseen = set(), [cls]
        while unseen:
            name = unseen.pop()
            lineage.add(name)
            if name in self._classes:
                unseen += [ast.unparse(base).rpartition(".")[2] for base in self._classes[name].bases]
        return lineage

    def lookups_with_a_default(self) -> dict[str, list[str]]:
        """`getattr` with a default and `hasattr`, which hide that a member is gone: code → places."""
        found: dict[str, list[str]] = {}
        for file, tree in self.trees.items():
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if (node.func.id == "getattr" and len(node.args) > 2) or node.func.id == "hasattr":
                    found.setdefault(ast.unparse(node), []).append(f"{file}:{node.lineno}")
        return found


def _defined(cls: ast.ClassDef) -> set[str]:
    names = {node.name for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in cls.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        # A bare annotation in a class that is mixed into a host's says what the host has; a field has a place in a dataclass.
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            names.add(node.target.id)
    return names | {name for name, _ in _assigned_to_self(cls)}


def _assigned_to_self(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr, node.lineno
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
            yield node.target.attr, node.lineno


def _accesses(tree: ast.AST, cls: str | None = None) -> Iterator[tuple[str, int, str | None]]:
    """Private members that are used or defined: name, line, and the class for those of `self`, `cls` and `super()`."""
    if isinstance(tree, ast.ClassDef):
        cls = tree.name
        for name in _defined(tree):
            if is_private(name):
                yield name, tree.lineno, cls
    if isinstance(tree, ast.Attribute) and is_private(tree.attr):
        is_self = ast.unparse(tree.value) in ("self", "cls", "super()")
        yield tree.attr, tree.lineno, cls if is_self else None
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) in ("getattr", "setattr", "hasattr"):
        match tree.args:
            case [_, ast.Constant(value=str(name)), *_] if is_private(name):
                yield name, tree.lineno, None
    if isinstance(tree, ast.ImportFrom) and not (tree.module or "").startswith("sfpo"):
        for alias in tree.names:
            if is_private(alias.name):
                yield alias.name, tree.lineno, None
    for child in ast.iter_child_nodes(tree):
        yield from _accesses(child, cls)
