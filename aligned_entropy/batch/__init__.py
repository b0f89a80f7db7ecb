"""Jobs on files: texts in, predictions out, every row exactly once and in order; labeled rows divided into parts."""
