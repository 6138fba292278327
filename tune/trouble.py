"""Trouble outside a study that ends a launch and loses nothing."""

from plml.errors import PlmlError


class TroubleError(PlmlError):
    """Something that the study needs is gone: a disk, a database, the cluster. The same command goes on later."""
