"""Comparisons over grids of configurations, seeds and label draws."""
