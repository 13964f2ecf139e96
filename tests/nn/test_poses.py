"""The poses are the symmetries of a square, each once."""

import itertools

import torch

from vtadl.nn.poses import FLIPS, POSES


def test_with_the_image_as_it_is_they_are_the_eight_symmetries_of_a_square():
    image = torch.arange(2 * 9.0).view(2, 3, 3)
    posed = [image, *(pose(image) for pose in POSES.values())]
    assert len({tuple(x.flatten().tolist()) for x in posed}) == 8
    # Closed: one pose after another is one of them too.
    for first, second in itertools.product(POSES.values(), repeat=2):
        assert any(torch.equal(second(first(image)), x) for x in posed)


def test_each_is_what_its_name_says():
    image = torch.tensor([[1, 2], [3, 4]])
    expected = {
        "flipped left to right": [[2, 1], [4, 3]],
        "flipped top to bottom": [[3, 4], [1, 2]],
        "turned by 180": [[4, 3], [2, 1]],
        "turned by 90": [[2, 4], [1, 3]],
        "turned by 270": [[3, 1], [4, 2]],
        "transposed": [[1, 3], [2, 4]],
        "transposed across": [[4, 2], [3, 1]],
    }
    assert {name: pose(image).tolist() for name, pose in POSES.items()} == expected


def test_a_rectangle_keeps_its_shape_in_the_flips_alone():
    image = torch.zeros(3, 4, 6)
    assert [name for name, pose in POSES.items() if pose(image).shape == image.shape] == list(FLIPS)
