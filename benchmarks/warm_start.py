"""A model that has seen some answers of a task: supervised training before a comparison on it.

GRPO learns from groups whose rewards differ. A small model that never answers a task rightly has none, whatever the method.
This makes `--examples` training problems of the task into conversations, trains on their answers once with TRL's
`SFTTrainer`, and saves the model for `sfpo compare --model`. The held-out problems are never among them.

    python benchmarks/warm_start.py --model SmolLM2-135M-Instruct.Q4_1.gguf --task gym:spell_backward \\
        --task_params min_word_len=3 max_word_len=4 --examples 1024 --learning_rate 1e-4 --output_dir runs/smollm2-warm
"""

import argparse

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from sfpo.model.load import load_model, load_tokenizer
from sfpo.tasks import load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--task_params", nargs="*", default=[])
    parser.add_argument("--examples", type=int, required=True)
    parser.add_argument("--learning_rate", type=float, default=3e-5)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", required=True)
    options = parser.parse_args()
    task = load_task(options.task, parameters=options.task_params, train_problems=options.examples, seed=options.seed)
    conversations = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in task.train
    ]
    configuration = SFTConfig(
        options.output_dir,
        per_device_train_batch_size=options.batch_size,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=options.seed,
    )
    tokenizer = load_tokenizer(options.model)
    trainer = SFTTrainer(
        load_model(options.model),
        configuration,
        train_dataset=Dataset.from_list(conversations),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
