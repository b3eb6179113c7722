"""Short runs that check `sfpo plan`: each differs from the calibration run in its method, K, batch or length.

    python benchmarks/plan_runs.py --model SmolLM2-135M-Instruct.Q4_1.gguf
    sfpo plan --from results/plan/smollm2/k3 --check results/plan/smollm2/grpo ...

The runs use `sfpo train` on one thread, and the clock that times their phases shows the processor time of this process. On
an idle core this equals wall-clock time; on a machine with other work it is the wall-clock time that the run would have
taken without it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from sfpo.cli import main
from sfpo.records.run import CONFIG, METRICS, RUN

_SUMS = [
    "--task", "gym:chain_sum", "--task_params", "min_terms=2", "max_terms=2", "min_digits=1", "max_digits=2",
    "--num_generations", "8", "--per_device_train_batch_size", "16", "--gradient_checkpointing", "false",
    "--learning_rate", "1e-5", "--lr_scheduler_type", "constant", "--gate", "off", "--save_strategy", "no",
    "--eval_problems", "8", "--max_steps", "3",
]  # fmt: skip
_SMOLLM2 = {
    "k3": ["--gradient_accumulation_steps", "2", "--max_completion_length", "24"],
    "grpo": ["--gradient_accumulation_steps", "2", "--max_completion_length", "24", "--method", "grpo"],
    "grpo-16-long": ["--gradient_accumulation_steps", "1", "--max_completion_length", "64", "--method", "grpo"],
    "k1-64": ["--gradient_accumulation_steps", "4", "--max_completion_length", "24", "--inner_steps", "1"],
}
_ARITHMETIC = ["--max_steps", "12", "--eval_problems", "64", "--save_strategy", "no"]
_EMBEDDED = {
    "k3": [],
    "grpo": ["--method", "grpo"],
    "k1-256": ["--inner_steps", "1", "--per_device_train_batch_size", "256"],
    "k7-64": ["--inner_steps", "7", "--per_device_train_batch_size", "64"],
}


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="'embedded', or SmolLM2-135M-Instruct as a .gguf file")
    model = parser.parse_args().model
    name, common, runs = "embedded", _ARITHMETIC, _EMBEDDED
    if model != "embedded":
        name, common, runs = "smollm2", ["--model", model, *_SUMS], _SMOLLM2
    time.perf_counter = time.process_time
    for run_name, options in runs.items():
        folder = Path("results/plan") / name / run_name
        code = main(["train", *common, *options, "--output_dir", str(folder)])
        if code:
            return code
        for path in folder.iterdir():
            if path.name not in (METRICS, CONFIG, RUN):
                path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(run())
