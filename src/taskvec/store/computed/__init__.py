"""Tensors that are computed from what lies on disk, one file a kind."""
