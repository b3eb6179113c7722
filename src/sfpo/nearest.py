"""What a misspelt word was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, else one that begins with it; None if there is neither."""
    by_plain = {_plain(name): name for name in known}
    plain = _plain(word)
    longer = [name for name in by_plain if len(plain) > 2 and name.startswith(plain)]
    found = get_close_matches(plain, by_plain, n=1, cutoff=0.65) or longer
    return by_plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Such as ` (did you mean --method?)`, for the end of a sentence; empty if no known word is like this one."""
    meant = nearest(word, known)
    return "" if meant is None else f" (did you mean {form.format(meant)}?)"


def unknown(kind: str, word: object, known: Iterable[str], others: str = "") -> str:
    """The sentence that refuses a name: what was probably meant, and what there is.

    Args:
        kind: what it should be the name of, such as "method".
        others: what may be given besides the known names.
    """
    names = list(known)
    hint = did_you_mean(str(word), names)
    return f"unknown {kind} '{word}'{hint}: choose among {', '.join(names)}{others}"


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")
