import os

# Set before transformers is imported: tests never reach for the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# For the processes that tests start, too: the cores are shared by several tests, and threads wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Path of a random language model of a few thousand weights, with the embedded model's tokenizer."""
    from tiny_qwen import tiny_qwen
    from transformers import AutoTokenizer

    from sfpo.model.embedded import MODEL_PATH

    path = tmp_path_factory.mktemp("tiny_model")
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    tiny_qwen(tokenizer, 64).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)
