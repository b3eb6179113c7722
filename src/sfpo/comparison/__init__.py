"""`sfpo compare`: methods side by side on one task and model, over seeds, and what can be said of them."""
