import dataclasses

import pytest
import torch
from torch import Tensor

from vtadl.config.schema import PaperConfig
from vtadl.errors import ConfigError
from vtadl.losses.objective import TERMS, parse_objective
from vtadl.models.paper_network import PaperModel

TINY = PaperConfig(image_size=32, patch_size=8, width=32, depth=2, heads=4, mlp_width=48, mixtures=12, latent_width=4)
ALL = " + ".join(TERMS)


def model(objective: str, config: PaperConfig = TINY, seed: int = 0) -> PaperModel:
    torch.manual_seed(seed)
    return PaperModel(config, parse_objective(objective))


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def terms(network: PaperModel, batch: Tensor, samples: list[int], seed: int = 1, step: int = 2) -> dict[str, Tensor]:
    return network.terms(batch, seed=seed, step=step, samples=samples)[0]


@pytest.mark.parametrize("variant", ["corrected", "faithful"])
@pytest.mark.parametrize(
    "objective", [*(name for name, term in TERMS.items() if term.scores), "mse + 0.1*kl + var + cov", ALL]
)
def test_every_objective_trains_all_of_its_model(objective, variant):
    network = model(objective, dataclasses.replace(TINY, variant=variant)).train()
    values = terms(network, images(), [0, 1])
    assert list(values) == [name for name, _ in network.objective.terms]
    assert all(value.shape == () and value.isfinite() for value in values.values())
    sum(values.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("density", ["nll", "nll_reference", "vae", "kl"])
def test_a_detached_density_learns_and_leaves_the_encoder_alone(density):
    gradients = {}
    for detached in (False, True):
        network = model(f"mse + {density}", dataclasses.replace(TINY, detached_density=detached)).train()
        values = terms(network, images(), [0, 1])
        values[density].backward()
        gradients[detached] = {name: parameter.grad for name, parameter in network.named_parameters()}
    of_encoder = {name for name in gradients[True] if name.startswith("encoder.")}
    of_density = {name for name in gradients[True] if name.startswith(("mixture.", "variational."))}
    assert all(gradients[False][name] is not None for name in of_encoder)
    assert all(gradients[True][name] is None for name in of_encoder)
    assert all(torch.equal(gradients[True][name], gradients[False][name]) for name in of_density)


def test_a_detached_density_alone_would_train_no_encoder():
    with pytest.raises(ConfigError, match="detached_density leaves the encoder to other terms, and 'nll' has none"):
        model("nll", dataclasses.replace(TINY, detached_density=True))


def test_only_the_heads_that_the_objective_needs_exist():
    assert {name for name, _ in model("nll").named_children()} == {"encoder", "mixture"}
    assert {name for name, _ in model("mse").named_children()} == {"encoder", "vector", "decoder"}
    assert {name for name, _ in model("vae").named_children()} == {"encoder", "variational"}
    assert {name for name, _ in model("vae_image").named_children()} == {"encoder", "vector", "decoder", "posterior"}


class TestNoise:
    @pytest.mark.parametrize("objective", ["nll", "vae", "vae_image"])
    def test_depends_on_seed_step_and_sample(self, objective):
        network = model(objective).train()
        first = terms(network, images(), [4, 9])[objective]
        assert torch.equal(first, terms(network, images(), [4, 9])[objective])
        for other in ({"samples": [4, 8]}, {"seed": 2}, {"step": 3}):
            assert not torch.equal(first, terms(network, images(), **{"samples": [4, 9], **other})[objective])

    @pytest.mark.parametrize("objective", ["nll", "nll_reference", "vae + kl"])
    def test_a_batch_is_the_mean_of_its_parts(self, objective):
        """Without batch normalisation in the way."""
        network, batch = model(objective).train(), images(3)
        whole = terms(network, batch, [5, 6, 7])
        parts = [terms(network, batch[i : i + 1], [5 + i]) for i in range(3)]
        for name, value in whole.items():
            torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean())

    def test_is_drawn_for_each_image_alone(self):
        network = model(ALL).train()
        together, alone = network.draw(1, 2, [4, 9]), network.draw(1, 2, [9])
        assert [tuple(drawn.shape) for drawn in together] == [(2, 16, 32), (2, 16, 4), (2, 512)]
        assert all(torch.equal(drawn[1:], one) for drawn, one in zip(together, alone, strict=True))

    def test_is_off_in_scoring(self):
        network = model("nll + mse")
        assert torch.equal(network.anomaly_map(images()), network.anomaly_map(images()))


class TestAnomalyMap:
    def test_is_the_residual_without_a_density(self):
        network = model("mse + 0.1*ssim")
        expected = (network.reconstruct(images()) - images()).square().mean(1)
        torch.testing.assert_close(network.anomaly_map(images()), expected)

    @pytest.mark.parametrize("objective", ["mse + 3*nll", "mse + vae + 0.1*kl", "nll_reference"])
    def test_is_the_upsampled_density_and_decodes_nothing(self, objective, monkeypatch):
        network = model(objective)
        if network.decoder is not None:
            monkeypatch.setattr(network.decoder, "forward", lambda *_: pytest.fail("the decoder ran"))
        scores = network.patch_scores(images())
        assert scores.shape == (2, 16)
        expected = torch.nn.functional.interpolate(
            scores.reshape(2, 1, 4, 4), (32, 32), mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(network.anomaly_map(images()), expected[:, 0])

    def test_weighs_several_densities(self):
        network = model("2*nll + 3*vae").eval()
        with torch.no_grad():
            encoded = network.encoder(images())
            expected = 2 * network.mixture(encoded).nll + 3 * network.variational(encoded).vae
        torch.testing.assert_close(network.patch_scores(images()), expected)

    @pytest.mark.parametrize("objective", ["mse", "mse + nll"])
    def test_comes_with_the_residual_at_no_more_encoding(self, objective, monkeypatch):
        network = model(objective)
        expected = network.anomaly_map(images()), network.reconstruct(images())
        passes, encode = [], network.encoder.forward
        monkeypatch.setattr(network.encoder, "forward", lambda x: passes.append(x) or encode(x))
        found = network.maps(images())
        assert torch.equal(found[0], expected[0])
        torch.testing.assert_close(found[-1], (expected[1] - images()).square().mean(1))
        assert len(passes) == 1

    def test_leaves_the_mode_and_the_running_statistics_alone(self):
        network = model("mse").train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        training = network.anomaly_map(images())
        assert network.training and all(m.training for m in network.modules())
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert torch.equal(training, network.eval().anomaly_map(images()))

    def test_does_not_depend_on_the_rest_of_the_batch(self):
        network = model("mse + nll")
        torch.testing.assert_close(network.anomaly_map(images(3))[:1], network.anomaly_map(images(3)[:1]))


class TestVariants:
    @pytest.mark.parametrize(("image_size", "patch_size"), [(32, 8), (64, 32), (48, 16), (40, 8), (8, 8)])
    def test_decoder_follows_the_image_size(self, image_size, patch_size):
        network = model("mse", dataclasses.replace(TINY, image_size=image_size, patch_size=patch_size))
        assert network.reconstruct(images(2, image_size)).shape == (2, 3, image_size, image_size)
        terms(network.train(), images(2, image_size), [0, 1])["mse"].backward()

    def test_corrected_images_are_in_range_and_faithful_ones_need_not_be(self):
        for variant, low in (("corrected", 0.0), ("faithful", -1.0)):
            network = model("mse", dataclasses.replace(TINY, variant=variant))
            network.decoder.stack.convolutions[-1].bias.data.fill_(-50)
            decoded = network.reconstruct(images())
            assert decoded.min() == pytest.approx(low, abs=1e-4)

    def test_faithful_attention_is_scaled_by_width(self):
        scales = {v: model("nll", dataclasses.replace(TINY, variant=v)).encoder.blocks[0].attention.scale
                  for v in ("faithful", "corrected")}  # fmt: skip
        assert scales == {"faithful": 32**-0.5, "corrected": None}

    def test_corrected_embeddings_have_one_length(self):
        encoded = model("nll").encoder(images())
        torch.testing.assert_close(encoded.square().mean(-1), torch.ones(2, 16), atol=1e-3, rtol=0)


class TestVariance:
    def test_is_that_of_the_embeddings(self):
        network = model("nll", dataclasses.replace(TINY, noise=0.0)).train()
        _, variance = network.terms(images(), seed=0, step=0, samples=[0, 1])
        expected = network.encoder(images()).flatten(0, 1).var(0, correction=0).mean()
        torch.testing.assert_close(variance, expected.detach())
        assert not variance.requires_grad

    def test_falls_to_zero_where_embeddings_collapse(self):
        network = model("nll").train()
        network.encoder.norm = torch.nn.LayerNorm(32)
        torch.nn.init.zeros_(network.encoder.norm.weight)
        assert network.terms(images(), seed=0, step=0, samples=[0, 1])[1] == 0


class TestSamples:
    def test_are_images_of_the_generator(self):
        network = model("mse + vae_image")
        first = network.sample(3, torch.Generator().manual_seed(1))
        assert first.shape == (3, 3, 32, 32) and first.min() >= 0 and first.max() <= 1
        assert torch.equal(first, network.sample(3, torch.Generator().manual_seed(1)))
        assert not torch.equal(first, network.sample(3, torch.Generator().manual_seed(2)))

    def test_need_a_prior(self):
        with pytest.raises(ConfigError, match="only a model trained with vae_image"):
            model("mse + vae").sample(1, torch.Generator())


def test_no_reconstruction_without_a_decoder():
    with pytest.raises(ConfigError, match="has no decoder"):
        model("nll").reconstruct(images())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"image_size": 30}, "model.image_size is 30; expected a multiple of model.patch_size, 8"),
        ({"heads": 5}, "model.width is 32; expected a multiple of model.heads, 5"),
    ],
)
def test_sizes_that_do_not_fit(setting, message):
    with pytest.raises(ConfigError, match=message):
        model("mse", dataclasses.replace(TINY, **setting))


def test_half_precision_terms_are_close():
    network = model("mse + ssim + ms_ssim + gms + cosine + nll + vae").train()
    exact = terms(network, images(), [0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = terms(network, images(), [0, 1])
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32, name
        torch.testing.assert_close(rough[name], value, atol=0.02, rtol=0.05)
