"""README and docs stay true: every command in them is run, every file they name exists."""

import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.backbone_weights import save_hub, save_vit
from helpers.categories import good_image, make_category
from vtadl.backbones.catalogue import KNOWN
from vtadl.cli import main
from vtadl.config.presets import DEFAULT_PRESET, PRESETS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        if document.name == "README.ko.md":  # its blocks are README's: see the last test
            continue
        text = document.read_text(encoding="utf-8")
        found += [(document.name, block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return found


def commands(block: str) -> list[list[str]]:
    joined = block.replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in joined.splitlines() if shlex.split(line, comments=True)]


@pytest.fixture
def workplace(tmp_path, monkeypatch, request):
    """A folder with what the documents assume: good parts in ``parts``, and a few new ones in ``new``."""
    if request.node.callspec.params["document"] in ("backbones.md", "context.md"):
        save_vit(tmp_path / "backbones/vit_small.safetensors", depth=8)
        save_vit(tmp_path / "backbones/vit_small_patch14_dinov2.safetensors", patch=14, layer_scale=True)
        save_hub(tmp_path / "backbones/dinov2-small", "Dinov2", patch_size=14, mlp_ratio=2)
        monkeypatch.setenv("VTADL_BACKBONES", str(tmp_path / "added"))
    if "backbones add" in request.node.callspec.params["block"]:
        save_vit(tmp_path / "model.safetensors", **KNOWN["dinov2-small"].shape, heads=6)
    # Presets take their time; that their commands run does not depend on the size of the images.
    for name, steps in ((DEFAULT_PRESET, None), ("gaussian", None), ("memory", None), ("context", 2)):
        preset = PRESETS[name]
        light = dataclasses.replace(
            preset,
            model=dataclasses.replace(preset.model, image_size=128),
            training=dataclasses.replace(preset.training, steps=steps),
        )
        monkeypatch.setitem(PRESETS, name, light)
    make_category(tmp_path / "parts", train=20, good=3, defective=3)
    # As many more are held out as a false-reject rate of 0.05 needs.
    (tmp_path / "parts/validation/good").mkdir(parents=True)
    for index in range(19):
        Image.fromarray(good_image(400 + index)).save(tmp_path / f"parts/validation/good/{index:03}.png")
    make_category(tmp_path / "sets/stripes", train=4, good=2, defective=2)
    (tmp_path / "new").mkdir()
    for file in (tmp_path / "parts/test/square").iterdir():
        (tmp_path / "new" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "part.png").write_bytes((tmp_path / "parts/test/square/000.png").read_bytes())
    for file in (tmp_path / "parts/test").rglob("*.png"):
        target = tmp_path / "saved" / file.relative_to(tmp_path / "parts").with_suffix(".npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.asarray(Image.open(file).convert("L"), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("document", "block"), blocks("console"))
def test_every_command_runs(workplace, document, block):
    for program, *arguments in commands(block):
        if program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(arguments) <= set(targets)
        else:
            assert program == "vtadl", f"{document}: {program} is not run by this test"
            assert main(arguments) == 0


@pytest.mark.parametrize(("document", "block"), blocks("python"))
def test_every_python_block_runs(workplace, document, block):
    exec(compile(block, document, "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (document.parent / target).exists(), target


def test_there_is_something_to_run():
    assert len(blocks("console")) >= 2
    assert len(blocks("python")) >= 1


def test_the_korean_readme_has_the_same_commands_and_figures():
    english, korean = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
    blocks_of = {text: re.findall(r"```\w+\n.*?```", text, re.DOTALL) for text in (english, korean)}
    assert blocks_of[korean] == blocks_of[english][: len(blocks_of[korean])]
    assert len(blocks_of[korean]) >= 5
    for kind in (r"`[^`\n]+`", r"\]\((?!README)[^)]+\)", r"\d+(?:\.\d+)?(?: %|장)?"):
        known = {found.replace("장", "") for found in re.findall(kind, english)}
        assert {found.replace("장", "") for found in re.findall(kind, korean)} <= known
