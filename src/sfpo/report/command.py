"""`sfpo report`: a page about a run or a comparison, and its figures for papers."""

from collections.abc import Sequence
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.options import Parser
from sfpo.report.content import Content, content_of
from sfpo.report.folder import read_folder
from sfpo.report.page import write_page


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo report`; returns the exit code.

    Raises:
        UsageError: there is nothing to report, or a file cannot be written.
    """
    options = parser().parse_args(arguments)
    content = content_of(read_folder(options.folder))
    page = write_page(content, options.folder / "report.html" if options.output is None else options.output)
    print(f"Report   {page}")
    if options.forms:
        print(f"Figures  {_write_figures(content, options.folder, options.forms)}")
    for line in content.left_out:
        print(f"Left out {line}")
    return 0


def parser() -> Parser:
    """The parser of the command's options."""
    made = Parser(
        prog="sfpo report",
        description="Write one HTML file about a run of sfpo train or a comparison of sfpo compare. The file needs no "
        "network and can be shared as it is.",
    )
    made.add_argument("folder", type=Path, help="the --output_dir of sfpo train or sfpo compare")
    made.add_argument("--output", type=Path, help="the file to write (default: report.html in the folder)")
    for form, kind in (("png", "pictures of 300 dots an inch"), ("svg", "drawings of any size")):
        made.add_argument(
            f"--{form}",
            dest="forms",
            action="append_const",
            const=form,
            help=f"also write the figures for a paper as {form.upper()} files ({kind}), into figures/ in the folder",
        )
    return made


def _write_figures(content: Content, folder: Path, forms: list[str]) -> Path:
    # Only these files need matplotlib, so it is imported here.
    try:
        from sfpo.report.paper import write_figures
    except ModuleNotFoundError as error:
        raise UsageError(f"--{forms[0]} needs {error.name}: pip install 'sfpo[trl]'") from error
    return write_figures(content, folder, forms)
