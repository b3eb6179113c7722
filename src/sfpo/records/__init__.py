"""The files that runs and comparisons write, and the figures computed from them; needs neither torch nor transformers."""
