"""Train, search and compare methods for partial-label multi-label image classification."""

__version__ = "0.1.0"
