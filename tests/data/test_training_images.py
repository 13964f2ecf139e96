"""The images of a training: in the order of their content, hashed once, blanked outside what counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.categories import make_category
from vtadl.data.hashing import content_hash
from vtadl.data.layouts import category as layouts
from vtadl.data.layouts import read_category
from vtadl.data.roi import BLANK
from vtadl.data.training_images import TrainingImages, good_images
from vtadl.errors import DataError


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=12, good=1, defective=1)


def test_the_order_is_that_of_content_whatever_the_order_of_samples(category):
    samples = read_category(category).train
    images, again = TrainingImages.of(samples), TrainingImages.of(samples[::-1])
    assert images.paths == again.paths and images.sha256 == tuple(sorted(images.sha256))
    assert images.sha256 == tuple(map(content_hash, images.paths)) and len(images) == 12


def test_slices_and_samples_keep_the_order(category):
    images = TrainingImages.of(read_category(category).train)
    assert images[::2].paths == images.paths[::2] and images[1::2].sha256 == images.sha256[1::2]
    assert images.sample(4).paths == images.paths[::3]
    assert images.sample(100).paths == images.paths


@pytest.mark.parametrize("most", [5, 16])
def test_batches_hold_every_image_once_and_nothing_outside_the_region(category, most):
    roi_mask = np.zeros((64, 64), bool)
    roi_mask[:, :32] = True
    samples = read_category(category).train
    plain, masked = TrainingImages.of(samples), TrainingImages.of(samples, roi_mask)
    whole = list(plain.batches((64, 96), most))
    assert [len(batch) for batch in whole] == ([5, 5, 2] if most == 5 else [12])
    seen = torch.cat(list(masked.batches((64, 96), most)))
    assert seen.shape == (12, 3, 64, 96)
    assert torch.equal(seen[..., :48], torch.cat(whole)[..., :48]) and (seen[..., 48:] == BLANK).all()


def test_each_image_is_hashed_once(category, monkeypatch):
    hashed = []
    monkeypatch.setattr(layouts, "content_hash", lambda path: hashed.append(path) or content_hash(path))
    images = good_images(read_category(category))
    assert len(images.kept) + len(images.held_out) == len(hashed) == len(set(hashed)) == 12
    assert len(images.held_out) == 1


def test_what_is_skipped_is_not_there_and_what_is_gone_is_named(category):
    content = read_category(category)
    images = good_images(content, frozenset(content.train[:3]))
    assert len(images.kept) + len(images.held_out) in (8, 9)
    with pytest.raises(DataError, match=r"gone\.png"):
        TrainingImages.of([replace(content.train[0], path=category / "gone.png")])
