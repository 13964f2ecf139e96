"""The negative evidence lower bound (ELBO) of a variational autoencoder, in nats.

Source: D. Kingma and M. Welling, Auto-Encoding Variational Bayes, ICLR 2014, eq. 3 and 7.
"""

from torch import Tensor

from vtadl.losses.likelihood import gaussian_nll, kl


def reparameterised(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """A sample of N(mean, exp(log_var)) as a function of standard normal ``noise``; all of one shape."""
    return mean + (0.5 * log_var).exp() * noise


def vae(x: Tensor, mean: Tensor, log_var: Tensor, latent_mean: Tensor, latent_log_var: Tensor) -> Tensor:
    """Negative ELBO ``KL(q(z|x) || N(0, I)) - log p(x|z)`` of each embedding, in nats.

    Args:
        x: ``(..., D)`` embeddings.
        mean: ``(..., D)`` mean of p(x|z), decoded from a sample of q (its mean when scoring).
        log_var: ``(..., D)`` log variance of p(x|z).
        latent_mean: ``(..., L)`` mean of q(z|x).
        latent_log_var: ``(..., L)`` log variance of q(z|x).

    Returns:
        ``(...)``; an upper bound of ``-log p(x)`` on average over samples of z.
    """
    return kl(latent_mean, latent_log_var) + gaussian_nll(x, mean, log_var)


def vae_image(
    images_B3HW: Tensor, mean_B3HW: Tensor, log_var: Tensor, latent_mean_BL: Tensor, latent_log_var_BL: Tensor
) -> Tensor:
    """Negative ELBO of whole images, in nats per pixel value.

    Args:
        images_B3HW: ``(B, 3, H, W)`` in [0, 1].
        mean_B3HW: ``(B, 3, H, W)``, the decoded image: the mean of p(image|z).
        log_var: scalar, the log variance of p(image|z), one for all pixels.
        latent_mean_BL: ``(B, L)`` mean of q(z|image).
        latent_log_var_BL: ``(B, L)`` log variance of q(z|image).

    Returns:
        ``(B,)``, divided by the 3 H W values of an image.
    """
    pixels_BP = images_B3HW.flatten(1)
    mean_BP = mean_B3HW.flatten(1)
    bound_B = vae(pixels_BP, mean_BP, log_var.expand_as(mean_BP), latent_mean_BL, latent_log_var_BL)
    return bound_B / pixels_BP.shape[1]
