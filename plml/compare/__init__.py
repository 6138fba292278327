"""Runs side by side: what differs in configuration, figures and classes, and whether they may be compared at all."""
