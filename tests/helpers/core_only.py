"""A program that finds no package of the extras, as on a machine with torch alone."""

# The packages of an installation with torch alone are there; those of the extras are not.
CORE_ONLY = """
import sys
from importlib.machinery import PathFinder
class CoreOnly:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [CoreOnly if finder is PathFinder else finder for finder in sys.meta_path]
"""
EXTRAS = (
    "trl", "transformers", "accelerate", "datasets", "peft", "rich", "math_verify", "latex2sympy2_extended", "reasoning_gym",
    "matplotlib", "numpy", "yaml", "pyarrow", "filelock", "verl", "ray", "omegaconf", "transfer_queue",
)  # fmt: skip
