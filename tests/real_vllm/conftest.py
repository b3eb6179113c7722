"""vLLM has an environment of its own (`make test-vllm`); elsewhere nothing in this folder is collected."""

import importlib.util
import os

if importlib.util.find_spec("vllm") is None:
    collect_ignore_glob = ["*.py"]
else:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_LOGGING_LEVEL"] = "WARNING"
    # Also an eager vLLM compiles parts of its sampler, which takes longer than the tests and a C++ compiler.
    os.environ["TORCH_COMPILE_DISABLE"] = "1"
