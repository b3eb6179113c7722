"""`sfpo report`: a page about a run or a comparison, and its figures for papers."""

from collections.abc import Sequence
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.options import Parser
from sfpo.report.page import write_report


def main(arguments: Sequence[str]) -> int:
    """Run `sfpo report`; returns the exit code.

    Raises:
        UsageError: there is nothing to report, or a file cannot be written.
    """
    options = parser().parse_args(arguments)
    print(f"Report   {write_report(options.folder, options.output)}")
    if options.png:
        print(f"Figures  {_write_figures(options.folder)}")
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
    made.add_argument(
        "--png", action="store_true", help="also write the figures as PNG files, into figures/ in the folder"
    )
    return made


def _write_figures(folder: Path) -> Path:
    # Only the PNG files need matplotlib, so it is imported here.
    try:
        from sfpo.report.png import write_figures
    except ModuleNotFoundError as error:
        raise UsageError(f"--png needs {error.name}: pip install 'sfpo[trl]'") from error
    return write_figures(folder)
