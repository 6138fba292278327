"""Scores of image files, however many: read beside the network, written as they come."""
