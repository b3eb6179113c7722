"""What `sfpo eval` takes; needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import isdir
from pathlib import Path

from sfpo.errors import UsageError
from sfpo.fields import options_of
from sfpo.model import hub
from sfpo.model.embedded import EMBEDDED
from sfpo.model.source import source_of
from sfpo.nearest import unknown
from sfpo.options import Parser, add_option, check_at_least, with_underscores
from sfpo.records.lock import refuse_unwritable
from sfpo.tasks.catalog import KNOWN, SIX, names_of
from sfpo.tasks.templates import TEMPLATES, check_template

_DTYPES = ("auto", "bfloat16", "float16", "float32")
_ENGINES = ("auto", "transformers", "vllm")


@dataclass
class EvalOptions:
    """The defaults are the paper's evaluation: six benchmarks, avg@4 at temperature 1 and top-p 0.7."""

    model: str = field(
        default=EMBEDDED,
        metadata={"help": "'embedded', a hub id, a local folder or a .gguf file of a causal language model."},
    )
    benchmarks: list[str] = field(
        default_factory=lambda: list(SIX),
        metadata={"help": f"Any of {','.join(KNOWN)}, or 'all', or local files; commas or spaces between them."},
    )
    data_path: str | None = field(
        default=None,
        metadata={
            "help": "Folder with local copies (math500.jsonl, ..., gsm8k_test.jsonl) to use instead of the hub's."
        },
    )
    limit: int | None = field(default=None, metadata={"help": "Only the first so many problems of each benchmark."})
    samples: int | None = field(default=None, metadata={"help": "Answers to each problem: 4, or 1 with --greedy."})
    greedy: bool = field(default=False, metadata={"help": "The likeliest token each time instead of sampling."})
    temperature: float = field(default=1.0, metadata={"help": "Temperature of sampling."})
    top_p: float = field(default=0.7, metadata={"help": "Share of the probability to sample from."})
    max_new_tokens: int = field(default=2560, metadata={"help": "Tokens after which an answer is cut off."})
    prompt_template: str = field(
        default="boxed", metadata={"help": f"The instruction with each problem: {', '.join(TEMPLATES)}."}
    )
    batch_size: int = field(default=16, metadata={"help": "Answers sampled at a time; for vLLM, hundreds."})
    engine: str = field(
        default="auto", metadata={"help": "'transformers' or 'vllm'; 'auto' takes vLLM where it is installed."}
    )
    dtype: str = field(
        default="auto",
        metadata={"help": "'bfloat16', 'float16', 'float32', or 'auto': that of the weights, float32 on a CPU."},
    )
    vllm_gpu_memory_utilization: float | None = field(
        default=None,
        metadata={
            "help": "Share of each GPU's memory, or of the machine's on a CPU, that vLLM takes for weights and cache. "
            "Default: 0.9, on a CPU half of what is free."
        },
    )
    vllm_max_model_length: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of a prompt and its answer that vLLM makes room for. Default: what the longest prompt needs."
        },
    )
    vllm_enforce_eager: bool = field(
        default=False,
        metadata={"help": "vLLM neither compiles nor captures the model: it starts sooner. Always so on a CPU."},
    )
    vllm_tensor_parallel_size: int = field(
        default=1, metadata={"help": "GPUs over which vLLM spreads one copy of the model."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run the code that a model of the hub brings."})
    seed: int = field(default=0, metadata={"help": "Chooses the samples."})
    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder of the results; one that was interrupted is continued. Default: a new one in runs/."
        },
    )

    @property
    def answers(self) -> int:
        """How many to each problem."""
        return self.samples if self.samples is not None else 1 if self.greedy else 4


def first_look(arguments: Sequence[str]) -> None:
    """Print the help if it is asked for, and refuse what is wrong whatever the model and the data.

    Raises:
        SystemExit: the help was printed.
        UsageError: see `parse`.
    """
    options = parse(arguments)
    source_of(options.model)
    if options.output_dir is not None:
        refuse_unwritable(Path(options.output_dir), "sfpo eval")
    hub.look(options.model, options.data_path is None and any(name in KNOWN for name in options.benchmarks))


def parse(arguments: Sequence[str]) -> EvalOptions:
    """Options from flags.

    Raises:
        UsageError: an unknown or contradictory option.
    """
    parser = parser_of()
    options = EvalOptions(**vars(parser.parse_args(with_underscores(arguments))))
    _check(options)
    return options


def parser_of() -> Parser:
    """The parser of these options."""
    parser = Parser(
        prog="sfpo eval",
        description="Answer maths benchmarks with a model, and say how many answers are right. Without any option: the "
        "paper's six benchmarks, four answers to each problem.",
        allow_abbrev=False,
    )
    for option in options_of(EvalOptions):
        add_option(parser, option)
    return parser


def _check(options: EvalOptions) -> None:
    options.benchmarks = names_of(options.benchmarks)
    check_template(options.prompt_template, auto=False)
    check_at_least(1, options, "samples", "limit", "max_new_tokens", "batch_size")
    check_at_least(1, options, "vllm_max_model_length", "vllm_tensor_parallel_size")
    check_at_least(0, options, "seed")
    share = options.vllm_gpu_memory_utilization
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"--vllm_gpu_memory_utilization must be in (0, 1], got {share}")
    if options.greedy and options.answers > 1:
        raise UsageError("--greedy gives the same answer every time: leave --samples out")
    if not options.greedy and not 0 < options.temperature < math.inf:
        raise UsageError(f"--temperature must be positive, got {options.temperature}: for the likeliest, say --greedy")
    if not 0 < options.top_p <= 1:
        raise UsageError(f"--top_p must be in (0, 1], got {options.top_p}")
    for kind, value, known in (("dtype", options.dtype, _DTYPES), ("engine", options.engine, _ENGINES)):
        if value not in known:
            raise UsageError(unknown(kind, value, known))
    if options.data_path is not None and not isdir(options.data_path):
        raise UsageError(f"there is no folder {options.data_path}: give the one with the benchmarks to --data_path")
