"""Files that say what is scored: tasks, and whole benchmarks of base, specialists and merges."""
