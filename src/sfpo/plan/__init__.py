"""`sfpo plan`: the memory, the seconds and the best K of a run before you pay for it. Formulas and checks: docs/guides/plan.md."""
