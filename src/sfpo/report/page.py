"""The report as one HTML file that makes no network requests.

Text from models is untrusted. It is only ever data: JSON without a "<", which `page.js` puts on the page as text. The
page's security policy allows only the scripts embedded here, by their hashes, and forbids fetching anything.
"""

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path

from sfpo import __version__
from sfpo.report.content import Content, as_data, content_of
from sfpo.report.folder import read_folder
from sfpo.report.output import opened_folder

_SOURCES = files("sfpo.report")
# The order matters: each script uses those before it.
_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "charts.js", "page.js")
_LICENSES = ("vendor/d3.LICENSE", "vendor/plot.LICENSE")


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report about the run or comparison in `folder`, by default as its `report.html`; returns the path.

    Raises:
        UsageError: there is nothing to report, or the file cannot be written.
    """
    return write_page(content_of(read_folder(folder)), folder / "report.html" if output is None else output)


def write_page(content: Content, path: Path) -> Path:
    """Write a report as one HTML file; returns the path.

    Raises:
        UsageError: the file cannot be written, or is a symbolic link or no regular file.
    """
    with opened_folder(path.parent) as place:
        return place.write(path.name, render(content).encode())


def render(content: Content) -> str:
    """The whole HTML file as text."""
    scripts = [_read(name) for name in _SCRIPTS]
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    # JSON in plain ASCII, so that nothing depends on how the file is decoded.
    data = json.dumps(as_data(content), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    licenses = "\n".join(_read(name) for name in _LICENSES)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta name="generator" content="sfpo {__version__}">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(content.title)} · sfpo</title>",
            f"<style>{_read('page.css')}</style>",
            "</head>",
            "<body>",
            "<noscript>This page needs JavaScript: allow its own scripts to run.</noscript>",
            f'<script type="application/json" id="content">{data}</script>',
            f"<!-- Licences of the two libraries in this file:\n{licenses}-->",
            *[f"<script>{script}</script>" for script in scripts],
            "</body>",
            "</html>",
            "",
        ]
    )


def _read(name: str) -> str:
    return _SOURCES.joinpath(name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
