"""What can be changed of VT-ADL, one setting at a time: what densities are of, what patches are cut from, the score."""

import dataclasses

import pytest
import torch
from torch import Tensor

from vtadl.config.overrides import apply_settings, from_toml, to_toml
from vtadl.config.presets import preset_config
from vtadl.config.schema import PaperConfig
from vtadl.data.training_images import TrainingImages
from vtadl.errors import ConfigError
from vtadl.losses.objective import parse_objective
from vtadl.losses.residual import RESIDUALS
from vtadl.losses.vicreg import cov, var
from vtadl.models.paper import MODERATION, PaperDetector
from vtadl.models.paper_network import PaperModel
from vtadl.nn.smoothing import gaussian_smooth

TINY = PaperConfig(image_size=32, patch_size=8, width=32, depth=1, heads=4, mlp_width=48, mixtures=3, latent_width=4)
NEIGHBOURS = dataclasses.replace(TINY, mask_radius=0)
BOTH = ("5*mse + 0.5*ssim + nll", "mse + vae")


def model(objective: str, config: PaperConfig = TINY) -> PaperModel:
    torch.manual_seed(0)
    return PaperModel(config, parse_objective(objective))


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def test_the_spread_terms_are_of_the_encoded_patches_without_noise():
    network = model("mse + var + 0.04*cov").train()
    terms, _ = network.terms(images(), seed=0, step=0, samples=[0, 1])
    encoded_MD = network.encoder(images()).flatten(0, 1)
    torch.testing.assert_close(terms["var"], var(encoded_MD))
    torch.testing.assert_close(terms["cov"], cov(encoded_MD))


class TestNeighbours:
    @pytest.mark.parametrize("radius", [0, 1])
    def test_a_patch_says_nothing_of_itself_through_its_context(self, radius):
        network = model("mse + nll", dataclasses.replace(TINY, mask_radius=radius)).eval()
        patches = torch.randn(1, 16, 32, requires_grad=True)
        judged, context = network.neighbours(patches)
        scores = network.mixture(judged.detach(), context)[0]
        for index in range(16):
            (gradient,) = torch.autograd.grad(scores[index], patches, retain_graph=True)
            row, column = divmod(index, 4)
            reached = {divmod(at, 4) for at in range(16) if gradient[0, at].abs().max() > 0}
            far = {(r, c) for r in range(4) for c in range(4) if max(abs(r - row), abs(c - column)) > radius}
            assert reached == far, index

    @pytest.mark.parametrize("objective", BOTH)
    def test_everything_trains_and_another_patch_moves_its_neighbours_context_alone(self, objective):
        network = model(objective, NEIGHBOURS).train()
        terms, _ = network.terms(images(), seed=0, step=0, samples=[0, 1])
        sum(terms.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        network.eval()
        changed = images()
        changed[:, :, :8, :8] = 0
        with torch.no_grad():
            before, after = (network.neighbours(network.encoder.patches(x))[1] for x in (images(), changed))
        assert torch.equal(before[:, 0], after[:, 0]) and not torch.equal(before[:, 1], after[:, 1])

    def test_what_is_judged_is_the_standardised_patch_under_a_mixture_of_its_context(self):
        network = model("mse + nll", NEIGHBOURS).train()
        patches = network.encoder.patches(images())
        judged, context = network.neighbours(patches)
        flat = patches.flatten(0, 1)
        expected = (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(judged.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)
        weights = torch.distributions.Categorical(logits=network.mixture.log_weight(context))
        mean = network.mixture.mean(context).reshape(2, 16, 3, 32)
        log_var = 6 * torch.tanh(network.mixture.log_var(context).reshape(2, 16, 3, 32) / 6)
        normal = torch.distributions.Independent(torch.distributions.Normal(mean, (0.5 * log_var).exp()), 1)
        mixture = torch.distributions.MixtureSameFamily(weights, normal)
        terms, _ = network.terms(images(), seed=0, step=0, samples=[0, 1])
        torch.testing.assert_close(terms["nll"], -mixture.log_prob(judged).mean() / 32, atol=1e-4, rtol=1e-4)

    def test_detached_it_leaves_the_patches_alone(self):
        network = model("mse + nll", dataclasses.replace(NEIGHBOURS, detached_density=True)).train()
        terms, _ = network.terms(images(), seed=0, step=0, samples=[0, 1])
        terms["nll"].backward()
        assert all(p.grad is None for p in network.encoder.parameters())
        assert all(p.grad is not None for p in network.neighbours.parameters())

    @pytest.mark.parametrize(
        ("objective", "setting", "message"),
        [
            ("nll", {}, "'nll' has nothing else that would train the encoder"),
            ("mse", {}, "'mse' has none; add nll"),
            ("mse + nll_reference", {}, "nll_reference is of a patch given itself"),
            ("mse + nll", {"mask_radius": 2}, "expected more patches along a side"),
        ],
    )
    def test_what_does_not_fit(self, objective, setting, message):
        with pytest.raises(ConfigError, match=message):
            model(objective, dataclasses.replace(NEIGHBOURS, **setting))


@pytest.mark.parametrize("patch", [16, 32])
@pytest.mark.parametrize("settings", [{}, {"mask_radius": 0}, {"pretrained_patches": True}])
@pytest.mark.parametrize("objective", BOTH)
def test_smaller_patches_train_and_score(objective, settings, patch):
    network = model(objective, dataclasses.replace(TINY, image_size=64, patch_size=patch, **settings)).train()
    terms, _ = network.terms(images(2, 64), seed=0, step=0, samples=[0, 1])
    sum(terms.values()).backward()
    assert network.anomaly_map(images(2, 64)).shape == (2, 64, 64)
    assert network.patch_scores(images(2, 64)).shape == (2, (64 // patch) ** 2)


class TestPretrainedPatches:
    def test_are_a_projection_of_the_default_backbone_s_first_features(self):
        from vtadl.backbones.build import build_backbone
        from vtadl.config.schema import BackboneConfig

        network = model("mse + nll", dataclasses.replace(TINY, image_size=64, pretrained_patches=True))
        with torch.no_grad():
            features = build_backbone(BackboneConfig()).network(images(2, 64) * 2 - 1)[1]
            found = network.encoder.patches(images(2, 64))
        assert features.shape == (2, 24, 16, 16)
        # The fourth patch of the first row: two by two cells, row by row, channels last.
        patch = features[:, :, :2, 6:8].permute(0, 2, 3, 1).flatten(1)
        projection = network.encoder.patches.projection
        torch.testing.assert_close(found[:, 3], patch @ projection.weight.T + projection.bias, atol=1e-5, rtol=1e-4)

    def test_stay_frozen(self):
        network = model("mse + nll", dataclasses.replace(TINY, pretrained_patches=True)).train()
        terms, _ = network.terms(images(), seed=0, step=0, samples=[0, 1])
        sum(terms.values()).backward()
        frozen = list(network.encoder.patches.frozen.parameters())
        assert frozen and all(p.grad is None and not p.requires_grad for p in frozen)
        assert network.encoder.patches.projection.weight.grad is not None

    def test_need_patches_of_whole_cells(self):
        with pytest.raises(ConfigError, match="expected a multiple of 4"):
            model("mse", dataclasses.replace(TINY, image_size=32, patch_size=2, pretrained_patches=True))


class LentSession:
    """Lends batches of images that are there."""

    def batches(self, images: Tensor, size: tuple[int, int], title: str) -> list[Tensor]:
        return list(images.split(3))


class TestAnomalyMap:
    @pytest.mark.parametrize("residual", RESIDUALS)
    def test_is_the_residual_that_the_setting_names(self, residual):
        network = model("mse", dataclasses.replace(TINY, residual=residual))
        expected = RESIDUALS[residual](network.reconstruct(images()), images())
        torch.testing.assert_close(network.anomaly_map(images()), expected)

    @pytest.mark.parametrize(("anomaly_map", "objective"), [("standardised", "mse"), ("sum", "mse + nll")])
    def test_is_standardised_at_each_pixel_by_good_images_and_summed(self, anomaly_map, objective):
        torch.manual_seed(0)
        detector = PaperDetector(model(objective, dataclasses.replace(TINY, anomaly_map=anomaly_map))).eval()
        good: TrainingImages = images(7)  # type: ignore[assignment]  # the session above needs no more of them
        detector.fit_maps(good, LentSession())  # type: ignore[arg-type]
        expected = torch.zeros(2, 32, 32)
        new = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
        for of_good, of_new in zip(detector.network.maps(images(7)), detector.network.maps(new), strict=True):
            smooth = gaussian_smooth(of_good, TINY.smoothing)
            deviation = smooth.std(0, correction=0)
            expected += (gaussian_smooth(of_new, TINY.smoothing) - smooth.mean(0)) / (
                deviation + MODERATION * deviation.mean()
            )
        torch.testing.assert_close(detector.anomaly_map(new), expected, atol=1e-3, rtol=1e-3)

    def test_a_sum_needs_two_maps(self):
        for objective in ("mse", "nll"):
            with pytest.raises(ConfigError, match="does not have both"):
                PaperDetector(model(objective, dataclasses.replace(TINY, anomaly_map="sum")))


class TestRepaired:
    """The variant is a name for three settings, and nothing else."""

    SAME = dataclasses.replace(TINY, pretrained_patches=True, residual="gms", anomaly_map="sum")
    REPAIRED = dataclasses.replace(TINY, variant="repaired")

    def test_it_is_exactly_three_settings(self):
        assert dataclasses.replace(self.REPAIRED, variant="corrected") == self.SAME

    @pytest.mark.parametrize("objective", BOTH)
    def test_it_scores_as_these_settings_do(self, objective):
        repaired, same = (PaperDetector(model(objective, config)).eval() for config in (self.REPAIRED, self.SAME))
        torch.testing.assert_close(repaired.anomaly_map(images()), same.anomaly_map(images()), rtol=0, atol=0)

    def test_a_run_says_what_it_implies(self):
        config = apply_settings(preset_config("paper"), ["model.variant=repaired"])
        for line in ('variant = "repaired"', "pretrained_patches = true", 'residual = "gms"', 'anomaly_map = "sum"'):
            assert line in to_toml(config)
        assert from_toml(to_toml(config), "run") == config

    @pytest.mark.parametrize("contradiction", ["residual=ms_ssim", "residual=squared", "pretrained_patches=false"])
    def test_a_setting_against_it_is_an_error(self, contradiction):
        name = contradiction.partition("=")[0]
        with pytest.raises(ConfigError, match=rf"model\.{name} is .*variant 'repaired' has .*leave it out"):
            apply_settings(preset_config("paper"), ["model.variant=repaired", f"model.{contradiction}"])

    def test_an_objective_without_both_maps_is_refused(self):
        with pytest.raises(ConfigError, match="does not have both"):
            PaperDetector(model("mse", self.REPAIRED))
