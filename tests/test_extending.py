"""The pieces of docs/extending.md train, are compared and are loaded again: by name, as objects and as a package."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vtadl
from helpers.categories import defective_image, good_image, make_category
from vtadl.cli import main
from vtadl.config import plugins
from vtadl.config.overrides import to_toml
from vtadl.errors import BundleError, PluginError
from vtadl.runs.run import load_run

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs/extending.md").read_text(encoding="utf-8")
MODULE = "\n\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL))
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (vtadl .+)$", DOCUMENT, re.MULTILINE)]
TINY = [
    *("--set", "model.image_size=64", "--set", "model.width=16", "--set", "model.heads=2", "--set", "model.depth=1"),
    *("--set", "training.steps=2", "--set", "model.mask_radius=1"),
]
SIZE = ["--set", "model.image_size=64"]


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    """A folder to work in with a category, a comparison's root, and no name given yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_given", {})
    make_category(tmp_path / "parts", train=12)
    make_category(tmp_path / "sets/stripes", train=6, good=2, defective=2)
    yield
    sys.modules.pop("mylab", None)


def write_module(more=""):
    Path("mylab.py").write_text(f"{MODULE}\n\n{more}")


def forget():
    """What another process knows: nothing was named in it, and nothing imported."""
    plugins._given.clear()
    sys.modules.pop("mylab", None)


def trainings(preset):
    return [command for command in COMMANDS if command[0] == "train" and command[3] == preset]


class TestByName:
    def test_the_loss_trains_and_is_compared(self):
        write_module()
        ((*command,),) = trainings("context")
        assert main([*command, *TINY, "--quiet"]) == 0
        line = Path("runs/parts/log.jsonl").read_text().splitlines()[0]
        assert "mylab:charbonnier" in line and "cosine" in line
        assert load_run(Path("runs/parts")).config.objective == "mylab:charbonnier + 0.1*cosine"
        self.compared("runs/losses", TINY, {"mse", "mylab:charbonnier"}, "objective")

    @pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
    def test_the_density_finds_defects_and_is_compared(self, workers):
        write_module()
        command = next(command for command in trainings("gaussian") if "model.density" in command[-1])
        assert main([*command, *SIZE, "--quiet"]) == 0
        self.finds_defects()
        presets = {"gaussian", "gaussian model.density=mylab:Diagonal"}
        self.compared("runs/densities", [*SIZE, "--workers", workers], presets, "preset")

    def test_the_backbone_finds_defects_and_is_compared(self):
        write_module()
        command = next(command for command in trainings("gaussian") if "model.backbone" in command[-1])
        assert main([*command, *SIZE, "--quiet"]) == 0
        self.finds_defects()
        presets = {"gaussian", "gaussian model.backbone=mylab:Gradients"}
        self.compared("runs/backbones", SIZE, presets, "preset")

    def test_it_is_that_backbone_whose_embeddings_are_compared_by_channel(self):
        write_module()
        assert main(["train", "parts", "--set", "model.backbone=mylab:Gradients", *SIZE, "--quiet"]) == 0
        assert not load_run(Path("runs/parts")).model.components[1].density.cosine  # a CNN's, no transformer's

    def finds_defects(self):
        assert main(["eval", "runs/parts", "parts", "--json", "report.json", "--quiet"]) == 0
        assert json.loads(Path("report.json").read_text())["image_AUROC"] > 0.9

    def compared(self, out, flags, methods, key):
        (command,) = (command for command in COMMANDS if command[0] == "compare" and command[3] == out)
        assert main([*command, *flags, "--quiet"]) == 0
        cells = json.loads(Path(out, "table.json").read_text())
        assert {(cell[key], cell["status"]) for cell in cells} == {(method, "done") for method in methods}
        table = Path(out, "table.tex").read_text()
        for method in methods:
            assert method.replace("_", r"\_") in table
        settings = json.loads(Path(out, "comparison.json").read_text())["settings"]
        own = [lines for preset, lines in settings.items() if " " in preset]
        assert all("mylab:" in " ".join(lines) for lines in own) and len(own) == (key == "preset")

    def test_the_loss_trains_images_too(self):
        write_module()
        sizes = [*("--set", "model.image_size=32", "--set", "model.patch_size=8", "--set", "model.mlp_width=16")]
        tiny = [*TINY[2:-2], *sizes, "--quiet"]
        command = ["train", "parts", "--preset", "paper", "--objective", "mylab:charbonnier", "--out", "run", *tiny]
        assert main(command) == 0
        assert main(["predict", "run", "parts/test", "--quiet"]) == 0


class TestRunFolder:
    """What it names is imported only if whoever reads it says so."""

    @pytest.mark.parametrize(
        "flags",
        [
            ["--preset", "gaussian", "--set", "model.density=mylab:Diagonal", *SIZE],
            ["--preset", "gaussian", "--set", "model.backbone=mylab:Gradients", *SIZE],
            ["--preset", "context", "--objective", "mylab:charbonnier", *TINY],
        ],
        ids=["density", "backbone", "loss"],
    )
    def test_its_names_are_given_again(self, flags, capsys):
        write_module()
        assert main(["train", "parts", "--out", "run", *flags, "--quiet"]) == 0
        (name,) = plugins.given()
        forget()
        for command in (["predict", "run", "parts/test"], ["eval", "run", "parts"], ["calibrate", "run"]):
            capsys.readouterr()
            assert main(command) == 2
            err = capsys.readouterr().err
            assert f"add --plugin {name} (in Python: vtadl.load(..., plugins=['{name}']))" in err
            assert err.count("\n") == 1
        assert main(["info", "run"]) == 0  # says what it is, without the network
        with pytest.raises(PluginError, match=name):
            vtadl.load("run")
        with pytest.raises(PluginError, match=name):  # its settings are a file's word too
            main(["--debug", "train", "parts", "--out", "other", "--config", "run/config.toml"])
        assert "mylab" not in sys.modules
        assert main(["predict", "run", "parts/test", "--plugin", name, "--quiet"]) == 0
        forget()
        vtadl.load("run", plugins=[name]).predict(good_image(1))
        assert main(["train", "parts", "--out", "other", "--config", "run/config.toml", "--quiet"]) == 0

    def test_an_interrupted_training_resumes_with_the_same_command(self):
        write_module()
        command = ["train", "parts", "--preset", "context", "--objective", "mylab:charbonnier", *TINY, "--quiet"]
        assert main([*command, "--out", "run"]) == 0
        for name in ("run.json", "weights.safetensors"):
            Path("run", name).unlink()
        forget()
        assert main([*command, "--out", "run", "--resume"]) == 0

    def test_a_density_with_other_numbers_of_rows_is_read_back(self):
        write_module(
            "class Nearest(nn.Module):\n"
            "    def __init__(self, width, grid):\n"
            "        super().__init__()\n"
            "        self.register_buffer('rows', torch.zeros(0, width))\n"
            "    def fit(self, batches):\n"
            "        self.rows = torch.cat([batch.mean((2, 3)) for batch in batches])\n"
            "    def forward(self, x):\n"
            "        batch, width, high, wide = x.shape\n"
            "        rows = x.permute(0, 2, 3, 1).reshape(-1, width)\n"
            "        return torch.cdist(rows, self.rows).amin(1).view(-1, high, wide)\n"
        )
        detector = vtadl.train("parts", preset="gaussian", density="mylab:Nearest", model={"image_size": 64})
        detector.save("run")
        score = detector.predict(good_image(1)).score
        assert vtadl.load("run").predict(good_image(1)).score == score


class TestObjects:
    def test_the_documents_program_runs(self, tmp_path, monkeypatch):
        write_module()
        monkeypatch.syspath_prepend(str(tmp_path))
        program = DOCUMENT[DOCUMENT.index("    import vtadl\n") : DOCUMENT.index("## As a package")]
        program = re.sub(r"^    ", "", program, flags=re.MULTILINE)
        tiny = 'model={"image_size": 64, "width": 16, "heads": 2, "depth": 1, "mask_radius": 1}, training={"steps": 2},'
        program = program.replace('preset="gaussian", ', 'preset="gaussian", model={"image_size": 64}, ')
        program = program.replace('preset="context", ', f'preset="context", {tiny} ')
        found = {}
        exec(compile(program, "extending.md", "exec"), found)
        assert found["trained"].config.objective == "mylab:charbonnier + 0.1*cosine"
        detector = found["detector"]
        assert detector.predict(defective_image(300)[0]).score > 1.5 * detector.predict(good_image(301)).score
        assert 'density = "mylab:Diagonal"' in to_toml(detector.config)
        forget()
        with pytest.raises(PluginError, match="mylab:"):
            vtadl.load("runs/own")
        assert main(["predict", "runs/own", "parts/test", "--plugin", "mylab:Diagonal", "--quiet"]) == 2
        both = ["--plugin", "mylab:Diagonal", "--plugin", "mylab:Gradients"]
        assert main(["predict", "runs/own", "parts/test", *both, "--quiet"]) == 0

    def test_what_is_defined_in_a_function_is_given_as_itself(self):
        class Scaled(torch.nn.Module):
            """Learns by gradient, which needs no ``torch.enable_grad`` of its own."""

            def __init__(self, width, grid, steps):
                super().__init__()
                self.centre, self.steps = torch.nn.Parameter(torch.zeros(width, 1, 1)), steps

            def fit(self, batches):
                optimiser = torch.optim.Adam(self.parameters(), 0.1)
                for embeddings in batches:
                    for _ in range(self.steps):
                        optimiser.zero_grad()
                        self(embeddings).square().mean().backward()
                        optimiser.step()

            def forward(self, embeddings):
                return (embeddings - self.centre).square().mean(1).sqrt()

        def made(width, grid):
            return Scaled(width, grid, steps=3)

        own = {"preset": "gaussian", "model": {"image_size": 64}}
        detector = vtadl.train("parts", density=made, **own)
        assert float(detector.run.model.density.density.centre.detach().abs().max()) > 0.1
        detector.save("run")
        forget()
        again = vtadl.load("run", plugins=[made])
        np.testing.assert_array_equal(
            again.predict(good_image(1)).anomaly_map, detector.predict(good_image(1)).anomaly_map
        )
        loss = vtadl.train(
            "parts",
            preset="context",
            objective=lambda reconstruction, target: (reconstruction - target).abs().mean(),
            model={"image_size": 64, "width": 16, "heads": 2, "depth": 1, "mask_radius": 1},
            training={"steps": 2},
        )
        assert loss.config.objective.endswith("locals.lambda")


class TestPackage:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """The document's package, as pip leaves it; a function adds more to it."""
        site = tmp_path / "site"
        about = site / "mylab-1.2.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.2\n")
        points = re.findall(r'^    \[project\.entry-points\."(.+?)"\]\n    (.+?) = "(.+?)"$', DOCUMENT, re.MULTILINE)
        assert len(points) == 3
        (site / "mylab.py").write_text(MODULE)

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

    def test_its_names_train_are_listed_and_need_no_word_to_be_read(self, package, capsys):
        assert main(["train", "parts", "--preset", "gaussian", "--set", "model.density=diagonal", *SIZE]) == 0
        objective = ["--objective", "charbonnier + 0.1*cosine"]
        assert main(["train", "parts", "--out", "run", "--preset", "context", *objective, *TINY, "--quiet"]) == 0
        forget()
        assert main(["predict", "runs/parts", "parts/test", "--quiet"]) == 0
        assert main(["predict", "run", "parts/test", "--quiet"]) == 0
        capsys.readouterr()
        assert main(["presets"]) == 0
        listed = " ".join(capsys.readouterr().out.split())
        for name in ("charbonnier", "diagonal", "gradients"):
            assert f"{name} of the package mylab 1.2" in listed

    def test_a_backbone_belongs_to_its_run(self, package, tmp_path, capsys):
        backbone = ["--set", "model.backbone=gradients"]
        assert main(["train", "parts", "--preset", "gaussian", *backbone, *SIZE, "--quiet"]) == 0
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

    def test_what_is_wrong_is_said_in_a_line(self, package, tmp_path, capsys):
        source = tmp_path / "site/mylab.py"
        source.write_text(
            source.read_text()
            + "\n\ndef vector(a, b):\n    return (a - b).flatten()\n"
            + "\n\nclass Wide(Gradients):\n    width = 6\n\n\nclass Bare(nn.Module):\n    pass\n"
            + "\n\nclass Asking(Gradients):\n    def __init__(self, depth):\n        super().__init__()\n"
            + "\n\nclass Flat(Diagonal):\n    def forward(self, x):\n        return x.mean((1, 2, 3))\n"
            + "\n\nclass Unfit(nn.Module):\n    def __init__(self, width, grid):\n        super().__init__()\n"
        )
        losses, backbones = "vtadl.losses", "vtadl.backbones"
        package(
            *((losses, "vector", "mylab:vector"), (losses, "gone", "mylab:gone"), (losses, "word", "mylab:__name__")),
            *((backbones, "wide", "mylab:Wide"), (backbones, "bare", "mylab:Bare")),
            (backbones, "asking", "mylab:Asking"),
        )
        context = ["--preset", "context", *TINY]
        gaussian = ["--preset", "gaussian", "--set"]
        cases = {
            ("--objective", "vector", *context): "loss 'vector' gave (",
            ("--objective", "gone", *context): "'gone' of the package mylab 1.2 cannot be imported",
            ("--objective", "word", *context): "loss 'word' is str; expected a function",
            ("--objective", "missing", *context): "unknown term 'missing'; choose from: mse,",
            ("--objective", "mylab:gone", *context): "'mylab:gone' cannot be imported (module 'mylab' has no attribute",
            ("--objective", "nowhere.at:all", *context): "'nowhere.at:all' cannot be imported (No module named",
            (*gaussian, "model.backbone=wide"): "backbone 'wide' gave (",
            (*gaussian, "model.backbone=bare"): "backbone 'bare' is no class of torch.nn.Module with",
            (*gaussian, "model.backbone=asking"): "backbone 'asking' cannot be made (",
            (*gaussian, "model.backbone=mylab:charbonnier"): "backbone 'mylab:charbonnier' is no class of torch.nn.Mod",
            (*gaussian, "model.density=missing"): "unknown density 'missing'; choose from: module:attribute, diagonal",
            (*gaussian, "model.density=mylab:Flat"): "density 'mylab:Flat' gave (",
            (*gaussian, "model.density=mylab:Bare"): "density 'mylab:Bare' cannot be made (",
            (*gaussian, "model.density=mylab:Unfit"): "density 'mylab:Unfit' makes no torch.nn.Module with a method",
        }
        for flags, words in cases.items():
            assert main(["train", "parts", "--out", "run", "--force", "--quiet", *flags]) == 2
            err = capsys.readouterr().err
            assert words in err and err.count("\n") == 1, err
