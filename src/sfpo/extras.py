"""Packages that only a part of sfpo needs: where one is missing, the line that says what brings it."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ModuleNotFoundError):
    """A package of an extra is not installed; the message says in one line how to install it."""


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import within what needs an extra.

    Raises:
        MissingExtraError: one of its packages is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        # From nothing: a second traceback would bury the line.
        raise named(error, extra) from None


def named(error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """The error with the extra in its message; one about a module of our own, or with an extra already, as it is."""
    package = (error.name or "").partition(".")[0]
    if isinstance(error, MissingExtraError) or package in ("", "sfpo"):
        return error
    return MissingExtraError(f"{package} is not installed: pip install 'sfpo[{extra}]'", name=error.name)
