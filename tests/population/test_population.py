"""Population training: every run gets what it would get alone."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plml import population
from plml.checkpoint import load_checkpoint
from plml.config import make_config
from plml.data.bundle import Bundle, Split
from plml.errors import DivergenceError
from plml.methods import METHODS
from plml.population import Ended, Population, is_stackable, kind_of
from plml.trainer import Trainer

COUNT, CLASSES, WIDTH = 30, 5, 6
STACKABLE = sorted(name for name, method in METHODS.items() if method.stackable and not method.needs_images)
each_method = pytest.mark.parametrize("name", STACKABLE)


def make_bundle(dtype=np.float64, hidden=0.4):
    rng = np.random.default_rng(0)
    truth = (rng.random((COUNT, CLASSES)) < 0.4).astype(np.int8)
    truth[np.arange(CLASSES), np.arange(CLASSES)] = 1
    observed = np.where(rng.random(truth.shape) < hidden, -1, truth).astype(np.int8)
    array = rng.standard_normal((COUNT, WIDTH)).astype(dtype)

    def split(name):
        ids = [f"{name}{i}" for i in range(COUNT)]
        return Split(ids, np.arange(COUNT), array, torch.from_numpy(truth), torch.from_numpy(observed))

    names = [f"class{i}" for i in range(CLASSES)]
    return Bundle("toy", names, split("a"), split("b"), split("c"), expected_positives=1.5, flip=False, digest="toy")


BUNDLE, SINGLE = make_bundle(), make_bundle(np.float32)


def make(folder, *, bundle=BUNDLE, **changes):
    tree = {
        "mode": "linear",
        "epochs": 4,
        "device": "cpu",
        "method": "wan",
        "data": {"observation": {"name": "known_fraction", "fraction": 0.5}},
        "optim": {"lr": 0.01, "batch_size": 8},  # 30 examples: the last batch is smaller
        "selection": {"labels": "clean"},
    }
    trainer = Trainer(make_config(tree, {k.replace("__", "."): v for k, v in changes.items()}), bundle, folder)
    if bundle is BUNDLE:
        trainer.model.double()
        trainer.method.double()
    return trainer


def variants(name):
    """Three runs of a method that differ in rate, seed and every searched number."""
    space = {key: dist for key, dist in METHODS[name].search_space.items() if dist["type"] == "float"}
    ends = [{f"method__{key}": float(dist[end]) for key, dist in space.items()} for end in ("low", "high")]
    return [
        {"method": name, "optim__lr": 0.01, **ends[0]},
        {"method": name, "optim__lr": 0.003, "seed": 7, **ends[1]},
        {"method": name, "optim__lr": 0.03},
    ]


def state_of(trainer):
    return {
        **{f"model.{key}": value for key, value in trainer.model.state_dict().items()},
        **{f"method.{key}": value for key, value in trainer.method.state_dict().items()},
    }


def assert_same(together, alone, tolerance=1e-9):
    others = state_of(alone)
    for key, value in state_of(together).items():
        torch.testing.assert_close(
            value, others[key], rtol=tolerance, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )
    assert len(together.history) == len(alone.history)
    for one, other in zip(together.history, alone.history, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        assert (one.epoch, one.final) == (other.epoch, other.final)
        # Scores are compared in single precision, in which a rounding may swap two of them.
        assert one.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], rel=1e-9, abs=1e-12)
        for key in set(one.metrics) - {"time/epoch_s"}:
            if key.startswith("train/"):
                assert one.metrics[key] == pytest.approx(other.metrics[key], rel=1e-6, abs=1e-9), key


def train(population):
    return [result for epoch in population.epochs() for result in epoch]


def train_together(folder, options, **common):
    trainers = [make(folder / f"together{i}", **common, **each) for i, each in enumerate(options)]
    results = train(Population(trainers))
    assert not [result for result in results if isinstance(result, Ended)]
    return trainers


def train_alone(folder, **options):
    trainer = make(folder, **options)
    list(trainer.epochs())
    return trainer


def assert_each_equals_alone(trainers, folder, options, tolerance=1e-9, **common):
    for number, (together, each) in enumerate(zip(trainers, options, strict=True)):
        alone = train_alone(folder / f"alone{number}", **common, **each)
        try:
            assert_same(together, alone, tolerance)
            assert_same_moments(together, alone, tolerance)
        except AssertionError as error:
            error.add_note(f"run {number}: {each}")
            raise


def assert_same_moments(together, alone, tolerance):
    """What an optimiser and its schedule remember, so that a resumed run goes on the same."""
    one, other = together.optimization.state_dict(), alone.optimization.state_dict()
    for places, others in zip(one["schedules"], other["schedules"], strict=True):
        assert places["last_epoch"] == others["last_epoch"]
    for mine, theirs in zip(one["optimizers"], other["optimizers"], strict=True):
        assert [group["lr"] for group in mine["param_groups"]] == [group["lr"] for group in theirs["param_groups"]]
        for number, state in theirs["state"].items():
            for name, moment in state.items():
                torch.testing.assert_close(mine["state"][number][name], moment, rtol=tolerance, atol=tolerance)


@each_method
def test_each_run_equals_training_it_alone(name, tmp_path):
    trainers = [make(tmp_path / f"together{i}", **options) for i, options in enumerate(variants(name))]
    assert len({kind_of(trainer) for trainer in trainers}) == 1
    assert kind_of(trainers[0]) is not None
    results = train(Population(trainers))
    assert not [result for result in results if isinstance(result, Ended)]
    for number, options in enumerate(variants(name)):
        alone = make(tmp_path / f"alone{number}", **options)
        list(alone.epochs())
        assert_same(trainers[number], alone)


OR_ZERO = sorted(name for name in STACKABLE if any(d.get("or_zero") for d in METHODS[name].search_space.values()))


@pytest.mark.parametrize("name", OR_ZERO)
def test_a_weight_that_a_study_may_set_to_zero(name, tmp_path):
    zeros = {f"method__{key}": 0.0 for key, dist in METHODS[name].search_space.items() if dist.get("or_zero")}
    options = [zeros, {}]
    trainers = train_together(tmp_path, options, method=name)
    assert_each_equals_alone(trainers, tmp_path, options, method=name)


# -- optimisers and schedules -----------------------------------------------------------------------------

COURSES = [  # rates, decay and schedules need not be the same for runs that train together
    {},
    {"optim__weight_decay": 0.1, "seed": 3},
    {"optim__weight_decay": 0.1, "optim__decay_biases": False},
    {"optim__schedule": "cosine", "optim__lr": 0.03},
    {"optim__schedule": "cosine", "optim__schedule_epochs": 8, "seed": 3},
    {"optim__schedule": "step", "optim__step_epochs": 1, "optim__step_gamma": 0.5, "optim__weight_decay": 0.01},
    {"optim__warmup_epochs": 2, "optim__lr": 0.03},
    {"optim__warmup_epochs": 1, "optim__warmup_from_zero": True, "optim__schedule": "cosine", "seed": 3},
    {"optim__schedule": "onecycle", "optim__lr": 0.03},
    {"optim__schedule": "onecycle", "optim__weight_decay": 0.1, "optim__decay_biases": False, "seed": 4},
    {"optim__schedule": "dynamic", "optim__dynamic_wait": 1, "optim__lr": 0.3},
    {"optim__head_lr_mult": 3.0},
]
OPTIMIZERS = [
    {"optim__name": "adam"},
    {"optim__name": "adam", "optim__drop_last": True},
    {"optim__name": "sgd"},
    {"optim__name": "sgd", "optim__momentum": 0.0},
]


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [*(("role", each) for each in OPTIMIZERS), ("wan", OPTIMIZERS[0])],  # with and without parameters of its own
    ids=lambda each: each if isinstance(each, str) else " ".join(map(str, each.values())),
)
def test_rates_decay_and_schedules_are_each_runs_own(method, optimizer, tmp_path):
    trainers = train_together(tmp_path, COURSES, method=method, **optimizer)
    assert_each_equals_alone(trainers, tmp_path, COURSES, method=method, **optimizer)
    last_rates = {trainer.history[-1].metrics["train/lr"] for trainer in trainers}
    assert len(last_rates) >= 6


def test_momentum_too_is_each_runs_own(tmp_path):
    options = [{"optim__momentum": momentum, "seed": seed} for momentum, seed in ((0.0, 0), (0.5, 0), (0.9, 1))]
    trainers = train_together(tmp_path, options, method="role", optim__name="sgd")
    assert_each_equals_alone(trainers, tmp_path, options, method="role", optim__name="sgd")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_chain_of_a_gpu_gives_what_the_fused_calls_give(optimizer, tmp_path):
    options = [{"method": "role", "optim__name": optimizer, **course} for course in COURSES]
    population = Population([make(tmp_path / f"together{i}", **each) for i, each in enumerate(options)])
    assert population._optimizer.fused
    population._optimizer.fused = False
    trainers = list(population.members.values())
    assert not [result for result in train(population) if isinstance(result, Ended)]
    assert_each_equals_alone(trainers, tmp_path, options)


# -- batches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(0, 0, 0, 0), (0, 1, 2, 3), (0, 1, 0, 0, 1)])
def test_batches_are_shared_only_by_runs_of_one_seed(seeds, tmp_path):
    options = [{"method": "role", "seed": seed, "optim__lr": 0.01 * (1 + i)} for i, seed in enumerate(seeds)]
    assert_each_equals_alone(train_together(tmp_path, options), tmp_path, options)


def test_single_precision_agrees_as_far_as_it_goes(tmp_path):
    options = [{"method": "role"}, {"method": "role", "seed": 7}, {"method": "role", "optim__lr": 0.03}]
    trainers = train_together(tmp_path, options, bundle=SINGLE)
    assert trainers[0].model.head.linear.weight.dtype == torch.float32
    for number, each in enumerate(options):
        alone = train_alone(tmp_path / f"alone{number}", bundle=SINGLE, **each)
        for key, value in state_of(trainers[number]).items():
            torch.testing.assert_close(value, state_of(alone)[key], rtol=1e-5, atol=1e-5, msg=key)


# -- coming and going -------------------------------------------------------------------------------------


def test_a_run_joins_when_others_are_further(tmp_path):
    options = [{"method": "role"}, {"method": "role", "seed": 1}, {"method": "role", "optim__lr": 0.03}]
    trainers = [make(tmp_path / f"together{i}", **each) for i, each in enumerate(options)]
    population = Population(trainers[:2])
    population.epoch()
    population.epoch()
    population.join(trainers[2])
    assert [trainer.epoch for trainer in trainers] == [2, 2, 0]
    train(population)
    assert_each_equals_alone(trainers, tmp_path, options)


def test_a_run_that_leaves_goes_on_alone(tmp_path):
    options = [{"method": "role"}, {"method": "role", "seed": 1}]
    trainers = [make(tmp_path / f"together{i}", **each) for i, each in enumerate(options)]
    population = Population(trainers)
    population.epoch()
    population.leave(trainers[0])
    assert len(population) == 1
    assert trainers[0].pace is not population.pace
    list(trainers[0].epochs())
    assert trainers[1].epoch == 1  # nobody trained it meanwhile
    train(population)
    assert_each_equals_alone(trainers, tmp_path, options)


def test_a_run_that_left_is_another_processs_to_finish(tmp_path):
    options = {"method": "role", "bundle": SINGLE}
    leaving, staying = make(tmp_path / "run", **options), make(tmp_path / "other", seed=1, **options)
    population = Population([leaving, staying])
    population.epoch()
    population.leave(leaving)
    again = make(tmp_path / "run", **options)
    assert again.epoch == 1
    list(again.epochs())
    assert_same_single(again, train_alone(tmp_path / "alone", **options))


def test_an_interrupted_run_goes_on_in_a_population(tmp_path):
    options = {"method": "role", "bundle": SINGLE, "optim__schedule": "cosine"}
    interrupted = make(tmp_path / "run", **options).epochs()
    next(interrupted)
    next(interrupted)
    interrupted.close()
    again = make(tmp_path / "run", **options)
    assert again.epoch == 2
    train(Population([make(tmp_path / "other", seed=1, **options), again]))
    assert_same_single(again, train_alone(tmp_path / "alone", **options))


def assert_same_single(one, other):
    for key, value in state_of(one).items():
        torch.testing.assert_close(value, state_of(other)[key], rtol=1e-5, atol=1e-5, msg=key)
    assert [report.epoch for report in one.history] == [report.epoch for report in other.history]
    assert one.finished
    assert other.finished


def test_what_is_no_place_for_a_run_is_said(tmp_path):
    first = make(tmp_path / "a")
    population = Population([first])
    with pytest.raises(ValueError, match="another kind"):
        population.join(make(tmp_path / "b", method="role"))
    with pytest.raises(ValueError, match="finished"):
        population.join(train_alone(tmp_path / "c"))
    with pytest.raises(ValueError, match="at least one"):
        Population([])


def test_a_run_that_diverges_ends_and_the_others_do_not_notice(tmp_path):
    sound = [{"seed": 1}, {"optim__lr": 0.03}]
    common = {"method": "role", "optim__name": "sgd"}
    # Scores overflow first in single precision, then the loss does in double.
    wild = [{"optim__lr": 1e200}, {"optim__lr": 1e306, "seed": 5}]
    trainers = [make(tmp_path / f"together{i}", **common, **each) for i, each in enumerate([*wild, *sound])]
    results = train(Population(trainers))
    ended = [result for result in results if isinstance(result, Ended)]
    assert [result.trainer for result in ended] == trainers[:2]
    for number, result in enumerate(ended):
        assert isinstance(result.error, DivergenceError)
        with pytest.raises(DivergenceError) as alone:
            train_alone(tmp_path / f"wild{number}", **common, **wild[number])
        assert str(result.error) == str(alone.value)
        result.trainer.record()  # what is asked of every run that is let go
        for name in ("last.pt", "metrics.jsonl"):
            assert (result.trainer.files.path / name).exists() == (tmp_path / f"wild{number}" / name).exists()
    assert_each_equals_alone(trainers[2:], tmp_path, sound, **common)


def test_a_run_whose_folder_takes_no_files_ends_and_the_others_do_not_notice(tmp_path):
    options = [{}, {"seed": 1}, {"seed": 2}]
    trainers = [make(tmp_path / f"together{i}", **each) for i, each in enumerate(options)]
    for name in ("last.pt", "previous.pt"):  # neither takes the other's place
        (tmp_path / "together1" / name / "not empty").mkdir(parents=True)
    ended = [result for result in train(Population(trainers)) if isinstance(result, Ended)]
    assert [result.trainer for result in ended] == [trainers[1]]
    assert isinstance(ended[0].error, OSError)
    for number in (0, 2):
        assert_same(trainers[number], train_alone(tmp_path / f"alone{number}", **options[number]))


def test_stop_rules_end_runs_at_different_epochs(tmp_path):
    options = [
        {"stopping__rule": "patience", "stopping__patience": patience, "seed": seed, "optim__lr": 0.1}
        for patience, seed in ((1, 0), (2, 0), (1, 1), (3, 2), (1, 2), (2, 3))
    ]
    trainers = train_together(tmp_path, options, epochs=12)
    assert len({len(trainer.history) for trainer in trainers}) > 2
    assert all(trainer.history[-1].final for trainer in trainers)
    assert_each_equals_alone(trainers, tmp_path, options, epochs=12)


def test_slots_are_used_again_and_slabs_shrink(tmp_path):
    lengths = [1, 1, 1, 2, 2, 3, 4, 5, 2, 2]
    options = [{"method": "role", "epochs": length, "seed": i % 3} for i, length in enumerate(lengths)]
    trainers = [make(tmp_path / f"together{i}", **each) for i, each in enumerate(options)]
    late = {1: trainers[8:]}
    population = Population(trainers[:8])
    sizes, places = [], []
    for epoch in range(6):
        for trainer in late.get(epoch, ()):
            population.join(trainer)
        if not len(population):
            break
        places.append(sorted(population.members))
        population.epoch()
        sizes.append(population.slots)
    assert places[:2] == [list(range(8)), [0, 1, 3, 4, 5, 6, 7]]  # who came took the places of those who had ended
    assert sizes[:2] == [8, 8]
    assert sizes[-1] <= 4
    assert_each_equals_alone(trainers, tmp_path, options)


def test_room_that_was_asked_for_is_kept(tmp_path):
    population = Population([make(tmp_path / "a")], room=8)
    population.epoch()
    assert population.slots == 8


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    runs=st.lists(
        st.tuples(st.sampled_from([0.001, 0.01, 0.1]), st.integers(0, 2), st.integers(0, 3), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    )
)
def test_whoever_trains_beside_it_a_run_gets_what_it_gets_alone(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix")
    options = [{"method": "ll_ct", "optim__lr": lr, "seed": seed, "epochs": epochs} for lr, seed, _, epochs in runs]
    trainers = [make(folder / f"together{i}", **each) for i, each in enumerate(options)]
    population = None
    for epoch in range(7):
        for trainer, (_, _, start, _) in zip(trainers, runs, strict=True):
            if start == epoch and population is None:
                population = Population([trainer])
            elif start == epoch:
                population.join(trainer)
        if population is not None and len(population):
            population.epoch()
    assert all(trainer.finished for trainer in trainers)
    assert_each_equals_alone(trainers, folder, options)


# -- who belongs together ---------------------------------------------------------------------------------

OF_ONE_KIND = [
    {"optim__lr": 0.5},
    {"seed": 4},
    {"epochs": 9},
    {"method__gamma_neg": 2.0},
    {"optim__weight_decay": 0.1, "optim__decay_biases": False},
    {"optim__schedule": "cosine"},
    {"stopping__rule": "patience"},
    {"selection__labels": "observed"},
]
OF_ANOTHER_KIND = [
    {"method": "wan"},
    {"method__likelihood_topk": 3},
    {"optim__batch_size": 4},
    {"optim__drop_last": True},
    {"optim__name": "sgd"},
    {"compat": "reference"},
    {"threads": 2},
    {"precision": "fast"},
    {"bundle": make_bundle()},
    {"bundle": SINGLE},
]


def test_kinds(tmp_path):
    folders = (tmp_path / str(number) for number in range(99))
    kind = kind_of(make(next(folders), method="csl"))
    assert kind is not None
    for changes in OF_ONE_KIND:
        assert kind_of(make(next(folders), **{"method": "csl", **changes})) == kind, changes
    for changes in OF_ANOTHER_KIND:
        other = kind_of(make(next(folders), **{"method": "csl", **changes}))
        assert other is not None, changes
        assert other != kind, changes


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "end_to_end"},
        {"optim.ema_decay": 0.9},
        {"optim.grad_clip": 1.0},
        {"optim.name": "rmsprop"},
        {"model.head": "csra"},
        {"method": "imcl"},
        {"method": "cones"},
        {"mode": "end_to_end", "method": "plc"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_what_trains_alone(changes):
    base = {"mode": "linear", "method": "wan", "device": "cpu"}
    assert is_stackable(make_config(base))
    assert not is_stackable(
        make_config(
            {**base, **{k: v for k, v in changes.items() if "." not in k}},
            {k: v for k, v in changes.items() if "." in k},
        )
    )


@pytest.mark.parametrize("changes", [{"optim__ema_decay": 0.9}, {"optim__grad_clip": 1.0}, {"method": "imcl"}])
def test_what_trains_alone_has_no_kind(changes, tmp_path):
    assert kind_of(make(tmp_path, **changes)) is None


def test_features_that_do_not_fit_train_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("plml.data.resident.RESIDENT_BYTES", COUNT * WIDTH * 8 - 1)
    trainer = make(tmp_path / "large")
    assert kind_of(trainer) is None
    with pytest.raises(ValueError, match="another kind"):
        Population([trainer])


# -- files ------------------------------------------------------------------------------------------------


def test_a_members_folder_is_that_of_a_run_alone(tmp_path):
    options = [{"method": "role", "seed": seed, "bundle": SINGLE} for seed in range(8)]
    train_together(tmp_path, options)
    mine, other = tmp_path / "together3", tmp_path / "alone"
    train_alone(other, **options[3])
    # How many records are written, and so whether there is one before the last, is a matter of time.
    found = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "previous" not in path.name}
        for folder in (mine, other)
    ]
    files = sorted(found[1])
    assert sorted(found[0]) == files
    for name in files:
        size = (other / name).stat().st_size
        assert size / 2 <= (mine / name).stat().st_size <= 2 * size, name  # never whole slabs
        if name.suffix == ".npy":
            one, two = np.load(mine / name), np.load(other / name)
            assert (one.shape, one.dtype) == (two.shape, two.dtype)
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    for name in ("last.pt", "best.pt"):
        assert shapes(load_checkpoint(mine / name)) == shapes(load_checkpoint(other / name))
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (mine, other)
    ]
    for one, two in zip(*rows, strict=True):
        assert one["metrics"].keys() == two["metrics"].keys()
        assert (one["epoch"], one["final"]) == (two["epoch"], two["final"])
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (mine, other))
    assert one.keys() == two.keys()
    assert one["best_epoch"] == two["best_epoch"]
    assert one["metrics"] == pytest.approx(two["metrics"], abs=1e-3)


def shapes(content):
    """Keys, shapes and types of a checkpoint."""
    if isinstance(content, torch.Tensor):
        return tuple(content.shape), str(content.dtype), content.untyped_storage().nbytes()
    if isinstance(content, dict):
        return {key: shapes(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [shapes(value) for value in content]
    return type(content)


@pytest.mark.parametrize("room", [population.TEST_BYTES, 0])
def test_every_run_chooses_by_its_own_criterion_and_reports_what_it_is_asked_to(tmp_path, monkeypatch, room):
    monkeypatch.setattr(population, "TEST_BYTES", room)  # 0: test scores run by run
    options = [
        {"selection__labels": "observed", "selection__criterion": criterion, "selection__test_figures": test_figures}
        for criterion, test_figures in (("known_map", "every_epoch"), ("pu_auc", "chosen"), ("loss", "every_epoch"))
    ]
    options.append({"selection__clean_images": 10, "selection__test_figures": "every_epoch"})
    together = train_together(tmp_path, options)
    for number, (trainer, option) in enumerate(zip(together, options, strict=True)):
        alone = train_alone(tmp_path / f"alone{number}", **option)
        assert_same(trainer, alone)
        for one, other in zip(trainer.history, alone.history, strict=True):
            asked = option["selection__test_figures"] == "every_epoch"
            assert ("test_by_epoch/mAP" in one.metrics) == asked
            for key in {"selection/value", "test_by_epoch/mAP"} & set(one.metrics):
                assert one.metrics[key] == pytest.approx(other.metrics[key], abs=1e-4)
    assert len({trainer.history[-1].metrics["selection/best"] for trainer in together}) == len(options)
