"""The package of docs/extending.md, installed as any other: its loss and backbone train, are compared and listed."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.config import plugins
from vtadl.errors import BundleError
from vtadl.runs.run import load_run

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs/extending.md").read_text(encoding="utf-8")
TINY = [
    *("--set", "model.image_size=64", "--set", "model.width=16", "--set", "model.heads=2", "--set", "model.depth=1"),
    *("--set", "training.steps=2", "--set", "model.mask_radius=1"),
]


def commands():
    lines = re.findall(r"^    (vtadl .+)$", DOCUMENT, re.MULTILINE)
    return {words[1]: words[1:] for words in map(shlex.split, lines) if words[1] == "compare"} | {
        words[words.index("--preset") + 1]: words[1:] for words in map(shlex.split, lines) if words[1] == "train"
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The document's package, as pip leaves it; a function adds more to it."""
    site = tmp_path / "site"
    about = site / "mylab-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.2\n")
    points = re.findall(r'^    \[project\.entry-points\."(.+?)"\]\n    (.+?) = "(.+?)"$', DOCUMENT, re.MULTILINE)
    assert len(points) == 2
    (site / "mylab.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)))

    def install(*more):
        groups = {}
        for group, name, value in (*points, *more):
            groups.setdefault(group, []).append(f"{name} = {value}")
        sections = [f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items()]
        (about / "entry_points.txt").write_text("\n".join(sections))
        plugins.installed.cache_clear()

    install()
    monkeypatch.syspath_prepend(str(site))
    plugins.installed.cache_clear()
    yield install
    plugins.installed.cache_clear()
    sys.modules.pop("mylab", None)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_category(tmp_path / "parts", train=12)
    make_category(tmp_path / "sets/stripes", train=6, good=2, defective=2)


@pytest.mark.usefixtures("package", "parts")
def test_the_documents_loss_trains_and_is_compared(tmp_path, capsys):
    found = commands()
    assert main([*found["context"], *TINY, "--quiet"]) == 0
    line = json.loads((tmp_path / "runs/parts/log.jsonl").read_text().splitlines()[0])
    assert {"charbonnier", "cosine"} <= set(json.dumps(line).replace('"', " ").replace(":", " ").split())
    assert load_run(tmp_path / "runs/parts").config.objective == "charbonnier + 0.1*cosine"
    assert main([*found["compare"], *TINY, "--quiet"]) == 0
    cells = json.loads((tmp_path / "runs/losses/table.json").read_text())
    assert {(cell["objective"], cell["status"]) for cell in cells} == {("mse", "done"), ("charbonnier", "done")}
    capsys.readouterr()
    assert main(["presets"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "charbonnier of the package mylab 1.2" in listed
    assert "gradients of the package mylab 1.2" in listed


@pytest.mark.usefixtures("package", "parts")
def test_the_loss_trains_images_too(tmp_path):
    sizes = [*("--set", "model.image_size=32", "--set", "model.patch_size=8", "--set", "model.mlp_width=16")]
    tiny = [*TINY[2:-2], *sizes, "--quiet"]
    command = ["train", "parts", "--preset", "paper", "--objective", "charbonnier", "--out", "run", *tiny]
    assert main(command) == 0
    assert main(["predict", "run", "parts/test", "--quiet"]) == 0


@pytest.mark.usefixtures("parts")
def test_the_documents_backbone_finds_defects_and_belongs_to_its_run(package, tmp_path, capsys):
    assert main([*commands()["gaussian"], "--set", "model.image_size=64", "--quiet"]) == 0
    assert main(["eval", "runs/parts", "parts", "--json", "report.json", "--quiet"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["image_AUROC"] > 0.9
    source = tmp_path / "site/mylab.py"
    source.write_text(source.read_text().replace("[-1.0, 0.0, 1.0]", "[-1.0, 0.0, 2.0]"))
    sys.modules.pop("mylab")
    with pytest.raises(BundleError, match="other weights"):
        load_run(tmp_path / "runs/parts")
    # Without the package the run says what it lacks.
    (tmp_path / "site/mylab-1.2.dist-info/entry_points.txt").write_text("")
    plugins.installed.cache_clear()
    capsys.readouterr()
    assert main(["predict", "runs/parts", "parts/test"]) == 1
    assert "unknown backbone 'gradients'" in capsys.readouterr().err


@pytest.mark.usefixtures("parts")
def test_what_is_wrong_with_a_package_is_said_in_a_line(package, tmp_path, capsys):
    source = tmp_path / "site/mylab.py"
    source.write_text(
        source.read_text()
        + "\n\ndef vector(a, b):\n    return (a - b).flatten()\n"
        + "\n\nclass Wide(Gradients):\n    width = 6\n\n\nclass Bare(nn.Module):\n    pass\n"
        + "\n\nclass Asking(Gradients):\n    def __init__(self, depth):\n        super().__init__()\n"
    )
    losses, backbones = "vtadl.losses", "vtadl.backbones"
    package(
        *((losses, "vector", "mylab:vector"), (losses, "gone", "mylab:gone"), (losses, "word", "mylab:__name__")),
        *((backbones, "wide", "mylab:Wide"), (backbones, "bare", "mylab:Bare")),
        (backbones, "asking", "mylab:Asking"),
    )
    context = ["--preset", "context", *TINY]
    cases = {
        ("--objective", "vector", *context): "loss 'vector' gave (",
        ("--objective", "gone", *context): "'gone' of the package mylab 1.2 cannot be imported",
        ("--objective", "word", *context): "loss 'word' is str; expected a function",
        ("--objective", "missing", *context): "unknown term 'missing'; choose from: mse,",
        ("--preset", "gaussian", "--set", "model.backbone=wide"): "backbone 'wide' gave (",
        ("--preset", "gaussian", "--set", "model.backbone=bare"): "backbone 'bare' is no class of torch.nn.Module with",
        ("--preset", "gaussian", "--set", "model.backbone=asking"): "backbone 'asking' cannot be made (",
    }
    for flags, words in cases.items():
        assert main(["train", "parts", "--out", "run", "--force", "--quiet", *flags]) == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1, err
