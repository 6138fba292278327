"""What goes wrong between processes that train together."""


class DeviceGroupError(RuntimeError):
    """A process of a training on several devices died, raised, or did not answer; another attempt may succeed."""
