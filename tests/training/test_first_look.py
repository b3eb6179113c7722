"""What `sfpo train` and its like say of a mistake: in one line, without the imports that take seconds."""

import re
import subprocess
import sys
from dataclasses import fields
from inspect import getsource

import pytest
from trl import GRPOTrainer, ModelConfig

from sfpo.cli import main
from sfpo.training.help import parser
from sfpo.training.known_options import INSTEAD, known_options
from sfpo.training.own_options import TrainOptions
from sfpo.trl import SFPOConfig

HEAVY = {"torch", "transformers", "trl", "datasets", "numpy", "rich"}


@pytest.fixture
def refused(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert code == 2, error
        assert len(error.splitlines()) == 1
        return error

    return run


def test_the_options_read_from_the_sources_are_those_of_the_classes():
    by_class = {f.name for part in (TrainOptions, SFPOConfig, ModelConfig) for f in fields(part) if f.init}
    assert known_options().keys() == by_class - INSTEAD.keys()


def test_the_losses_are_those_that_trl_knows():
    asked_for = re.findall(r'self\.loss_type (?:==|in) ("\w+"|\[[^\]]+\])', getsource(GRPOTrainer))
    assert set(known_options()["loss_type"].choices) == set(re.findall(r'"(\w+)"', " ".join(asked_for)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--max_steps -5", "--max_steps must be at least 1, or -1 for as many as --num_train_epochs makes, got -5"),
        ("--max_steps 0", "--max_steps must be at least 1"),
        ("--max_steps 1e3", "--max_steps should be a whole number, got 1000.0"),
        ("--max_steps", "--max_steps needs a value"),
        ("--max_steps 99999999999", "--max_steps must be at most 2,147,483,647"),
        ("--learning_rate -1", "--learning_rate must be at least 0, got -1"),
        ("--learning_rate nan", "--learning_rate must be a finite number, got nan"),
        ("--learning_rate inf", "--learning_rate must be a finite number, got inf"),
        ("--learning_rate fast", "--learning_rate should be a number, got fast"),
        ("--loss_type foo", "--loss_type cannot be 'foo': choose among grpo, bnpo"),
        ("--loss_type dr-grpo", "(did you mean dr_grpo?)"),
        ("--lr_scheduler_type cosin", "(did you mean cosine?)"),
        ("--optim adamw", "--optim cannot be 'adamw'"),
        ("--dtype bf16", "--dtype cannot be 'bf16'"),
        ("--temperature 0", "--temperature must be above 0, got 0"),
        ("--top_p 1.5", "--top_p must be above 0 and at most 1, got 1.5"),
        ("--adam_beta2 1", "--adam_beta2 must be at least 0 and below 1, got 1"),
        ("--seed -1", "--seed must be at least 0, got -1"),
        ("--seed 4294967296", "--seed must be at most 4,294,967,295"),
        ("--save_steps 0", "--save_strategy no saves nothing"),
        ("--warmup_steps -3", "--warmup_steps must be at least 0"),
        ("--eval_limit 0", "--eval_limit must be at least 1"),
        ("--train_problems 99999999999", "--train_problems must be at most 10,000,000"),
        ("--bf16 maybe", "--bf16 should be true or false, got maybe"),
        ("--max_grad_norm nan", "--max_grad_norm must be a finite number"),
        ("--kl_budget nan --alpha auto", "kl_budget must be above 0, got nan"),
        ("--alpha_max 0.5 --alpha auto", "alpha_max"),
        ("--max_setps 5", "there is no option '--max_setps' (did you mean --max_steps?)"),
        ("-max_steps 5", "(did you mean --max_steps?)"),
        ("—max_steps 5", "(did you mean --max_steps?)"),
        ("--no_clean_dat", "(did you mean --clean_data?)"),
        ("--max_steps 5 6", "there is no option '6'"),
        ("--model_name_or_path x", "sfpo train takes the model as --model"),
        ("--method SFOP", "unknown method 'SFOP' (did you mean sfpo?)"),
        ("--task aritmetic", "(did you mean arithmetic?)"),
        ("--task countdown", "(did you mean gym:countdown?)"),
        ("--task gym:countdwn", "reasoning-gym has no task 'countdwn' (did you mean countdown?)"),
        ("--task data.jsonl", "give one as --task file --data_path FILE"),
        ("--eval_benchmarks aime24,math50", "unknown benchmark 'math50' (did you mean math500?)"),
        ("--prompt_template boxd", "(did you mean boxed?)"),
        ("--entropy_window 5", "--entropy_window 5 has no effect, since the gate is off: add --gate exit"),
        ("--data_path x.jsonl", "--data_path has no effect with --task arithmetic"),
        ("--task gsm8k --task_params a=1", "--task_params has no effect with --task gsm8k"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry_run"]], ids=["run", "dry_run"])
def test_a_mistake_is_one_line_that_says_how_to_mend_it(refused, arguments, said, dry):
    assert said in refused("train", *arguments.split(), *dry)


@pytest.fixture
def folder_with_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished" / "run.json").write_text('{"finished": 1.0, "steps": 3}')
    checkpoint = tmp_path / "stopped" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3, "log_history": []}')
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).write_text("")


PLACES = [
    ("--output_dir file", "file is not a folder: choose another --output_dir"),
    ("--output_dir dangling", "dangling is not a folder: choose another --output_dir"),
    ("--output_dir file/run", "cannot make the folder file/run (Not a directory): choose another --output_dir"),
    ("--output_dir /proc/run", "cannot make the folder /proc/run"),
    ("--output_dir " + "x" * 300, "(File name too long): choose another --output_dir"),
    ("--output_dir finished", "finished already holds a finished run: choose another --output_dir"),
    ("--output_dir stopped", "stopped already holds a run: continue it with --resume_from_checkpoint last"),
    ("--output_dir new --resume_from_checkpoint last", "new holds no checkpoint to continue from"),
    ("--resume_from_checkpoint nowhere", "nowhere is not a checkpoint: give its folder, or 'last'"),
    ("--report_to swanlab", "--report_to swanlab needs a package that is not installed: pip install swanlab"),
    ("--report_to tensorboard swanlab", "--report_to swanlab needs a package that is not installed"),
    ("--model ./nope", "there is no model folder ./nope"),
    ("--model nope.gguf", "there is no file nope.gguf"),
    ("--model file", "file is a file: give the folder of a saved model"),
    ("--model .", ". holds no config.json"),
    ("--max_completion_length 12801", "is more than embedded can read: 12,800 tokens at most"),
    ("--task file --data_path nope.jsonl", "there is no file nope.jsonl: give one with --data_path"),
    ("--num_generations 3", "a batch of 128 completions is not made of whole groups of --num_generations 3"),
    ("--model some/model --num_generations 5", "a batch of 8 completions is not made of whole groups"),
]


@pytest.mark.usefixtures("folder_with_a_file")
@pytest.mark.parametrize(("arguments", "said"), PLACES)
@pytest.mark.parametrize("dry", [[], ["--dry_run"]], ids=["run", "dry_run"])
def test_what_cannot_be_read_or_written_is_refused_at_once(refused, arguments, said, dry):
    assert said in refused("train", *arguments.split(), *dry)


@pytest.mark.usefixtures("folder_with_a_file")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("compare --output_dir file", "file is not a folder"),
        ("compare --output_dir c --model ./nope", "there is no model folder ./nope"),
        ("compare --output_dir c --sweep max_completion_length=40,12801", "is more than embedded can read"),
        ("compare --output_dir c --num_generations 3", "not made of whole groups"),
        ("eval --output_dir file", "file is not a folder"),
        ("eval --model ./nope", "there is no model folder ./nope"),
    ],
)
def test_so_do_the_other_commands(refused, arguments, said):
    assert said in refused(*arguments.split())


def test_what_is_looked_at_is_left_as_it_was(tmp_path, monkeypatch):
    from sfpo.training.first_look import first_look

    monkeypatch.chdir(tmp_path)
    first_look(["--output_dir", "a/b"])
    first_look([])
    first_look(["--num_generations", "4", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"])
    monkeypatch.setenv("WORLD_SIZE", "3")
    first_look(["--num_generations", "3"])
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_of_a_run_leaves_the_folder_to_the_first(tmp_path, monkeypatch):
    from sfpo.records.lock import FolderLock
    from sfpo.training.first_look import first_look

    monkeypatch.setenv("RANK", "1")
    with FolderLock(tmp_path / "run", "sfpo train"):
        first_look(["--output_dir", str(tmp_path / "run")])


def test_the_limit_is_stated_only_where_the_file_says_all(tmp_path):
    from sfpo.model.source import stated_readable

    def stated(text):
        (tmp_path / "config.json").write_text(text)
        return stated_readable(str(tmp_path))

    assert stated('{"max_position_embeddings": 64, "rope_parameters": {}}') == 6400
    assert stated('{"text_config": {"max_position_embeddings": 64, "rope_parameters": {}}}') == 6400
    for unsure in ('{"max_position_embeddings": 64}', '{"n_positions": 64}', "[]", "{", '{"rope_parameters": {}}'):
        assert stated(unsure) is None


def test_a_task_that_is_a_file_is_told_how_to_write_it(refused, tmp_path):
    path = tmp_path / "my problems.jsonl"
    path.write_text("{}")
    assert f"write --task file --data_path {path}" in refused("train", "--task", path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_setps: 5", "max_setps (did you mean max_steps?)"),
        ("learning_rate: .nan", "learning_rate in the configuration must be a finite number"),
        ("learning_rate: -1e-6", "learning_rate in the configuration must be at least 0"),
        ("max_steps: -5", "max_steps in the configuration must be at least 1"),
        ("max_steps: null", "max_steps in the configuration should be a whole number, got null"),
        ("loss_type: foo", "loss_type in the configuration cannot be 'foo'"),
        ("model_name_or_path: x", "sfpo train takes the model as --model"),
        ("task: aritmetic", "(did you mean arithmetic?)"),
        ("inner_steps: 0", "inner_steps (K) must be at least 1"),
    ],
)
def test_a_mistake_in_a_configuration_is_one_too(refused, tmp_path, line, said):
    path = tmp_path / "a.yaml"
    path.write_text(line)
    assert said in refused("train", "--config", path)


def test_what_is_right_is_let_through(tmp_path):
    from sfpo.training.first_look import check

    path = tmp_path / "a.yaml"
    path.write_text(
        "learning_rate: 1e-6\nmax_steps: -1\nmax_grad_norm: .inf\ngate: off\nsave_total_limit: null\nenv:\n  A: 1\n"
    )
    check(["--config", str(path), "--no-slow-correction", "--method=lookahead", "--bf16", "--report_to", "none"])
    check(["--gate", "exit", "--entropy_window=5", "--entropy_threshold", "inf", "--num_generations", "2"])
    check(["--model", "some/model", "--entropy-window", "5"])  # whose gate is not off
    check(["--task", "gym:chain_sum", "--task_params", "min_terms=2", "max_terms=3"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--max_setps", "5"],
        ["train", "--help"],
        ["train", "--task", "gym:countdwn"],
        ["compare", "--output_dir", "c", "--sweep", "inner_stps=1,2"],
        ["compare", "--output_dir", "c", "--max_steps", "-5"],
        ["eval", "--benchmarks", "math50"],
        ["eval", "--top_p", "nan"],
        ["train", "--output_dir", "/dev/null"],
        ["train", "--output_dir", "/proc/run"],
        ["train", "--max_completion_length", "999999"],
        ["train", "--model", "./nope"],
        ["train", "--task", "file", "--data_path", "nope.jsonl"],
        ["train", "--num_generations", "3"],
        ["compare", "--output_dir", "/dev/null"],
        ["eval", "--output_dir", "/dev/null"],
    ],
    ids=" ".join,
)
def test_neither_a_mistake_nor_help_waits_for_the_libraries(arguments):
    script = (
        "import sys\nfrom sfpo.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert not HEAVY & {*done.stdout.splitlines()[-1].split()}


def test_help_shows_what_most_runs_choose_first_and_all_when_asked(capsys):
    for flag, everything in (("--help", False), ("--help-all", True)):
        with pytest.raises(SystemExit) as ended:
            main(["train", flag])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        places = [
            said.index(f"\n{title}:") for title in ("method", "model and task", "training", "evaluation", "output")
        ]
        assert places == sorted(places)
        for name in [f.name for f in fields(TrainOptions)]:
            assert f"\n  --{name} " in said, name
        assert ("--dataloader_num_workers" in said) is everything
        assert (len(said.splitlines()) < 200) is not everything
    shown = {option.lstrip("-") for action in parser(everything=True)._actions for option in action.option_strings}
    assert known_options().keys() <= shown
