"""Backbones from Hugging Face folders, without a network: small random models that the tests save themselves."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.backbone_weights import save_hub
from vtadl.backbones import huggingface as hub_backbone
from vtadl.backbones.build import build_backbone
from vtadl.config.schema import BackboneConfig
from vtadl.errors import BundleError, ConfigError, DependencyError

KINDS = {
    "ViT": {"patch_size": 16, "intermediate_size": 48},
    "Dinov2": {"patch_size": 16, "mlp_ratio": 2},
    "Dinov2WithRegisters": {"patch_size": 16, "mlp_ratio": 2, "use_swiglu_ffn": True},
    "DINOv3ViT": {"patch_size": 16, "intermediate_size": 48, "num_register_tokens": 2},
}


def save_model(folder, kind, seed=0):
    return save_hub(folder, kind, seed, **KINDS[kind])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    return root, {kind: save_model(root / kind, kind) for kind in KINDS}


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", "Dinov2")
    return tmp_path / "model"


def backbone_of(folder, **settings):
    return build_backbone(BackboneConfig(**{"backbone": f"hub:{folder}", "image_size": 96, **settings}))


def change_config(folder, **values):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (96, 128)], ids=str)
def test_its_last_block_is_what_transformers_gives(saved, kind, size):
    root, models = saved
    backbone = backbone_of(root / kind, backbone_blocks=(1, 3))
    images = torch.rand(2, 3, *size)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (images - mean[:, None, None]) / deviation[:, None, None]
    options = {"interpolate_pos_encoding": True} if kind == "ViT" else {}
    with torch.no_grad():
        tokens = models[kind](pixel_values=scaled, **options).last_hidden_state
    rows, columns = size[0] // 16, size[1] // 16
    expected = tokens[:, -rows * columns :].transpose(1, 2).reshape(2, 32, rows, columns)
    embeddings = backbone(images)
    assert (backbone.width, backbone.stride, backbone.multiple) == (64, 16, 16)
    torch.testing.assert_close(embeddings[:, 32:], expected)
    assert not torch.allclose(embeddings[:, :32], expected)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_colours_are_scaled_as_its_own_preprocessor_says(folder):
    images = torch.rand(1, 3, 96, 96)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0, 0.5], "image_std": [0.5, 1, 0.25]}')
    theirs = backbone_of(folder)(images)
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    shift, scale = torch.tensor([0.5, 0, 0.5]).view(3, 1, 1), torch.tensor([0.5, 1, 0.25]).view(3, 1, 1)
    torch.testing.assert_close(backbone_of(folder)((images - shift) / scale), theirs)


def test_its_checksum_is_of_all_that_is_used(folder):
    def checksum():
        return backbone_of(folder).checksum.sha256.tolist()

    first = checksum()
    assert checksum() == first
    (folder / "README.md").write_text("more")
    assert checksum() == first
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    second = checksum()
    assert second != first
    save_model(folder, "Dinov2", seed=1)
    assert checksum() not in (first, second)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama'; expected one of: dinov2, dinov2_with_registers"),
        ({"model_type": ["x"]}, "is of model_type"),
        ({"model_type": "gone"}, "is of model_type None"),
        ({"hidden_size": 10**9}, "hidden_size 1000000000; expected a whole number up to 8,192"),
        ({"hidden_size": "32"}, "hidden_size '32'"),
        ({"hidden_size": "gone"}, "has no hidden_size"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_hidden_layers": 100}, r"holds [\d,]+ weights, and its config.json claims [\d,]+"),
        ({"image_size": 4096, "patch_size": 1}, "weights, and its config.json claims"),
        ({"hidden_size": 8192}, "weights, and its config.json claims"),
        ({"patch_size": [16, 16]}, r"patch_size \[16, 16\]; expected a whole number"),
        ({"patch_size": 0}, "has no patch_size"),
        ({"num_attention_heads": 5}, "cannot be read"),
        ({"hidden_act": "__import__"}, "cannot be read"),
        ({"hidden_act": 3}, "hidden_act 3; expected str"),
        ({"qkv_bias": "yes"}, "qkv_bias 'yes'; expected bool"),
        ({"qkv_bias": False, "hidden_size": 16}, "cannot be read"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(folder, values, message):
    change_config(folder, **values)
    with pytest.raises(BundleError, match=message) as caught:
        backbone_of(folder)
    assert len(str(caught.value)) < 700


def test_settings_that_would_run_code_are_not_roi_mask(folder):
    before = backbone_of(folder)(torch.ones(1, 3, 96, 96))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    change_config(
        folder,
        auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"},
        quantization_config={"quant_method": "torchao"},
        _attn_implementation="somebody/kernels",
    )
    assert torch.equal(backbone_of(folder)(torch.ones(1, 3, 96, 96)), before)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no config", "there is no '.*config.json'"),
        ("config of noise", "is damaged"),
        ("config of a list", "expected an object"),
        ("no weights", "has no model.safetensors; pickled weights .* never opened"),
        ("weights cut off", "cannot be read"),
        ("a tensor gone", "weights, and its config.json claims"),
        ("a tensor renamed", "lacks 1 tensors, such as encoder"),
        ("nan", "NaN or infinity"),
        ("colours", "image_mean .*expected three numbers each"),
        ("a file", "there is no '.*config.json'"),
    ],
)
def test_folders_that_cannot_be(folder, damage, message):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    matrix = next(name for name, tensor in tensors.items() if "layer.0" in name and tensor.ndim == 2)
    match damage:
        case "no config":
            (folder / "config.json").unlink()
        case "config of noise":
            (folder / "config.json").write_bytes(bytes(range(256)))
        case "config of a list":
            (folder / "config.json").write_text("[]")
        case "no weights":
            weights.rename(folder / "pytorch_model.bin")
        case "weights cut off":
            weights.write_bytes(weights.read_bytes()[:5000])
        case "a tensor gone":
            tensors.pop(matrix)
        case "a tensor renamed":
            tensors["other"] = tensors.pop(matrix)
        case "nan":
            tensors[matrix][0, 0] = torch.nan
        case "colours":
            (folder / "preprocessor_config.json").write_text('{"image_std": [0, 0, 0]}')
        case "a file":
            folder = weights
    if damage in ("a tensor gone", "a tensor renamed", "nan"):
        save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(BundleError, match=message):
        backbone_of(folder)


def test_what_is_no_folder_and_no_name_is_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_backbone, "_import", lambda name: pytest.fail("nothing is to be downloaded"))
    for given in (tmp_path / "none", "./none", "a/b/c", "", "name"):
        with pytest.raises(BundleError, match=r"no backbone weights at '.*'; get config.json, model.safetensors"):
            backbone_of(given)


def test_a_name_is_downloaded_and_without_a_network_a_line_says_how_to_get_it(folder, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(folder))
    assert backbone_of("facebook/dinov2-small").width == 32
    assert asked == [
        (
            ("facebook/dinov2-small",),
            {"allow_patterns": ["config.json", "model.safetensors", "preprocessor_config.json"]},
        )
    ]

    def offline(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BundleError, match=r"ConnectionError: no route to host\).*hf download facebook/dinov2-small"):
        backbone_of("facebook/dinov2-small")


def test_without_transformers_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DependencyError, match=r"needs transformers; fix: pip install 'vtadl\[hub\]'"):
        backbone_of(folder)


@pytest.mark.parametrize(("kind", "block"), [("ViT", 2), ("Dinov2", 3)])
def test_the_last_block_is_taken_of_a_dino_and_the_middle_one_of_others(saved, kind, block):
    images = torch.rand(1, 3, 96, 96)
    folder = saved[0] / kind
    assert torch.equal(backbone_of(folder)(images), backbone_of(folder, backbone_blocks=(block,))(images))


def test_a_block_that_it_does_not_have(folder):
    with pytest.raises(ConfigError, match=r"block 4; 'hub:.*' has 3"):
        backbone_of(folder, backbone_blocks=(4,))
