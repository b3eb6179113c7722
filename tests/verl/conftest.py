"""verl has an environment of its own (`make test-verl`); elsewhere nothing in this folder is collected."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    # By its distribution: on the path, this very folder would pass for a package called verl.
    version("verl")
except PackageNotFoundError:
    collect_ignore_glob = ["*.py"]
else:
    # What verl reads when it is first imported, here and in the processes that tests start.
    os.environ["VERL_PLATFORM"] = "cpu"
    os.environ["VERL_ENGINE_DEVICE"] = "cuda"  # the FSDP engine that runs on GPUs
    os.environ["VERL_USE_EXTERNAL_MODULES"] = "cpu_platform,hf_rollout"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    )
    # pytest puts the folder of all tests on the path, where verl, which looks for TRL, would take tests/trl for it.
    sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parents[1]]
