"""The tasks and benchmarks by name, and where the hub keeps their data; needs nothing that takes time to import."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.fields import source_of
from sfpo.nearest import did_you_mean, unknown

_REGISTERED_AS = (b'\nDATASET_NAME = "', b'\nregister_dataset("')
"""How a module of reasoning-gym begins the line that names its task."""
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
"""Of the files that can be read."""


@dataclass(frozen=True)
class HubSet:
    """Where the hub keeps a data set."""

    repository: str
    split: str
    configuration: str | None = None


@dataclass(frozen=True)
class KnownBenchmark:
    """`size` is the number of problems that published results refer to, `file` the name of a local copy without suffix."""

    hub: HubSet
    size: int
    file: str


SETS: dict[str, HubSet] = {
    "dapo-math-17k": HubSet("BytedTsinghua-SIA/DAPO-Math-17k", "train"),
    "dapo-math-17k-cleaned": HubSet("haizhongzheng/DAPO-Math-17K-cleaned", "train"),
    "math": HubSet("DigitalLearningGmbH/MATH-lighteval", "train", "default"),
    "skywork-or1": HubSet("Skywork/Skywork-OR1-RL-Data", "math"),
    "gsm8k": HubSet("openai/gsm8k", "train", "main"),
}

# The paper's training set: the cleaned copy of DAPO-Math-17k and MATH.
TASKS: dict[str, tuple[str, ...]] = {name: (name,) for name in SETS} | {"dapo+math": ("dapo-math-17k-cleaned", "math")}
"""The maths tasks, each with the sets that it is made of."""

KNOWN: dict[str, KnownBenchmark] = {
    "math500": KnownBenchmark(HubSet("HuggingFaceH4/MATH-500", "test"), 500, "math500"),
    "aime24": KnownBenchmark(HubSet("HuggingFaceH4/aime_2024", "train"), 30, "aime24"),
    "aime25": KnownBenchmark(HubSet("math-ai/aime25", "test"), 30, "aime25"),
    "amc": KnownBenchmark(HubSet("AI-MO/aimo-validation-amc", "train"), 83, "amc"),
    "minerva": KnownBenchmark(HubSet("math-ai/minervamath", "test"), 272, "minerva"),
    "olympiadbench": KnownBenchmark(HubSet("knoveleng/OlympiadBench", "train"), 675, "olympiadbench"),
    "amc23": KnownBenchmark(HubSet("math-ai/amc23", "test"), 40, "amc23"),
    "gsm8k": KnownBenchmark(HubSet("openai/gsm8k", "test", "main"), 1319, "gsm8k_test"),
}

# The paper evaluates these six and reports their mean.
SIX = ("math500", "aime24", "aime25", "amc", "minerva", "olympiadbench")


def check_task(name: str) -> None:
    """Refuse what is not the name of a task.

    Raises:
        UsageError: with the name that was probably meant.
    """
    if name.startswith("gym:"):
        check_gym(name.removeprefix("gym:"))
        return
    if Path(name).suffix in SUFFIXES:
        raise UsageError(f"there is no file {name}: give one as --task file --data_path FILE")
    names = ("arithmetic", *TASKS, "file")
    if name not in names:
        hint = did_you_mean(name, names) or did_you_mean(name, gym_names(), "gym:{}")
        raise UsageError(
            f"unknown task '{name}'{hint}: choose among {', '.join(names)}, or gym:NAME for any reasoning-gym task"
        )


def check_gym(name: str) -> None:
    """Refuse what is not the name of a reasoning-gym task.

    Raises:
        UsageError: with the name that was probably meant.
    """
    names = gym_names()
    if names and name not in names:
        near = did_you_mean(name, names) or _same_beginning(name, names)
        raise UsageError(f"reasoning-gym has no task '{name}'{near or ': choose among ' + ', '.join(names)}")


def gym_names() -> list[str]:
    """The names that reasoning-gym registers, read from its source; none if it is not installed."""
    try:
        folder = source_of("reasoning_gym").parent
    except ModuleNotFoundError:
        return []
    texts = [path.read_bytes() for path in folder.rglob("*.py")]
    return sorted(
        text.partition(line)[2].partition(b'"')[0].decode()
        for text in texts
        for line in _REGISTERED_AS
        if line in text
    )


def _same_beginning(name: str, names: Sequence[str]) -> str:
    near = [known for known in names if name and name.split("_")[0] in known]
    return f": did you mean {', '.join(near[:5])}?" if near else ""


def names_of(wanted: str | Sequence[str], option: str = "benchmarks") -> list[str]:
    """Benchmarks as the user lists them, separated by commas or as separate arguments; `all` means every known one.

    Raises:
        UsageError: a name is unknown or listed twice, or the list is empty.
    """
    wanted = [wanted] if isinstance(wanted, str) else wanted  # a configuration file may hold a single string
    names = [name for text in wanted for part in str(text).split(",") if (name := part.strip())]
    if "all" in names:
        names = [*KNOWN, *(name for name in names if name not in KNOWN and name != "all")]
    for name in names:
        if name not in KNOWN and not _is_path(name):
            raise UsageError(unknown("benchmark", name, KNOWN, ", all, or give a local file"))
    labels = [label_of(name) for name in names]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise UsageError(f"--{option} lists {', '.join(sorted(twice))} more than once")
    if not names:
        raise UsageError(f"--{option} names no benchmark: choose among {', '.join(KNOWN)}, all, or give a local file")
    return names


def label_of(name: str) -> str:
    """The name of a benchmark in tables and records."""
    return name if name in KNOWN else Path(name).stem


def _is_path(name: str) -> bool:
    return "/" in name or Path(name).suffix in SUFFIXES
