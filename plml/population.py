"""Population training: K linear heads at once, each as if it were trained alone.

A search in mode ``linear`` trains the same small head over and over on the same features. One at a time, most of the
time goes into starting hundreds of tiny operations a step. Here the weights of K runs are slices of one tensor: one
matrix product reads the batch for all runs that have the same order of examples, one traced graph computes all
losses and their gradients (:mod:`plml.stacked_loss`), the gradient of the weights is one more product, and every run
has optimiser steps of its own (:mod:`plml.stacked_optimizer`).

Everything else a run does (hooks of its method, evaluation, records, reports, resuming) is the Trainer's own code,
working on the slices. So a run may join a population after an interruption, and leave it at any epoch.
"""

import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from plml.config import TrainConfig
from plml.data.bundle import Split
from plml.data.resident import resident
from plml.errors import DamagedError, DivergenceError
from plml.evaluation import epoch_test_figures
from plml.heartbeat import beat
from plml.host_memory import keep_freed_memory
from plml.methods import find_method
from plml.numerics import set_rounding
from plml.pace import CommonPace, Pace
from plml.report import EpochReport
from plml.stacked_batches import stacked_batches
from plml.stacked_loss import StackedLoss
from plml.stacked_optimizer import StackedOptimizer
from plml.stacked_state import Slab, StackedModule, runs_of
from plml.stage import derive_seed
from plml.trainer import Trainer

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # slots; each costs a trace of the loss
PASS_BYTES = 16 * 2**20  # of logits computed at once
TEST_BYTES = 2**30  # of test logits kept at once; runs with more are scored one by one


class Ended(NamedTuple):
    """A run that cannot go on.

    Attributes:
        trainer: the run.
        error: why.
    """

    trainer: Trainer
    error: Exception


def is_stackable(config: TrainConfig) -> bool:
    """Whether runs of ``config`` can be trained in a population.

    A population trains the plain linear head on features, without diagnostics, by Adam or SGD, with a method that needs
    nothing but logits and its own state.
    """
    return (
        config.mode == "linear"
        and config.model.head["name"] == "linear"
        and config.auxiliary is None
        and config.diagnostics is None
        and config.optim.ema_decay is None
        and config.optim.grad_clip is None
        and config.optim.name in ("adam", "sgd")
        and find_method(config.method["name"]).stackable
    )


def kind_of(trainer: Trainer) -> Hashable | None:
    """Return what runs must have in common to be trained together; None if this one trains alone.

    It trains alone if :func:`is_stackable` says so, or if its features do not fit on the device.
    """
    config, method = trainer.config, trainer.method
    if not is_stackable(config) or resident(trainer.stage.bundle.train, trainer.device) is None:
        return None
    if len(trainer.optimization.optimizers) > 1:  # the method's own parameters are stepped by another kind
        return None
    # Numbers may differ from run to run; whatever a method branches on may not.
    fixed = {key: value for key, value in _attributes(trainer).items() if not isinstance(value, float)}
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in method.state_dict().items()}
    optim = config.optim
    return (
        type(method),
        repr(sorted(fixed.items())),
        repr(sorted(shapes.items())),
        id(trainer.stage.bundle),
        optim.batch_size,
        optim.drop_last,
        optim.name,
        config.compat,
        config.precision,
        config.threads,
        str(trainer.device),
        str(next(trainer.model.head.parameters()).dtype),
    )


def _attributes(trainer: Trainer) -> dict[str, object]:
    """What a method keeps outside its parameters and buffers."""
    inherited = vars(torch.nn.Module())
    return {key: value for key, value in vars(trainer.method).items() if key not in inherited}


class Population:
    """Trains runs of one kind (:func:`kind_of`) an epoch at a time.

    Args:
        trainers: the first runs; they may be at different epochs, and all must have something left to train.
        room: slots to make, so that runs that come later need no new trace; default: as many as there are trainers.

    Raises:
        ValueError: the runs are not of one kind, or one is finished.
    """

    def __init__(self, trainers: Sequence[Trainer], *, room: int = 0) -> None:
        if not trainers:
            raise ValueError("a population needs at least one run")
        keep_freed_memory()
        self.kind = kind_of(trainers[0])
        self.members: dict[int, Trainer] = {}  # by slot
        self.room = room
        self.pace = CommonPace()
        self._make_room(max(len(trainers), room), trainers[0])
        for trainer in trainers:
            self.join(trainer)

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.members)

    def epochs(self) -> Iterator[list[tuple[Trainer, EpochReport] | Ended]]:
        """Train until every run has ended, yielding what each epoch brought."""
        while self.members:
            yield self.epoch()

    # -- who is in it -------------------------------------------------------------------------------------

    def join(self, trainer: Trainer) -> None:
        """Take a run in; it trains on its own tensors, which become slices of the population's."""
        if self.kind is None or kind_of(trainer) != self.kind or trainer.finished:
            raise ValueError(f"a finished run, or one of another kind: {kind_of(trainer)}, not {self.kind}")
        free = next((slot for slot in range(self.slots) if slot not in self.members), None)
        if free is None:
            self._resize(self.slots + 1)
            free = next(slot for slot in range(self.slots) if slot not in self.members)
        self._place(free, trainer)
        trainer.pace = self.pace

    def leave(self, trainer: Trainer) -> None:
        """Let a run go, with tensors of its own again and its record written."""
        slot = next(slot for slot, member in self.members.items() if member is trainer)
        self._remove(slot)
        trainer.pace = Pace()
        trainer.record()

    def _place(self, slot: int, trainer: Trainer) -> None:
        self.members[slot] = trainer
        self._head.join(slot, trainer.model.head)
        self._method.join(slot, trainer.method)
        names: dict[Tensor, str] = {p: f"head.{name}" for name, p in trainer.model.head.named_parameters()}
        names |= {p: f"method.{name}" for name, p in trainer.method.named_parameters()}
        self._optimizer.join(slot, trainer.optimization.optimizers[0], names)
        for name, value in _attributes(trainer).items():
            if isinstance(value, float):
                self._hyperparameters[name][slot] = value

    def _remove(self, slot: int) -> None:
        trainer = self.members.pop(slot)
        self._head.leave(slot)
        self._method.leave(slot)
        self._optimizer.leave(slot, trainer.optimization.optimizers[0])

    def _resize(self, slots: int) -> None:
        """Move everybody into slabs of another size."""
        members = list(self.members.items())
        for slot, _ in members:
            self._remove(slot)
        self._make_room(slots, members[0][1])
        for slot, (_, trainer) in enumerate(members):
            self._place(slot, trainer)

    def _make_room(self, slots: int, like: Trainer) -> None:
        self.slots = next((size for size in SIZES if size >= slots), slots)
        self.batch_size = like.stage.batch_size
        self._head = StackedModule(like.model.head, self.slots)
        self._method = StackedModule(like.method, self.slots)
        weight = self._head.parameters["linear.weight"].whole
        values = {key: value for key, value in _attributes(like).items() if isinstance(value, float)}
        self._hyperparameters = {  # free slots have somebody's values: theirs need be finite, and are not used
            key: torch.full((self.slots,), value, dtype=weight.dtype, device=weight.device)
            for key, value in values.items()
        }
        trained = {f"head.{name}": slab for name, slab in self._head.parameters.items()}
        trained |= {f"method.{name}": slab for name, slab in self._method.parameters.items()}
        self._gradients = {name: Slab(slab.rows[0], self.slots) for name, slab in trained.items()}
        self._optimizer = StackedOptimizer(type(like.optimization.optimizers[0]), trained, self._gradients)
        self._loss = StackedLoss(
            like.method,
            {name: slab.whole for name, slab in self._method.parameters.items()},
            {name: slab.whole for name, slab in self._method.buffers.items()},
            self._hyperparameters,
        )

    # -- training -----------------------------------------------------------------------------------------

    def epoch(self) -> list[tuple[Trainer, EpochReport] | Ended]:
        """Train every run for one epoch; runs that have come to their end are let go.

        Returns:
            The report of each run, or why it cannot go on.
        """
        began = time.perf_counter()
        needed = max(len(self.members), self.room)
        if 2 * needed <= self.slots and self.slots > 4:
            self._resize(needed)
        members = dict(self.members)
        like = next(iter(members.values()))
        torch.set_num_threads(like.config.threads)
        set_rounding(like.device, like.config.precision)
        rates = {slot: trainer.optimization.lr for slot, trainer in members.items()}
        for trainer in members.values():
            torch.manual_seed(derive_seed(trainer.config.seed, "epoch", trainer.epoch))
            trainer.begin_epoch()
        self._method.follow()
        losses = self._train(members)
        trained = {slot: self._figures(trainer, losses[slot], rates[slot]) for slot, trainer in members.items()}
        sound = [slot for slot, train in trained.items() if not isinstance(train, DivergenceError)]
        logits = self._scores(members, like.stage.bundle.val)[sound]
        figures = self._validate([members[slot] for slot in sound], logits)
        test_figures = self._test_by_epoch(members, sound)
        scored = dict(zip(sound, zip(logits, figures, strict=True), strict=True))
        results: list[tuple[Trainer, EpochReport] | Ended] = []
        spent = time.perf_counter() - began
        share = time.perf_counter() - spent / len(members)
        with self.pace.epoch(spent):
            for slot, trainer in members.items():
                train = trained[slot]
                try:
                    if isinstance(train, DivergenceError):
                        raise train
                    of_val, (found, value) = scored[slot]
                    found |= test_figures.get(slot, {})
                    results.append((trainer, trainer.end_epoch(train, of_val, found, value, share)))
                except DivergenceError as error:
                    with suppress(OSError):  # it ends for the first reason
                        trainer.files.write_kept()
                    results.append(Ended(trainer, error))
                except (DamagedError, OSError) as error:
                    results.append(Ended(trainer, error))
        self._method.follow()
        for slot, result in zip(members, results, strict=True):
            if isinstance(result, Ended) or result[0].finished:
                self._remove(slot)
        return results

    @staticmethod
    def _figures(trainer: Trainer, loss: Tensor, lr: float) -> dict[str, float] | DivergenceError:
        try:
            return trainer.train_figures(loss, lr, {})
        except DivergenceError as error:
            return error

    def _scores(self, members: dict[int, Trainer], split: Split) -> Tensor:
        """Return logits (K, N, L) float32 of every example of ``split``: one product reads them for all runs."""
        like = next(iter(members.values()))
        weight, bias = self._head.parameters["linear.weight"].whole, self._head.parameters["linear.bias"].whole
        features = resident(split, like.device)
        scores = torch.zeros(self.slots, len(split), weight.shape[1], device=like.device)
        if features is None:  # too many for the device: in passes
            for slot, trainer in members.items():
                scores[slot] = trainer.scores(split)
            return scores
        rows = max(1, PASS_BYTES // (bias.numel() * weight.itemsize))
        for first in range(0, len(split), rows):
            part = features[first : first + rows].to(weight.dtype)
            products = torch.mm(part, weight.view(-1, weight.shape[2]).t()).view(len(part), *bias.shape)
            scores[:, first : first + rows] = products.add_(bias).transpose(0, 1)
        return scores

    def _test_by_epoch(self, members: dict[int, Trainer], sound: list[int]) -> dict[int, dict[str, float]]:
        """Return by slot the test figure of this epoch of the runs that are to have one; it chooses nothing."""
        asked = [slot for slot in sound if members[slot].config.selection.test_figures == "every_epoch"]
        if not asked:
            return {}
        like = members[asked[0]]
        test, compat = like.stage.bundle.test, like.config.compat
        truth = test.truth.to(like.device)
        if self.slots * truth.numel() * 4 > TEST_BYTES:
            return {slot: epoch_test_figures(truth, members[slot].scores(test)[None], compat)[0] for slot in asked}
        found = epoch_test_figures(truth, self._scores(members, test)[asked], compat)
        return dict(zip(asked, found, strict=True))

    @staticmethod
    def _validate(trainers: Sequence[Trainer], logits: Tensor) -> list[tuple[dict[str, float], float]]:
        """Validation figures of all runs at once, by their logits (K, N, L): they have one split."""
        if not trainers:
            return []
        return trainers[0].validation.figures(logits, [trainer.config for trainer in trainers])

    def _train(self, members: dict[int, Trainer]) -> Tensor:
        """One pass over the training split; returns mean losses (K,). Nothing is read back from the device."""
        like = next(iter(members.values()))
        split, device = like.stage.bundle.train, like.device
        weight, bias = self._head.parameters["linear.weight"].whole, self._head.parameters["linear.bias"].whole
        of_weight, of_bias = self._gradients["head.linear.weight"].whole, self._gradients["head.linear.bias"].whole
        features = resident(split, device)
        assert features is not None  # see kind_of
        features = features.to(weight.dtype)
        slots, num_classes, width = weight.shape
        # Runs with the same seed at the same epoch see the same batches, which are then read once for all of them.
        keys = {slot: (trainer.config.seed, trainer.epoch) for slot, trainer in members.items()}
        first = next(iter(keys.values()))
        sharing = runs_of([(slot, keys.get(slot, first)) for slot in range(slots)])
        readers = {keys[slot]: trainer for slot, trainer in members.items()}
        orders = {key: trainer.order()[0].to(device) for key, trainer in readers.items()}
        steps = like.steps_per_epoch
        losses, counts = [], []
        varying = [t for t in members.values() if not t.optimization.is_constant]
        batches = stacked_batches(features, like.observed, orders, sharing, self.batch_size, steps)
        for number, batch in enumerate(batches):
            beat()
            count = batch.index.shape[1]
            products = torch.empty(slots, num_classes, count, dtype=weight.dtype, device=device)
            for (low, high, _), seen in zip(sharing, batch.inputs, strict=True):
                torch.mm(weight[low:high].view(-1, width), seen.t(), out=products[low:high].view(-1, count))
            found = self._loss(products, bias, batch.observed, batch.index)
            of_bias.copy_(found.bias)
            for (low, high, _), seen in zip(sharing, batch.inputs, strict=True):
                torch.mm(found.products[low:high].view(-1, count), seen, out=of_weight[low:high].view(-1, width))
            for name, gradient in found.parameters.items():
                self._gradients[f"method.{name}"].whole.copy_(gradient)
            self._optimizer.step()
            for trainer in varying:
                trainer.optimization.advance()
            self._loss.after_step(found.logits, batch.observed, batch.index)
            losses.append(found.loss)
            counts.append(count)
            for trainer in members.values():
                trainer.progress = (number + 1) / steps
        for trainer in members.values():
            if trainer.optimization.is_constant:
                trainer.optimization.advance(steps)
        weights = torch.tensor(counts, dtype=torch.float64, device=device)
        return weights @ torch.stack(losses).double() / weights.sum()
