"""Data sets, label settings applied to them, decoded images and stored features."""
