"""Points around some centres, for tests of what looks up or chooses points."""

import torch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clustered(count, width, seed=0):
    g = generator(seed)
    centres = 4 * torch.randn(40, width, generator=g)
    return centres[torch.randint(40, (count,), generator=g)] + torch.randn(count, width, generator=g)
