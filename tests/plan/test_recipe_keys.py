"""`sfpo plan --config`: a misspelt key of a recipe would change no figure, and nobody would notice."""

import pytest

from sfpo.cli import main


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_completion_lenght: 64", "max_completion_lenght (did you mean max_completion_length?)"),
        ("per_device_batch_size: 8", "per_device_batch_size"),
        (
            "vllm_gpu_memory_utilization: 30\nuse_vllm: true",
            "vllm_gpu_memory_utilization must be above 0 and at most 1",
        ),
        ("prompt_length: .nan", "prompt_length must be a finite number"),
    ],
)
def test_it_is_refused(tmp_path, capsys, line, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(line)
    assert main(["plan", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_options_of_either_command_are_taken(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "prompt_length: 30\nhardware: cpu\ndataloader_num_workers: 2\nmax_completion_length: 64\nenv:\n  A: 1\n"
    )
    assert main(["plan", "--config", str(path), "--json"]) == 0
    assert '"prompt_length": 30' in capsys.readouterr().out
