"""Data that several trainings of a process read: each is read once."""

import json
from collections import OrderedDict

import torch

from plml.config import TrainConfig
from plml.data.bundle import Bundle
from plml.data.load import load_bundle


class SharedBundles:
    """The bundles that were asked for last.

    Args:
        most: bundles that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, int | None], Bundle] = OrderedDict()
        self._drawn: set[str] = set()  # data whose features come from a network that the seed has drawn

    def read(self, config: TrainConfig, device: torch.device) -> Bundle:
        """Return what :func:`load_bundle` returns, the same object for all configurations that read the same.

        Args:
            config: a training.
            device: where features are extracted.
        """
        tree = config.tree()
        network = None if config.mode == "end_to_end" else tree["model"]
        data = json.dumps([tree["data"], tree["mode"], network, str(device)], sort_keys=True)
        key = data, config.seed if data in self._drawn else None
        if key not in self._kept:
            bundle = load_bundle(config, device=device)
            if config.mode == "linear" and not config.model.weights and bundle.image_size is not None:
                self._drawn.add(data)
                key = data, config.seed
            self._kept[key] = bundle
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
