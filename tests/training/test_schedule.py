"""Which step sees which images at what rate, against torch's schedulers."""

import pytest
import torch
from torch import nn

from vtadl.config.schema import TrainingConfig
from vtadl.training.schedule import learning_rate, plan, sample_order


def test_every_image_is_used_once_an_epoch_in_an_order_of_its_own():
    orders = [sample_order(seed, epoch, 50) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert sample_order(1, 2, 50) == sample_order(1, 2, 50)


def test_steps_win_over_epochs():
    assert plan(TrainingConfig(epochs=3, batch_size=3), 7).steps == 9
    assert plan(TrainingConfig(epochs=3, batch_size=3, steps=4), 7).steps == 4
    planned = plan(TrainingConfig(epochs=3, batch_size=3), 7)
    assert [planned.images_until(step) for step in range(6)] == [0, 3, 6, 7, 10, 13]


def test_long_trainings_log_fewer_lines():
    assert plan(TrainingConfig(steps=20_000), 7).log_every == 1
    assert plan(TrainingConfig(steps=1_000_000), 7).log_every == 50


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 33])
def test_schedules_are_torchs(steps):
    parameter = nn.Parameter(torch.zeros(()))
    for schedule, make in {
        "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1),
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=steps),
        "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=steps),
    }.items():
        optimizer = torch.optim.Adam([parameter], lr=0.1)
        scheduler = make(optimizer)
        for step in range(steps):
            ours = learning_rate(TrainingConfig(learning_rate=0.1, schedule=schedule), step, steps)
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), (schedule, step)
            optimizer.step()
            if step < steps - 1:
                scheduler.step()
