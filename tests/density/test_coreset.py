"""The coreset against the plain greedy choice."""

import torch

from helpers.clusters import clustered, generator
from vtadl.density.coreset import greedy_coreset
from vtadl.density.nearest import nearest_distance, searchable


def plain_greedy(x, size):
    chosen = [0]
    distance = torch.cdist(x, x[:1])[:, 0]
    while len(chosen) < size:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, torch.cdist(x, x[chosen[-1:]])[:, 0])
    return torch.tensor(chosen)


def cover_radius(x, chosen):
    return float(nearest_distance(x, searchable(x[chosen])).max())


def test_coreset_covers_about_as_well_as_the_plain_greedy_choice():
    x = clustered(3000, 24)
    for size in (50, 300):
        chosen = greedy_coreset(x, size, generator())
        assert len(chosen.unique()) == size
        ours, greedy = cover_radius(x, chosen), cover_radius(x, plain_greedy(x, size))
        random = cover_radius(x, torch.randperm(3000, generator=generator())[:size])
        assert ours <= 1.25 * greedy
        assert ours < random


def test_coreset_copes_with_copies():
    x = clustered(20, 5).repeat(50, 1)
    assert len(greedy_coreset(x, 100, generator()).unique()) == 100


def test_coreset_is_decided_by_its_seed():
    x = clustered(1000, 8)
    assert torch.equal(greedy_coreset(x, 60, generator(3)), greedy_coreset(x, 60, generator(3)))
