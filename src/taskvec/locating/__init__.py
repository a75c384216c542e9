"""Where a new task lies among known ones: from a few examples to the merge that serves it, if any will."""
