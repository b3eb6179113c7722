"""What the site needs beyond Markdown: links to the repository's files, the changelog, and equations as MathML.

A page links to a file outside `docs/` by its relative path, as a reader of the repository needs it. On the site the link leads
to the repository's own address. A link to a file that does not exist is a warning, which `mkdocs build --strict` fails on.
"""

import logging
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LOG = logging.getLogger("mkdocs.hooks.site")
_FENCE = re.compile(r"^ *(```|~~~)")
_LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **kwargs: Any) -> str:
    """Turn links that leave `docs/` into links to the repository; the page of the changelog is the repository's."""
    if page.file.src_uri == "changelog.md":
        return (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")
    folder = (DOCS / page.file.src_uri).parent
    lines, in_code = [], False
    for line in markdown.splitlines(keepends=True):
        if _FENCE.match(line):
            in_code = not in_code
        lines.append(
            line if in_code else _LINK.sub(lambda found: _outward(found, folder, config, page.file.src_uri), line)
        )
    return "".join(lines)


def _outward(found: re.Match[str], folder: Path, config: Any, page: str) -> str:
    target = Path(os.path.normpath(folder / found[1]))
    if target.is_relative_to(DOCS) or not target.is_relative_to(ROOT):
        return found[0]
    if not target.exists():
        _LOG.warning("%s links to %s, which does not exist", page, target.relative_to(ROOT))
    kind = "tree" if target.is_dir() else "blob"
    return f"]({config.repo_url.rstrip('/')}/{kind}/main/{target.relative_to(ROOT).as_posix()}{found[2] or ''})"


def mathml(source: str, language: str, class_name: str, options: Any, md: Any, **kwargs: Any) -> str:
    """A fenced block of LaTeX as MathML, which browsers draw by themselves."""
    return f'<div class="equation">{convert(source.strip(), display="block")}</div>'
