"""The options of `sfpo train` that are neither the update's nor TRL's; needs no torch."""

from dataclasses import dataclass, field

from sfpo.methods import DEFAULT_METHOD, METHODS
from sfpo.model.embedded import EMBEDDED


@dataclass
class TrainOptions:
    """The command's own options."""

    method: str = field(
        default=DEFAULT_METHOD,
        metadata={"help": "; ".join(f"'{name}' ({method.what})" for name, method in METHODS.items()) + "."},
    )
    model: str = field(
        default=EMBEDDED,
        metadata={"help": "'embedded', a hub id, a local folder or a .gguf file of a causal language model."},
    )
    task: str = field(
        default="arithmetic",
        metadata={
            "help": "'arithmetic', 'gym:NAME' (any reasoning-gym task), a maths set of the hub ('dapo-math-17k', "
            "'dapo-math-17k-cleaned', 'math', 'dapo+math', 'skywork-or1', 'gsm8k') or 'file' with --data_path."
        },
    )
    task_params: list[str] = field(
        default_factory=list, metadata={"help": "Settings of a gym task, as name=value ..., such as min_terms=2."}
    )
    data_path: str | None = field(
        default=None,
        metadata={
            "help": "JSONL, CSV or parquet file of problems and answers, for --task file; or a local copy of a maths set "
            "(for 'dapo+math' two, with a comma between them)."
        },
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the file that holds the problem."})
    answer_column: str = field(default="answer", metadata={"help": "Column of the file that holds the answer."})
    prompt_template: str = field(
        default="auto",
        metadata={
            "help": "The instruction with each problem: 'boxed', 'dapo', 'plain', or 'auto': what the data set ships, "
            "else boxed for a maths set and plain for a file."
        },
    )
    difficulty: str | None = field(
        default=None,
        metadata={
            "help": "Keep the problems of a maths set that are rated so, as SCALE:LOW-HIGH: 'level:3-5' for MATH, "
            "'7B:1-15' for Skywork's failures in 16 tries of the model whose name ends in 7B."
        },
    )
    clean_data: bool = field(
        default=True,
        metadata={"help": "Drop repeats, rows with conflicting answers, and problems that are also in a benchmark."},
    )
    benchmark_data_path: str | None = field(
        default=None, metadata={"help": "Folder with local copies of the benchmarks, to use instead of the hub's."}
    )
    train_problems: int = field(default=10_000, metadata={"help": "Problems to generate for a procedural task."})
    eval_problems: int = field(default=512, metadata={"help": "Held-out problems, never trained on, to evaluate on."})
    eval_every: int = field(
        default=0, metadata={"help": "Steps between evaluations on held-out problems; 0 for before and after only."}
    )
    eval_benchmarks: list[str] = field(
        default_factory=list,
        metadata={"help": "Benchmarks to answer at each evaluation (see sfpo eval --help), such as math500,aime24."},
    )
    eval_samples: int = field(default=4, metadata={"help": "Answers to each problem of a benchmark."})
    eval_limit: int | None = field(default=None, metadata={"help": "Only the first so many problems of a benchmark."})
    eval_batch_size: int = field(default=128, metadata={"help": "Held-out or benchmark problems answered at a time."})
    completions_per_step: int = field(
        default=16, metadata={"help": "Sampled completions a step to keep in completions.jsonl."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Check everything, print the configuration and what it will cost, and stop."}
    )
