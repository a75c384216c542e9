"""Adapters made here: extracted from two models, or merged from others."""
