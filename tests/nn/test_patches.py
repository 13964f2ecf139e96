import numpy as np
import torch

from vtadl.nn.patches import PatchEmbedding, patchify


def test_patches_are_cut_row_by_row_and_channels_come_last():
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for image in range(2):
        for index, (row, column) in enumerate((r, c) for r in (0, 2) for c in (0, 2, 4)):
            block = images[image, :, row : row + 2, column : column + 2].numpy()
            assert np.array_equal(patches[image, index].numpy(), np.moveaxis(block, 0, -1).ravel())


def test_embedding_is_a_strided_convolution():
    torch.manual_seed(0)
    embedding = PatchEmbedding(4, 5).double()
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    kernel = embedding.projection.weight.reshape(5, 4, 4, 3).permute(0, 3, 1, 2)
    expected = torch.nn.functional.conv2d(images, kernel, embedding.projection.bias, stride=4)
    torch.testing.assert_close(embedding(images), expected.flatten(2).transpose(1, 2))
