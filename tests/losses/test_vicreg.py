"""VICReg's two terms against loops over embeddings and dimensions."""

import math

import pytest
import torch

from vtadl.losses.vicreg import cov, var


def slow_var(rows: list[list[float]]) -> float:
    width, count, total = len(rows[0]), len(rows), 0.0
    for d in range(width):
        column = [row[d] for row in rows]
        mean = sum(column) / count
        variance = sum((value - mean) ** 2 for value in column) / (count - 1)
        total += max(0.0, 1.0 - math.sqrt(variance + 1e-4))
    return total / width


def slow_cov(rows: list[list[float]]) -> float:
    width, count, total = len(rows[0]), len(rows), 0.0
    means = [sum(row[d] for row in rows) / count for d in range(width)]
    for i in range(width):
        for j in range(width):
            if i != j:
                products = [(row[i] - means[i]) * (row[j] - means[j]) for row in rows]
                total += (sum(products) / (count - 1)) ** 2
    return total / width


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_against_loops(scale):
    x = scale * torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    assert var(x).item() == pytest.approx(slow_var(x.tolist()), abs=1e-12)
    assert cov(x).item() == pytest.approx(slow_cov(x.tolist()), abs=1e-12)


def test_what_collapsed_costs_most_and_what_is_spread_nothing():
    alike = torch.ones(6, 4, dtype=torch.float64)
    assert var(alike).item() == pytest.approx(1 - 0.01) and cov(alike) == 0
    spread = 3 * torch.cat([torch.eye(4), -torch.eye(4)]).double()
    assert var(spread) == 0 and cov(spread).item() == pytest.approx(0, abs=1e-12)
    repeated = spread[:, :1].expand(-1, 4)
    assert cov(repeated) > 1


def test_gradients_are_finite_where_embeddings_collapsed():
    x = torch.ones(6, 4, requires_grad=True)
    (var(x) + cov(x)).backward()
    assert x.grad is not None and x.grad.isfinite().all()
