"""What a worker of Ray imports before its first trial; see :func:`tune.execution.ray_cluster`.

Without the garbage collector, which would look at a million new objects again and again and find nothing to collect.
"""

import gc

gc.disable()
import ray.tune  # noqa: E402, F401
import torch._dynamo  # noqa: E402, F401 - tracing a loss takes it

import tune.crew  # noqa: E402, F401

gc.freeze()
gc.enable()
