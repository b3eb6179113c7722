"""The options of `sfpo plan`: flags override a recipe, a recipe a measured run, and a measured run the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfpo.errors import UsageError
from sfpo.methods import DEFAULT_METHOD, GXPO, METHODS, method_named
from sfpo.model.embedded import EMBEDDED
from sfpo.model.embedded.recipe import EMBEDDED_RECIPE
from sfpo.options import LARGEST, Parser, read_config, truth, with_underscores
from sfpo.plan import architecture, calibration, hardware, reduction
from sfpo.plan.architecture import Architecture
from sfpo.plan.hardware import Hardware
from sfpo.plan.workload import ENGINES, Workload, passes_and_copies
from sfpo.settings import AUTO, SlowFastSettings

# The settings of `sfpo train` that determine cost, with TRL's defaults and ours.
_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_generations": 8,
    "max_completion_length": 512,
    "inner_steps": SlowFastSettings.inner_steps,
    "bf16": Workload.bf16,
    "lora_r": Workload.lora_rank,
    "prompt_length": 150.0,
    "active_share": 1.0,
    "distinct_share": 1.0,
    "devices": 1,
}
_EMBEDDED_PROMPT = 9.0


@dataclass(frozen=True)
class Options:
    """The run to plan, and how to plan it."""

    model: str
    architecture: Architecture
    method: str
    """GXPO or SFPO; all methods but GXPO are planned as SFPO."""
    hardware: str
    device: Hardware
    work: Workload
    measured: calibration.Run | None
    measured_passes: float | None
    """Passes per step of a run whose α came from a KL budget, for a plan with such a budget; None otherwise."""
    checks: list[Path]
    rollout_reductions: dict[int, float]
    as_json: bool


def parse(arguments: Sequence[str]) -> Options:
    """Options from flags, `--config` and `--from`.

    Raises:
        UsageError: an option is unknown, contradicts another or is out of range.
    """
    flags = vars(parser().parse_args(with_underscores(arguments)))
    run = calibration.read_run(Path(flags["from"])) if flags["from"] else None
    given: dict[str, Any] = run.settings | _as_settings(run.typical()) if run else {}
    given |= read_config(flags["config"]) if flags["config"] else {}
    if flags["method"] not in (None, given.get("method", DEFAULT_METHOD)):
        # K and α mean something else in GXPO.
        given = METHODS[flags["method"]].of_file(given, method_named(given.get("method", DEFAULT_METHOD)))
    given |= {name: value for name, value in flags.items() if value is not None}
    method = GXPO if given.get("method") == GXPO else DEFAULT_METHOD
    if method == GXPO and flags["rollout_reduction"]:
        raise UsageError(
            "--rollout_reduction is by K, and GXPO makes three passes whatever K: leave it out, or plan with --method sfpo"
        )
    model = given.get("model", EMBEDDED)
    settings = {"model": model, **defaults(model), **given}
    _check_types(settings)
    name = settings.get("hardware") or ("cpu" if model == EMBEDDED or settings.get("use_cpu") else "h100-80gb")
    device = hardware.named(name)
    return Options(
        model=model,
        architecture=architecture.load(model, flags["model_config"]),
        method=method,
        hardware=name,
        device=device,
        work=_workload(settings, device),
        measured=run,
        measured_passes=run.mean_passes if run and run.settings.get("alpha") == given.get("alpha") == AUTO else None,
        checks=[Path(folder) for folder in flags["check"]],
        rollout_reductions=reduction.read_reductions(flags["rollout_reduction"]),
        as_json=flags["json"],
    )


_COUNTS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "inner_steps",
    "lora_r",
    "devices",
)
_NUMBERS = ("max_completion_length", "prompt_length", "active_share", "distinct_share")
_NUMBERS_IF_GIVEN = ("completion_length", "longest_completion", "vllm_gpu_memory_utilization")
_TRUTHS = ("bf16", "gradient_checkpointing", "compact_passes", "use_vllm", "use_peft", "use_cpu")


def _check_types(settings: dict[str, Any]) -> None:
    """Refuse what a recipe may hold and the formulas cannot take."""
    for kind, words, names, may_be_missing in (
        (str, "text", ("model",), False),
        (int, "a whole number", _COUNTS, False),
        (int, "a whole number", ("steps_per_generation",), True),
        (int | float, "a number", _NUMBERS, False),
        (int | float, "a number", _NUMBERS_IF_GIVEN, True),
        (bool, "true or false", _TRUTHS, True),
    ):
        for name in names:
            value = settings.get(name)
            if value is None and may_be_missing:
                settings.pop(name, None)
            elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise UsageError(f"{name} should be {words}, got '{value}'")
            elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:  # also where it is not a number
                raise UsageError(f"{name} must be a finite number and at most {LARGEST:,}, got {value}")


def defaults(model: str) -> dict[str, Any]:
    """The defaults of the settings that determine cost."""
    return _DEFAULTS | ({**EMBEDDED_RECIPE, "prompt_length": _EMBEDDED_PROMPT} if model == EMBEDDED else {})


def _workload(settings: dict[str, Any], device: Hardware) -> Workload:
    accumulation = settings["gradient_accumulation_steps"]
    mini_batches = max(1, (settings.get("steps_per_generation") or accumulation) // max(1, accumulation))
    corrected = settings.get("use_vllm") and settings.get("vllm_importance_sampling_correction", True)
    longest = settings.get("longest_completion", settings["max_completion_length"])
    engine = settings.get("engine") or ("lora" if settings.get("use_peft") else "ddp")
    return Workload(
        micro_batch=settings["per_device_train_batch_size"],
        accumulation=accumulation,
        mini_batches=mini_batches,
        group_size=settings["num_generations"],
        prompt_length=settings["prompt_length"],
        completion_length=settings.get("completion_length", longest / 2),
        longest_completion=longest,
        devices=settings["devices"],
        **passes_and_copies(settings),
        engine=engine,
        lora_rank=settings["lora_r"],
        gradient_checkpointing=settings.get("gradient_checkpointing", not device.is_cpu),
        bf16=settings.get("bf16", Workload.bf16),
        active_share=settings["active_share"],
        distinct_share=settings["distinct_share"],
        # On several devices, count TRL's passes: the device with the most completions to score sets the pace.
        compact=settings.get("compact_passes", True) and settings["devices"] == 1,
        scores_first=mini_batches > 1 or bool(corrected),
        vllm_share=_vllm_share(settings),
    )


def _vllm_share(settings: dict[str, Any]) -> float | None:
    if not settings.get("use_vllm"):
        return None
    # TRL's defaults.
    share: float = settings.get("vllm_gpu_memory_utilization", 0.3)
    if not 0 < share <= 1:
        raise UsageError(f"vllm_gpu_memory_utilization must be above 0 and at most 1, got {share}")
    return 0.0 if settings.get("vllm_mode") == "server" else share


def _as_settings(work: Workload) -> dict[str, Any]:
    """The values that a run measured and that no configuration states."""
    names = ("prompt_length", "completion_length", "longest_completion", "active_share", "distinct_share", "devices")
    return {name: getattr(work, name) for name in names}


def parser() -> Parser:
    """The parser of the command's options."""
    made = Parser(
        prog="sfpo plan",
        description="Predict the memory and seconds of a run before it starts, and which K saves the most time. Formulas: "
        "https://sfpo.example/docs/guides/plan/",
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--config", help="Recipe of sfpo train (YAML); flags win over it.")
    add("--from", help="Folder of an sfpo train run on the same hardware, to calibrate with; two steps are enough.")
    add("--check", nargs="+", default=[], help="Run folders whose measured seconds to compare with the prediction.")
    add("--model", help="'embedded', a folder, a .gguf file or a hub id.")
    add("--model_config", help="A config.json to read instead of the model's own.")
    add("--method", choices=(DEFAULT_METHOD, GXPO), help="The method to compare with GRPO.")
    add("--hardware", help=f"One of {', '.join(hardware.NAMES)}.")
    add("--engine", choices=ENGINES, help="How the devices hold the weights.")
    add("--devices", type=int, help="Total number of devices.")
    add("--prompt_length", type=float, help="Mean tokens per prompt.")
    add("--completion_length", type=float, help="Mean tokens per completion; half the longest by default.")
    add("--max_completion_length", dest="longest_completion", type=float, help="Tokens in the longest completion.")
    add("--active_share", type=float, help="Share of groups whose rewards differ; the passes skip the others.")
    add(
        "--distinct_share",
        type=float,
        help="Share of tokens that remain when equal completions count once, as in the passes.",
    )
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"):
        add(f"--{name}", type=int, help="As in sfpo train.")
    for name in ("num_generations", "inner_steps", "lora_r"):
        add(f"--{name}", type=int, help="As in sfpo train.")
    for name in ("gradient_checkpointing", "bf16"):
        add(f"--{name}", type=truth, help="As in sfpo train.")
    add(
        "--rollout_reduction",
        nargs="+",
        default=[],
        help="K=REDUCTION ... (how many times fewer rollouts SFPO needs than GRPO), or a folder that sfpo compare wrote.",
    )
    add("--json", action="store_true", help="Print JSON.")
    return made
