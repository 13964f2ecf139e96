"""README and docs stay true: every command in them is run, every file they name exists."""

import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.backbone_weights import save_hub, save_vit
from helpers.categories import make_category
from vtadl.cli import main
from vtadl.config.presets import DEFAULT_PRESET, PRESETS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
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
    # Presets take their time; that their commands run does not depend on the size of the images.
    for name, steps in ((DEFAULT_PRESET, None), ("context", 2)):
        preset = PRESETS[name]
        light = dataclasses.replace(
            preset,
            model=dataclasses.replace(preset.model, image_size=224),
            training=dataclasses.replace(preset.training, steps=steps),
        )
        monkeypatch.setitem(PRESETS, name, light)
    make_category(tmp_path / "parts", train=20, good=3, defective=3)
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
