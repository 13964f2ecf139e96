"""The faithful variant against the published implementation: stored values, and a literal version of it."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.literal_vtadl import PublishedVtadl, patch_nll, structural_similarity
from vtadl.errors import BundleError
from vtadl.losses.objective import parse_objective
from vtadl.models.paper_network import PaperModel
from vtadl.models.reference_checkpoint import OBJECTIVE, load_reference, rearranged

TINY = {"size": 32, "patch": 8, "width": 32, "depth": 2, "heads": 4, "hidden": 48, "components": 3, "noise": 0.0}


def saved(model: PublishedVtadl, folder: Path) -> tuple[Path, Path]:
    """The two files that the published code would have saved."""
    paths = folder / "VT_AE.pt", folder / "G_estimate.pt"
    for part, path in zip((model.vt_ae, model.mdn), paths, strict=True):
        torch.save(part.state_dict(), path)
    return paths


def quiet(model: PaperModel) -> PaperModel:
    """The same model without noise in training."""
    config = type(model.config)(**{**vars(model.config), "noise": 0.0})
    silent = PaperModel(config, model.objective)
    silent.load_state_dict(model.state_dict())
    return silent


def training_loss(model: PaperModel, images: Tensor) -> Tensor:
    """The published loss: it adds -SSIM where the objective adds 1 - SSIM."""
    terms, _ = model.train().terms(images, seed=0, step=0, samples=range(len(images)))
    return sum(weight * terms[name] for name, weight in model.objective.terms) - 0.5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedVtadl, PaperModel]:
    torch.manual_seed(5)
    published = PublishedVtadl(**TINY)
    for module in published.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    model = load_reference(*saved(published, tmp_path_factory.mktemp("published")), heads=4)
    return published, quiet(model)


@pytest.fixture(scope="module")
def fill(shared: Path) -> ModuleType:
    folder = shared / "golden"
    if not folder.is_dir():
        pytest.skip(f"no stored values: {folder} is missing")
    sys.path.insert(0, str(folder))
    try:
        import fill
    finally:
        sys.path.remove(str(folder))
    return fill


@pytest.fixture(scope="module")
def stored(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "reference_forward.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def model(fill: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> PaperModel:
    folder = tmp_path_factory.mktemp("published")
    weights = {name: torch.from_numpy(value) for name, value in fill.reference_weights().items()}
    for prefix in ("vt_ae.", "mdn."):
        part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        torch.save(part, folder / f"{prefix}pt")
    return quiet(load_reference(folder / "vt_ae.pt", folder / "mdn.pt"))


@pytest.fixture(scope="module")
def images(fill: ModuleType) -> Tensor:
    return torch.from_numpy(fill.reference_input())


@pytest.fixture(scope="module")
def published() -> PublishedVtadl:
    return PublishedVtadl(**TINY)


class TestLiteral:
    """A tiny network with random weights."""

    def images(self) -> Tensor:
        return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def test_sizes_follow_from_the_shapes(self, pair):
        config = pair[1].config
        assert (config.image_size, config.patch_size, config.width, config.depth) == (32, 8, 32, 2)
        assert (config.heads, config.mlp_width, config.mixtures, config.variant) == (4, 48, 3, "faithful")

    def test_encoding_and_scores(self, pair):
        published, model = (part.eval() for part in pair)
        with torch.no_grad():
            encoded, vector, decoded = published.vt_ae(self.images())
            scores = patch_nll(encoded, *published.mdn(encoded))
            torch.testing.assert_close(model.encoder(self.images()), encoded)
            torch.testing.assert_close(model.vector(encoded), vector[:, 0], atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(model.decoder.stack(vector.reshape(-1, 8, 8, 8)).tanh(), decoded)
        torch.testing.assert_close(model.patch_scores(self.images()), scores)

    def test_map_is_the_upsampled_score_and_decodes_nothing(self, pair, monkeypatch):
        model = pair[1]
        monkeypatch.setattr(model.decoder, "forward", lambda *_: pytest.fail("the decoder ran"))
        scores = model.patch_scores(self.images()).reshape(3, 1, 4, 4)
        expected = torch.nn.functional.interpolate(scores, (32, 32), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(model.anomaly_map(self.images()), expected)

    def test_training_terms_and_gradients(self, pair):
        published, model = (copy.deepcopy(part).train() for part in pair)
        small = self.images()[:2]
        encoded, _, decoded = published.vt_ae(small)
        scores = patch_nll(encoded, *published.mdn(encoded))
        small_decoded = torch.nn.functional.interpolate(decoded, (32, 32), mode="bilinear", align_corners=False)
        loss = 5 * (small_decoded - small).square().mean() - 0.5 * structural_similarity(small_decoded, small)
        loss = loss + scores.sum(1).mean()
        torch.testing.assert_close(training_loss(model, small), loss)
        loss.backward()
        training_loss(model, small).backward()
        theirs = {
            name.removeprefix("vt_ae.").removeprefix("mdn."): parameter.grad
            for name, parameter in published.named_parameters()
        }
        pairs = [
            (model.encoder.positions.embedding, theirs["vt.pos_embedding"]),
            (model.encoder.blocks[0].mlp[2].bias, theirs["vt.transformer.layers.0.1.fn.fn.net.2.bias"]),
            (model.mixture.mean.weight, rearranged("mixture.mean.weight", theirs["mu.weight"])),
            (model.mixture.log_var.weight, rearranged("mixture.log_var.weight", theirs["sigma_sq.weight"])),
            (model.vector.projection.weight, rearranged("vector.projection.weight", theirs["Digcap.W"])),
        ]
        for stage, convolution in enumerate(model.decoder.stack.convolutions):
            pairs.append((convolution.weight, theirs[f"decoder.decoder2.{3 * stage}.weight"]))
        for ours, expected in pairs:
            # Rounding moves pixels across the kink of a ReLU, each of which is a small jump in the gradient.
            assert (ours.grad - expected).norm() <= 0.01 * expected.norm()


@pytest.mark.real_data
class TestStoredValues:
    """The published implementation's own outputs."""

    def agrees(self, ours: Tensor, stored: np.ndarray) -> None:
        difference = np.abs(ours.detach().numpy() - stored).max()
        assert ours.shape == stored.shape and difference <= 1e-4 * np.abs(stored).max()

    def test_evaluation(self, model, images, stored):
        model.eval()
        with torch.no_grad():
            encoded = model.encoder(images)
            self.agrees(encoded, stored["encoded"])
            self.agrees(model.vector(encoded)[:, None], stored["capsule"])
            mean, log_var = model.mixture.gaussians(encoded)
            log_weights, _ = model.mixture.components(encoded)
            terms, _ = model.terms(images, seed=0, step=0, samples=[0, 1])
        self.agrees(log_weights.exp(), stored["mixture_pi"])
        self.agrees(mean[..., ::16].transpose(2, 3), stored["mixture_mu_every_16th"])
        self.agrees(log_var[..., ::16].transpose(2, 3), stored["mixture_sigma_every_16th"])
        decoded = model.reconstruct(images)
        self.agrees(decoded[:, :, ::8, ::8], stored["reconstruction_every_8th"])
        self.agrees(decoded.mean((1, 2, 3)), stored["reconstruction_mean"])
        self.agrees(model.patch_scores(images), stored["patch_nll"])
        self.agrees(terms["mse"], stored["mse"])
        self.agrees(1 - terms["ssim"], stored["ssim"])
        self.agrees(terms["nll_reference"], stored["mixture_loss"])

    def test_training_loss_and_gradients(self, model, images, stored):
        model.zero_grad()
        loss = training_loss(model, images)
        self.agrees(loss, stored["training_loss"])
        loss.backward()
        ours = dict(model.named_parameters())
        compared = 0
        for name, norm in zip(stored["gradient_names"], stored["gradient_norms"], strict=True):
            gradient = published_gradient(str(name), ours)
            if is_shift_before_normalisation(str(name)):
                # A shift that normalisation takes out again: exactly zero, rounding aside, in both.
                assert norm < 1e-5 and gradient.norm() < 1e-5, name
            else:
                assert gradient.norm().item() == pytest.approx(norm, rel=1e-3), name
            compared += 1
        assert compared == len(ours) == 96


def is_shift_before_normalisation(name: str) -> bool:
    return name in {f"vt_ae.decoder.decoder2.{3 * stage}.bias" for stage in range(5)}


def published_gradient(name: str, ours: dict[str, torch.nn.Parameter]) -> Tensor:
    from vtadl.models.reference_checkpoint import _AUTOENCODER, _MIXTURE, _name

    part, _, rest = name.partition(".")
    translated = _name(rest, _AUTOENCODER if part == "vt_ae" else _MIXTURE)
    assert translated is not None
    gradient = ours[translated].grad
    assert gradient is not None
    if translated == "vector.projection.weight":
        # The stored norm is a float32 sum of 16.8 million squares in the published order, off by 0.0015 of itself.
        gradient = gradient.reshape(512, -1, 8).permute(1, 0, 2).contiguous()
    return gradient


class TestRefusals:
    """Files that are not what the published code saved."""

    def spoiled(self, published: PublishedVtadl, folder: Path, change: Callable[[dict], object]) -> tuple[Path, Path]:
        paths = saved(published, folder)
        state = torch.load(paths[0], weights_only=True)
        torch.save(change(state), paths[0])
        return paths

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: {"state_dict": dict(state), "epoch": 3}, "'state_dict' is dict, not a tensor"),
            (lambda state: {**state, "epoch": 3}, "'epoch' is int, not a tensor"),
            (lambda state: list(state.values()), "holds list; expected a state dict"),
            (lambda state: {**state, "extra.weight": torch.zeros(2)}, "unexpected tensor 'extra.weight'"),
            (lambda state: {**state, "vt.cls_token": torch.full((1, 1, 32), torch.nan)}, "holds NaN or infinite"),
            (
                lambda state: {**state, "vt.cls_token": torch.zeros(1, 1, 32).to_sparse()},
                "is no plain array of numbers",
            ),
            (lambda state: {**state, "vt.cls_token": torch.zeros(1, 1, 32, device="meta")}, "is no plain array"),
            (lambda state: {**state, "vt.cls_token": torch.zeros(1, 1, 32, dtype=torch.cfloat)}, "torch.complex64"),
            (lambda state: {**state, "Digcap.W": torch.zeros(3)}, "'Digcap.W' has the shape (3,)"),
            (lambda state: {**state, "vt.cls_token": torch.zeros(1, 1, 5)}, "should be (1, 1, 32) and is (1, 1, 5)"),
            (lambda state: {name: value for name, value in state.items() if "cls" not in name}, "is nothing"),
            (lambda state: {"vt.cls_token": state["vt.cls_token"]}, "expected the published VT_AE and G_estimate"),
            (lambda state: {}, "holds dict; expected a state dict"),
        ],
    )
    def test_unlike_the_published(self, published, tmp_path, change, message):
        with pytest.raises(BundleError) as error:
            load_reference(*self.spoiled(published, tmp_path, change), heads=4)
        assert message in str(error.value) and "\n" not in str(error.value)

    def test_pickled_code_never_runs(self, published, tmp_path):
        _, mixture = saved(published, tmp_path)
        torch.save(Bomb(tmp_path / "ran"), tmp_path / "VT_AE.pt")
        with pytest.raises(BundleError, match="no file of tensors alone") as error:
            load_reference(tmp_path / "VT_AE.pt", mixture)
        assert not (tmp_path / "ran").exists() and "\n" not in str(error.value)

    def test_whole_pickled_model(self, published, tmp_path):
        autoencoder, mixture = saved(published, tmp_path)
        torch.save(published.mdn, mixture)
        with pytest.raises(BundleError, match="no file of tensors alone"):
            load_reference(autoencoder, mixture)

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 nearly a zip file"])
    def test_no_checkpoint_at_all(self, published, tmp_path, content):
        autoencoder, mixture = saved(published, tmp_path)
        mixture.write_bytes(content)
        with pytest.raises(BundleError, match=r"G_estimate\.pt") as error:
            load_reference(autoencoder, mixture)
        assert "\n" not in str(error.value)

    def test_truncated(self, published, tmp_path):
        autoencoder, mixture = saved(published, tmp_path)
        autoencoder.write_bytes(autoencoder.read_bytes()[:5000])
        with pytest.raises(BundleError, match=r"VT_AE\.pt"):
            load_reference(autoencoder, mixture)

    def test_missing_and_swapped(self, published, tmp_path):
        autoencoder, mixture = saved(published, tmp_path)
        with pytest.raises(BundleError, match=r"no file .*none\.pt"):
            load_reference(tmp_path / "none.pt", mixture)
        with pytest.raises(BundleError, match=r"unexpected tensor 'pi\.weight'"):
            load_reference(mixture, autoencoder)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_objective_is_the_published_one():
    assert parse_objective(OBJECTIVE).terms == (("mse", 5.0), ("ssim", 0.5), ("nll_reference", 1.0))
