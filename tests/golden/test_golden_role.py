"""ROLE: loss, gradients of both players, initial table, restart of the second stage, dense Adam steps."""

import numpy as np
import torch

from plml.labels import UNKNOWN, Batch, LabelInfo, ModelOutput, as_tensor, check_labels, from_signed
from plml.losses import expected_positives_penalty
from plml.methods import METHODS

FILE = "spml_role.npz"

Role = METHODS["role"]


def role(observed, k, theta=None, lr_mult=10.0):
    """The method on observed labels (N, L), in the precision of ``theta`` (N, L) when that is given."""
    method = Role(LabelInfo(as_tensor(observed), k), lr_mult=lr_mult, compat="reference")
    if theta is not None:
        method = method.to(theta.dtype)
        with torch.no_grad():
            method.theta.copy_(theta)
    return method


def step_input(logits, observed, index):
    return ModelOutput(logits, logits.detach()), Batch(logits.detach(), as_tensor(observed), index)


def check_role(case):
    truth, observed = check_labels(case["in_y_true"]), from_signed(case["in_y_obs"])
    assert truth.shape == observed.shape
    index, k = case.tensor("in_idx"), case.number("hp_expected_num_pos")
    for dtype, mark in ((torch.float64, "f64"), (torch.float32, "f32")):
        phi = case.tensor("st_phi", dtype)
        data_set = np.full(phi.shape, UNKNOWN)
        data_set[index] = observed
        method = role(data_set, k, phi)
        logits = case.tensor("in_logits", dtype).requires_grad_()
        loss = method(*step_input(logits, observed, index))
        loss.backward()
        penalty = (expected_positives_penalty(logits, k) + expected_positives_penalty(phi[index], k)) / 2
        compare_loss = case.double if dtype == torch.float64 else case.single_loss
        compare_gradient = case.double if dtype == torch.float64 else case.single_gradient
        compare_loss(f"out_loss_{mark}", loss)
        compare_loss(f"out_reg_{mark}", penalty)
        compare_gradient(f"out_grad_{mark}", logits.grad)
        compare_gradient(f"out_grad_phi_{mark}", method.theta.grad)


def check_init(case):
    """Initial table from torch's default generator, and the restart from estimates."""
    observed = from_signed(case["in_obs_matrix"])
    with torch.random.fork_rng():
        torch.manual_seed(int(case.number("hp_torch_seed")))
        method = role(observed, k=1.0)
    case.close("out_phi", method.theta, rtol=1e-5, atol=1e-7)
    case.close("out_est", method.theta.sigmoid(), rtol=1e-5, atol=1e-7)

    estimates = case.tensor("in_est_for_reinit", torch.float64)
    earlier = role(observed, k=1.0, theta=estimates.logit())  # infinite where the estimate is 0 or 1
    method.continue_from(earlier)
    restarted, expected = method.theta.detach().numpy(), case["out_phi_reinit"]
    clipped = ((estimates <= 1e-5) | (estimates >= 1 - 1e-5)).numpy()
    # At the ends, single precision cannot hold 1 - 1e-5 any better than this.
    np.testing.assert_allclose(restarted[clipped], expected[clipped], rtol=2e-3)
    np.testing.assert_allclose(restarted[~clipped], expected[~clipped], rtol=1e-5, atol=1e-6)


def check_adam(case):
    """Steps of dense Adam: rows outside the batch go on moving by their momentum."""
    observed = from_signed(case["in_obs_matrix"])
    lr, lr_mult = case.number("hp_lr"), case.number("hp_lr_mult")
    method = role(observed, case.number("hp_expected_num_pos"), case.tensor("st_phi0", torch.float64), lr_mult)
    optimizer = torch.optim.Adam(method.param_groups(lr), lr=lr)
    losses, tables = [], []
    for index, logits in zip(case.tensor("in_batch_idx"), case.tensor("in_logits", torch.float64), strict=True):
        loss = method(*step_input(logits, observed[index], index))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        tables.append(method.theta.detach().clone())
    case.double("out_loss_traj_f64", torch.stack(losses))
    case.double("out_phi_traj_f64", torch.stack(tables))


CHECKS = {"role": check_role, "init": check_init, "adam": check_adam}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
