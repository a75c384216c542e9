"""taskvec: task vectors, computed, measured, combined and applied."""
