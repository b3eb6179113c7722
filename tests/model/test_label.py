import pytest

from sfpo.model.label import model_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("embedded", "embedded"),
        ("/models/SmolLM2-135M.Q4_1.gguf", "SmolLM2-135M.Q4_1.gguf"),
        ("models/SmolLM2-135M.Q4_1.gguf", "SmolLM2-135M.Q4_1.gguf"),
        ("runs/first/model", "model"),
        ("../trained", "trained"),
        ("./trained/", "trained"),
    ],
)
def test_local_models_go_by_their_last_part(name, label):
    assert model_label(name) == label
