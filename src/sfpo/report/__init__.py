"""`sfpo report`: one page about a run or a comparison, and figures for papers."""
