"""What keeps embeddings from becoming all alike: their spread in each dimension, and how far dimensions say the same.

Source: A. Bardes, J. Ponce and Y. LeCun, VICReg, ICLR 2022, eq. 1 to 4, with its constants.
"""

import torch.nn.functional as F
from torch import Tensor

LEAST_DEVIATION = 1.0
"""Of each dimension, up to which more is better."""
EPSILON = 1e-4
"""Added under the square root, whose slope at zero is infinite."""


def var(embeddings_MD: Tensor) -> Tensor:
    """How far each dimension's standard deviation falls short of 1, a mean over dimensions: a scalar in [0, 1].

    Args:
        embeddings_MD: ``(M, D)``, of all patches of all images of a batch; M is two or more.
    """
    deviation_D = (embeddings_MD.var(0) + EPSILON).sqrt()
    return F.relu(LEAST_DEVIATION - deviation_D).mean()


def cov(embeddings_MD: Tensor) -> Tensor:
    """Squared covariances between different dimensions, their sum divided by D: a scalar, 0 where none says of another.

    Args:
        embeddings_MD: as for `var`.
    """
    count, width = embeddings_MD.shape
    centred_MD = embeddings_MD - embeddings_MD.mean(0)
    covariance_DD = centred_MD.T @ centred_MD / (count - 1)
    return (covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()) / width
