"""`sfpo report`: one page about a run or a comparison, and figures for papers and notebooks."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfpo.report.paper import Drawing

__all__ = ["figures"]


def figures(folder: str | Path) -> "dict[str, Drawing]":
    """Draw the figures of a run or a comparison; needs matplotlib.

    A notebook shows a figure that a cell ends with, and `figure.savefig` writes it. What a run or a comparison recorded
    decides which figures there are: `list(figures(folder))` names them, in the order of the page.

    Args:
        folder: the `--output_dir` of `sfpo train` or `sfpo compare`. What cannot be read of it is left out.

    Returns:
        Figures of matplotlib by name, such as `accuracy_by_rollouts`, `reward`, `entropy` or `alpha`: 3.5 inches wide, axes
        labelled with their units.

    Raises:
        UsageError: `folder` holds neither a run nor a comparison that can be read.
    """
    # Imported when asked for: the page needs no matplotlib.
    from sfpo.report.content import content_of
    from sfpo.report.folder import read_folder
    from sfpo.report.paper import draw_all

    return draw_all(content_of(read_folder(Path(folder))))
