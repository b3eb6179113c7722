"""What runs and comparisons leave on disk, and what is computed of it; needs neither torch nor transformers."""
