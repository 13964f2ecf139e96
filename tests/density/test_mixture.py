import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from helpers.literal_vtadl import Mixture, patch_nll
from vtadl.density.mixture import CHUNK, ContextMixture, MixtureDensity
from vtadl.losses.likelihood import LOG_VAR_LIMIT, bounded_log_var
from vtadl.models.reference_checkpoint import rearranged


def density(mixtures: int = 3, *, faithful: bool = False) -> MixtureDensity:
    torch.manual_seed(0)
    return MixtureDensity(6, mixtures, faithful=faithful).double()


def embeddings() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, 6, generator=generator, dtype=torch.float64).requires_grad_()


def distribution(model: MixtureDensity, x: torch.Tensor) -> MixtureSameFamily:
    mean, log_var = model.gaussians(x)
    gaussians = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    return MixtureSameFamily(Categorical(logits=model.components(x)[0]), gaussians)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("mixtures", [1, 3, 2 * CHUNK + 5])
def test_nll_against_distributions(mixtures, faithful):
    model, x = density(mixtures, faithful=faithful), embeddings()
    expected = -distribution(model, x).log_prob(x) / 6
    torch.testing.assert_close(model(x).nll, expected, atol=1e-6, rtol=0)


def test_chunks_have_the_gradients_of_the_whole():
    model, x = density(2 * CHUNK + 5), embeddings()
    parameters = [x, *model.parameters()]
    ours = torch.autograd.grad(model(x).nll.sum(), parameters)
    whole = torch.autograd.grad(-distribution(model, x).log_prob(x).sum() / 6, parameters)
    for a, b in zip(ours, whole, strict=True):
        torch.testing.assert_close(a, b)


def test_faithful_scores_are_the_published_ones():
    model, published, x = density(4, faithful=True), Mixture(6, 4).double(), embeddings()
    with torch.no_grad():
        model.log_weight.weight.copy_(published.pi.weight)
        model.mean.weight.copy_(rearranged("mixture.mean.weight", published.mu.weight))
        model.log_var.weight.copy_(rearranged("mixture.log_var.weight", published.sigma_sq.weight))
    torch.testing.assert_close(model(x).nll_reference, patch_nll(x, *published(x)), atol=1e-6, rtol=0)


def test_corrected_variances_are_bounded_whatever_comes():
    mean, log_var = density().gaussians(1e6 * embeddings())
    assert log_var.abs().max() <= LOG_VAR_LIMIT and mean.isfinite().all()
    assert density().mean.bias is not None and density(faithful=True).mean.bias is None


def test_no_array_of_all_components_is_kept():
    """At 150 components the means alone would take more memory than all the rest of the network's activations."""
    largest = 0

    def note(x: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        if x.requires_grad and not isinstance(x, torch.nn.Parameter):
            largest = max(largest, x.numel())
        return x

    model, x = MixtureDensity(16, 150, faithful=False), torch.randn(4, 8, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        model(x).nll.mean()
    assert 0 < largest <= 4 * 8 * 150


def test_learns_a_bimodal_density():
    """The corrected likelihood tells two modes from the space between them."""
    generator = torch.Generator().manual_seed(2)
    modes = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    x = (modes[torch.arange(400) % 2] + 0.1 * torch.randn(400, 2, generator=generator))[None]
    torch.manual_seed(0)
    model = MixtureDensity(2, 2, faithful=False)
    model.mean.weight.data.zero_()  # the embedding is its own condition: without this the means could copy it
    model.log_var.weight.data.zero_()
    optimizer = torch.optim.Adam([model.mean.bias, model.log_var.bias, model.log_weight.bias], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        model(x).nll.mean().backward()
        optimizer.step()
    scores = model(torch.tensor([[[-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]]])).nll[0]
    assert scores[2] > scores[:2].max() + 10


@pytest.mark.parametrize("mixtures", [1, 4])
def test_given_a_context_against_distributions(mixtures):
    torch.manual_seed(0)
    model = ContextMixture(7, 6, mixtures).double()
    x, context = embeddings(), torch.randn(2, 5, 7, dtype=torch.float64)
    shape = (2, 5, mixtures, 6)
    mean, raw = model.mean(context).reshape(shape), model.log_var(context).reshape(shape)
    gaussians = Independent(Normal(mean, (0.5 * bounded_log_var(raw)).exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=model.log_weight(context)), gaussians)
    torch.testing.assert_close(model(x, context), -expected.log_prob(x) / 6, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.expected(context), expected.mean, atol=1e-9, rtol=0)
