"""A backbone of the user's own weights: what it computes, what a run keeps of it, and files that cannot be."""

import os
import shutil

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.backbone_weights import SHAPE, save_vit
from helpers.categories import defective_image, good_image, make_category
from helpers.fitted import fit_to
from vtadl.backbones.build import build_backbone
from vtadl.cli import main
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.config.schema import BackboneConfig, Config, GaussianConfig, MemoryConfig
from vtadl.data.layouts import read_category
from vtadl.errors import BundleError, ConfigError
from vtadl.export.export import TOLERANCE, export_run
from vtadl.models.build import build_model
from vtadl.nn.vit import VisionTransformer, VitShape
from vtadl.runs.run import load_run
from vtadl.training.train import train_to


@pytest.fixture
def weights(tmp_path):
    return save_vit(tmp_path / "backbones/small.safetensors")


def backbone_of(path, **settings):
    return build_backbone(BackboneConfig(**{"backbone": f"vit:{path}", "image_size": 64, **settings}))


@pytest.mark.parametrize("layer_scale", [False, True])
@pytest.mark.parametrize("scaling", [None, "half", "imagenet"])
def test_it_scales_joins_blocks_and_stays_frozen(tmp_path, layer_scale, scaling):
    path = save_vit(tmp_path / "w.safetensors", layer_scale=layer_scale)
    backbone = backbone_of(path, backbone_blocks=(3, 1), backbone_scaling=scaling)
    network = VisionTransformer(VitShape(**{**SHAPE, "layer_scale": layer_scale}))
    network.load_state_dict(load_file(path))
    images = torch.rand(2, 3, 64, 64)
    if scaling == "imagenet" or (scaling is None and layer_scale):
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        scaled = (images - mean[:, None, None]) / deviation[:, None, None]
    else:
        scaled = 2 * images - 1
    with torch.no_grad():
        expected = torch.cat(network(scaled, (3, 1)), dim=1)
    torch.testing.assert_close(backbone(images), expected)
    torch.testing.assert_close(backbone(images, 2), torch.nn.functional.avg_pool2d(expected, 2))
    assert (backbone.width, backbone.stride, backbone.multiple) == (64, 16, 16)
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize(("layer_scale", "block"), [(True, 3), (False, 2)])
def test_the_last_block_is_taken_of_a_dino_and_the_middle_one_of_others(tmp_path, layer_scale, block):
    path = save_vit(tmp_path / "w.safetensors", layer_scale=layer_scale)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone_of(path)(images), backbone_of(path, backbone_blocks=(block,))(images))


def test_other_sizes_than_the_configured_one_go_too(weights):
    images = torch.rand(1, 3, 96, 128)
    assert torch.equal(backbone_of(weights)(images), backbone_of(weights, image_size=96)(images))


def test_heads_change_what_it_computes(weights):
    images = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(backbone_of(weights)(images), backbone_of(weights, backbone_heads=4)(images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone_blocks": (1, 4)}, r"backbone_blocks asks for block 4; 'vit:.*' has 3"),
        (
            {"backbone": "efficientnet-lite0", "backbone_blocks": (1,)},
            "backbone_blocks does not go with the backbone 'efficientnet",
        ),
        ({"backbone": "efficientnet-lite0", "backbone_heads": 1}, "backbone_heads does not go with"),
        ({"backbone": "hub:x", "backbone_scaling": "half"}, "backbone_scaling does not go with the backbone 'hub:x'"),
        ({"backbone": "vit"}, "unknown backbone 'vit'; choose from: efficientnet-lite0, vit:FILE, hub:FOLDER"),
        ({"backbone": "efficientnet-lite0:x"}, "unknown backbone"),
    ],
)
def test_settings_that_do_not_go_with_a_backbone(weights, settings, message):
    with pytest.raises(ConfigError, match=message):
        backbone_of(weights, **settings)


@pytest.mark.parametrize(
    ("patch", "side", "message"),
    [
        (14, 288, "expected a multiple of 14, at least 70, such as 294"),
        (14, 14, "such as 70"),
        (16, 100, "multiple of 16, at least 64, such as 96"),
    ],
)
def test_a_side_that_is_no_multiple_of_the_patch_is_refused(tmp_path, patch, side, message):
    path = save_vit(tmp_path / "w.safetensors", patch=patch)
    with pytest.raises(ConfigError, match=message):
        build_model(Config(preset="", model=GaussianConfig(backbone=f"vit:{path}", image_size=side)))


def test_gaussians_too_wide_for_memory_are_refused(tmp_path):
    path = save_vit(tmp_path / "w.safetensors", width=1024, patch=8, heads=16)
    with pytest.raises(ConfigError, match=r"32 x 32 positions over 3072 channels .* the preset memory"):
        build_model(
            Config(preset="", model=GaussianConfig(backbone=f"vit:{path}", image_size=512, backbone_blocks=(1, 2, 3)))
        )


def test_a_missing_file_says_where_to_get_it_and_how_to_point_at_it(tmp_path, capsys):
    make_category(tmp_path / "parts", train=4)
    options = ["--preset", "memory", "--set", f"model.backbone=vit:{tmp_path}/none.safetensors"]
    assert main(["train", str(tmp_path / "parts"), "--out", str(tmp_path / "run"), *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in (
        "no backbone weights at",
        "none.safetensors",
        "https://huggingface.co/timm/",
        "model.backbone",
        "VTADL_BACKBONES",
    ):
        assert part in error


def test_a_folder_of_weights_is_named_by_the_environment(weights, monkeypatch):
    monkeypatch.setenv("VTADL_BACKBONES", str(weights.parent))
    assert backbone_of("elsewhere/small.safetensors").checksum.path == weights
    with pytest.raises(BundleError, match=r"no backbone weights at 'other.safetensors'"):
        backbone_of("other.safetensors")
    with pytest.raises(BundleError, match="no backbone weights at ''"):
        backbone_of("")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("pickle", r"no readable safetensors file .* can run code and are never opened"),
        ("half", "no readable safetensors file"),
        ("folder", r"is no file; vit: takes a .safetensors file, hub: a folder"),
        ("pipe", "is no file"),
        ("endless", "is no file"),
        ("nan", r"tensor .* is not of finite numbers"),
        ("numbers", r"tensor .* is not of finite numbers"),
        ("foreign", r"there is no tensor patch_embed.proj.weight \(Hugging Face's own go with hub:FOLDER\)"),
        ("huge", "bytes; expected 8,000,000,000 at most"),
    ],
)
def test_files_that_cannot_be(weights, damage, message):
    content = weights.read_bytes()
    tensors = load_file(weights)
    if damage not in ("nan", "numbers", "foreign", "huge"):
        weights.unlink()
    match damage:
        case "pickle":
            torch.save(tensors, weights)
        case "half":
            weights.write_bytes(content[: len(content) // 2])
        case "folder":
            weights.mkdir()
        case "pipe":
            os.mkfifo(weights)
        case "endless":
            weights.symlink_to("/dev/zero")
        case "nan":
            tensors["norm.weight"][3] = torch.nan
            save_file(tensors, weights)
        case "numbers":
            save_file({**tensors, "norm.bias": torch.ones(32, dtype=torch.int32)}, weights)
        case "foreign":
            save_file({"embeddings.cls_token": torch.zeros(1, 1, 32)}, weights)
        case "huge":
            with weights.open("r+b") as file:
                file.truncate(8_000_000_001)  # takes no room on the disk
    with pytest.raises(BundleError, match=message):
        backbone_of(weights)


@pytest.fixture(scope="module", params=["gaussian", "memory"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    path = save_vit(root / "backbones/small.safetensors")
    category = read_category(make_category(root / "stripes", train=10, good=1, defective=1))
    settings = ["model.image_size=64", "model.backbone_blocks=[2, 3]"]
    config = apply_settings(preset_config(request.param), [f"model.backbone=vit:{path}", *settings])
    train_to(root / "run", config, category, torch.device("cpu"))
    return root


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    config = tmp_path / "copy/run/config.toml"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path / "copy")))
    return tmp_path / "copy"


def test_a_run_holds_the_checksum_of_its_backbone_and_not_the_backbone(trained):
    stored = load_file(trained / "run/weights.safetensors")
    assert [name for name in stored if name.startswith("backbone.")] == ["backbone.checksum.sha256"]
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(
        load_run(trained / "run").model.anomaly_map(images), load_run(trained / "run").model.anomaly_map(images)
    )


def test_other_weights_under_the_same_path_are_noticed(copy):
    load_run(copy / "run")
    save_vit(copy / "backbones/small.safetensors", seed=1)
    with pytest.raises(
        BundleError, match=r"small.safetensors' has other weights \(sha256 .*point model.backbone in its"
    ):
        load_run(copy / "run")
    save_vit(copy / "backbones/small.safetensors", width=64)
    with pytest.raises(BundleError, match="does not fit"):
        load_run(copy / "run")


def save_photo(path):
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(path)
    return path


def test_a_backbone_that_moved_is_asked_for_and_found_again(copy, monkeypatch, capsys):
    (copy / "backbones").rename(copy / "moved")
    arguments = ["predict", str(copy / "run"), str(save_photo(copy / "photo.png"))]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "no backbone weights at" in error
    assert error.count("\n") == 1
    monkeypatch.setenv("VTADL_BACKBONES", str(copy / "moved"))
    assert main(arguments) == 0


def test_a_detector_over_wide_patches_has_maps_of_its_images_size(trained):
    run = load_run(trained / "run")
    maps = run.model.anomaly_map(torch.rand(2, 3, 64, 64))
    assert maps.shape == (2, 64, 64)
    assert maps.isfinite().all()


def test_cosine_is_a_setting_of_the_memory(trained):
    config = MemoryConfig(backbone=f"vit:{trained}/backbones/small.safetensors", image_size=64, distance="cosine")
    detector = fit_to(build_model(Config(preset="", model=config)), torch.rand(2, 3, 64, 64))
    assert float(detector.anomaly_map(torch.rand(1, 3, 64, 64)).max()) <= 2


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_it_exports_with_its_positions_as_a_constant(trained, tmp_path, to):
    run = load_run(trained / "run")
    exported = export_run(run, tmp_path / "exported", to=to, images=[good_image(60), defective_image(61)[0]])
    assert exported.manifest.agreement["anomaly_map"] <= TOLERANCE
    if to == "onnx":
        graph = onnx.load(tmp_path / "exported/model.onnx").graph
        modes = {attribute.s for node in graph.node for attribute in node.attribute if attribute.name == "mode"}
        assert b"linear" in modes
        assert b"cubic" not in modes
