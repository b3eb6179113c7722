"""The data sets that tests read where they are at hand; they are not part of this repository."""

import pytest
from repository import ROOT

FOLDER = ROOT.parent / "shared" / "data"

needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="there are no data sets in ../shared/data")
