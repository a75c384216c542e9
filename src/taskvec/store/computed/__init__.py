"""Tensors that are computed, slice by slice, from what lies on disk. One file a kind."""
