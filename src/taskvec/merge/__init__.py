"""Merge methods: one file each in `methods`, and the table that lists them."""

from . import methods as _methods  # noqa: F401  (fills the table)
from .registry import METHODS, Method, Needs, find, merge_method

__all__ = ["METHODS", "Method", "Needs", "find", "merge_method"]
