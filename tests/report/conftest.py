import shutil

import pytest
from report_folders import HOSTILE, write_comparison


@pytest.fixture(scope="session")
def kept_comparison(tmp_path_factory):
    """A comparison that tests must not change, since computing its intervals takes a while."""
    return write_comparison(tmp_path_factory.mktemp("comparison") / "c", text=HOSTILE)


@pytest.fixture
def comparison(kept_comparison, tmp_path):
    """A comparison whose texts are hostile."""
    return shutil.copytree(kept_comparison, tmp_path / "c")
