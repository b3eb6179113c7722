"""What a run of `sfpo train` reads and writes, looked at before the libraries are imported that take seconds.

What is let through may still be refused when it is loaded.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from os.path import isfile
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.model.source import refuse_longer, source_of, stated_readable
from sfpo.options import free_folder
from sfpo.records.lock import refuse_unwritable
from sfpo.training.resume import start_in


def check_model(options: Mapping[str, Any]) -> None:
    """Refuse a model that is not there, or that cannot read its completions, and a file of problems that is not there.

    Raises:
        UsageError: naming the first.
    """
    model, data, longest = str(options["model"]), options["data_path"], options["max_completion_length"]
    source_of(model)
    # Whatever is given as model_init_kwargs may change the model's positions.
    if options["model_init_kwargs"] is None and isinstance(longest, int):
        refuse_longer(model, longest, stated_readable(model))
    if options["task"] == "file" and not isfile(str(data)):
        raise UsageError(f"there is no file {data}: give one with --data_path")


def check_folder(options: Mapping[str, Any]) -> None:
    """Refuse an output folder that cannot be made, written to or held, or that a run can neither begin in nor continue.

    Raises:
        UsageError: saying why.
    """
    folder = Path(str(options["output_dir"] or free_folder(f"{options['task']}-{options['method']}")))
    # Of several processes of one run, the first writes; the others would find the folder taken.
    if os.environ.get("RANK", "0") != "0":
        return
    refuse_unwritable(folder, "sfpo train")
    if isinstance(options["max_steps"], int):
        start_in(folder, options["resume_from_checkpoint"], options["max_steps"])


_TRACKERS = ("wandb", "trackio", "mlflow", "swanlab", "comet_ml")
"""Those whose package has their name."""


def check_trackers(options: Mapping[str, Any]) -> None:
    """Refuse to report to a tracker that is not installed.

    Raises:
        UsageError: naming the first.
    """
    named = options["report_to"]
    for tracker in [named] if isinstance(named, str) else named or []:
        if tracker in _TRACKERS and find_spec(tracker) is None:
            raise missing_tracker(tracker)


def missing_tracker(name: str) -> UsageError:
    """What is said of a tracker that is not installed."""
    return UsageError(f"--report_to {name} needs a package that is not installed: pip install {name}, or leave it out")


_PROCESSES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are."""


def check_groups(options: Mapping[str, Any]) -> None:
    """Refuse a batch of rollouts that is not made of whole groups, as TRL does.

    Raises:
        UsageError: giving both sizes.
    """
    if options["generation_batch_size"] is not None:
        return
    steps = options["steps_per_generation"] or options["gradient_accumulation_steps"]
    processes = next((os.environ[name] for name in _PROCESSES if name in os.environ), "1")
    counts = (options["per_device_train_batch_size"], steps, options["num_generations"])
    if not processes.isdecimal() or not all(isinstance(count, int) for count in counts):
        return
    batch, group = counts[0] * steps * int(processes), counts[2]
    if batch % group:
        raise UsageError(
            f"a batch of {batch} completions is not made of whole groups of --num_generations {group}: make "
            "--per_device_train_batch_size times --gradient_accumulation_steps a multiple of --num_generations"
        )
