"""Best epoch and number of trained epochs of the four published stopping rules."""

from plml.stopping import make_stop_rule

FILE = "spml_selection.npz"


def check(case):
    rule = make_stop_rule(case.group)
    base, trained = int(case.number("hp_epoch_base")), 0
    for value in case["in_val_map"]:
        rule.update(base + trained, float(value))
        trained += 1
        if rule.stop:
            break
    case.exact("out_best_epoch", rule.best_epoch)
    case.exact("out_epochs_trained", trained)


CHECKS = {"cole": check, "ack": check, "llm": check, "boostlu": check}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
