"""`sfpo plan`: memory, seconds and the best K of a run, before it is paid for. Formulas and checks: docs/plan.md."""
