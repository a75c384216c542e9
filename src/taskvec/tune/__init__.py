"""Coefficients chosen by data: a space of recipes, an objective, and ways to search it."""
