"""`sfpo report`: one page, and figures for papers, of a run or a comparison."""
