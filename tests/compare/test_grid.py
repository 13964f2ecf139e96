"""Which cells a comparison has, and what is refused before any of them runs."""

import numpy as np
import pytest
from PIL import Image

from helpers.backbone_weights import save_vit
from helpers.categories import make_category
from vtadl.compare.grid import configurations, find_categories, plan_cells
from vtadl.compare.sweep import parse_sweep
from vtadl.errors import ConfigError, DataError

TINY = ["model.image_size=64", "model.patch_size=16", "model.width=32", "model.heads=2"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("cloth", "brick"):
        make_category(folder / name, train=4, good=2, defective=2)
    (folder / "notes").mkdir()
    (folder / "licence.txt").write_text("of no interest")
    return folder


def described(cells):
    return [(cell.name, cell.config.preset, cell.config.objective, cell.config.seed) for cell in cells]


def test_cells_are_categories_times_presets_times_objectives_times_seeds(root):
    cells = plan_cells(root, presets=["gaussian", "paper"], objectives=["mse+vae", "mse + nll"], seeds=[0, 3])
    assert described(cells) == [
        (category, preset, objective, seed)
        for category in ("brick", "cloth")
        for preset, objectives in (("gaussian", [None]), ("paper", ["mse + vae", "mse + nll"]))
        for objective in objectives
        for seed in ((0, 3) if objective else (0,))  # no seed changes a gaussian
    ]


def test_without_objectives_each_preset_has_its_own(root):
    cells = plan_cells(root, categories=["cloth"], presets=["paper", "memory"])
    assert described(cells) == [("cloth", "paper", "5*mse + 0.5*ssim + nll", 0), ("cloth", "memory", None, 0)]


def test_what_stands_there_twice_is_one_cell(root):
    cells = plan_cells(root, categories=["cloth", "cloth"], objectives=["mse+vae", "mse + vae"], seeds=[0, 0])
    assert len(cells) == 1


def test_a_setting_goes_to_the_presets_that_have_it():
    plain, trained = configurations(["gaussian", "paper"], [], [0], [*TINY, "training.steps=7"])
    assert trained.model.width == 32
    assert plain.model.image_size == trained.model.image_size == 64
    assert plain.training.steps == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"presets": ["nope"]}, "unknown preset 'nope'"),
        ({"objectives": ["mse + nope"]}, "unknown term 'nope'"),
        ({"presets": ["gaussian"], "objectives": ["mse"]}, "no chosen preset takes an objective"),
        ({"settings": ["model.widht=3"]}, "unknown key 'model.widht'"),
        ({"settings": ["training.steps"]}, "--set expects KEY=VALUE"),
        ({"settings": ["seed=3"]}, "takes it as --seeds"),
        ({"settings": ["model.heads=7"]}, "expected a multiple of model.heads"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(root, arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan_cells(root, **arguments)


def test_categories_that_are_not_there(root, tmp_path):
    with pytest.raises(DataError, match=r"no category 'clot' in .*did you mean 'cloth'"):
        plan_cells(root, categories=["clot"])
    with pytest.raises(DataError, match=r"no category '\.\.'"):
        plan_cells(root, categories=[".."])
    with pytest.raises(DataError, match=r"is itself a category; .* --categories cloth"):
        find_categories(root / "cloth", None)
    with pytest.raises(DataError, match="holds no category"):
        find_categories(root / "notes", None)
    with pytest.raises(DataError, match="is no folder"):
        find_categories(tmp_path / "nowhere", None)


def test_a_cell_has_another_place_when_its_images_or_settings_change(tmp_path):
    make_category(tmp_path / "cloth", train=4, good=2, defective=2)
    places = {plan_cells(tmp_path, presets=["gaussian"])[0].place}
    places.add(plan_cells(tmp_path, presets=["gaussian"], settings=["model.smoothing=2"])[0].place)
    places.add(plan_cells(tmp_path, presets=["gaussian"], seeds=[1])[0].place)
    (tmp_path / "cloth/train/good/000.png").rename(tmp_path / "cloth/train/good/renamed.png")
    places.add(plan_cells(tmp_path, presets=["gaussian"])[0].place)
    assert len(places) == 3  # a name is not content
    Image.fromarray(np.zeros((72, 72), np.uint8)).save(tmp_path / "cloth/ground_truth/square/000_mask.png")
    places.add(plan_cells(tmp_path, presets=["gaussian"])[0].place)
    assert len(places) == 4


def test_a_cell_has_another_place_when_the_weights_of_its_backbone_change(root, tmp_path):
    path = tmp_path / "backbone.safetensors"
    arguments = {
        "categories": ["cloth"],
        "presets": ["gaussian", "context"],
        "settings": [f"model.backbone=vit:{path}"],
    }
    arguments["settings"] += ["model.image_size=64", "model.pooling=1", "model.mask_radius=1"]
    places = []
    for seed in (0, 1, 0):
        save_vit(path, seed=seed)
        places.append([cell.place for cell in plan_cells(root, **arguments)])
    assert places[0] == places[2]
    assert not set(places[0]) & set(places[1])


def test_a_sweep_puts_each_value_in_the_weights_place():
    sweep = parse_sweep("a*mse + 2*vae", "a=10,0.1, 1")
    assert sweep.objectives == {0.1: "0.1*mse + 2*vae", 1.0: "mse + 2*vae", 10.0: "10*mse + 2*vae"}


@pytest.mark.parametrize(
    ("expression", "assignment", "message"),
    [
        ("a*mse + vae", "a", "expects a weight's values"),
        ("a*mse + vae", "b=1,2", "'b' must weigh one term"),
        ("a*mse + a*vae", "a=1", "must weigh one term"),
        ("a*mse + vae", "a=1,-2", "'-2' is no value"),
        ("a*mse + vae", "a=1,inf", "'inf' is no value"),
        ("a*mse + vae", "a=", "'' is no value"),
        ("a*nope + vae", "a=1", "unknown term 'nope'"),
        ("mse*mse + vae", "mse=1", "'mse' is a loss"),
    ],
)
def test_sweeps_that_cannot_be(expression, assignment, message):
    with pytest.raises(ConfigError, match=message):
        _ = parse_sweep(expression, assignment).objectives


def test_a_preset_that_draws_nothing_is_one_cell_whatever_the_seeds():
    seeds = [config.seed for config in configurations(["gaussian"], [], [3, 4, 5], [])]
    assert seeds == [3]
    assert [config.seed for config in configurations(["memory"], [], [3, 4], [])] == [3, 4]


def test_a_preset_with_settings_of_its_own_is_a_method_beside_it(root):
    presets = ["padim", "gaussian model.smoothing=2 training.batch_size=3", "gaussian model.smoothing=4"]
    cells = plan_cells(root, categories=["cloth"], presets=presets, settings=["model.image_size=64"])
    assert [cell.preset for cell in cells] == ["gaussian", presets[1]]  # the last changes nothing
    assert [(cell.config.preset, cell.config.model.smoothing) for cell in cells] == [("gaussian", 4), ("gaussian", 2)]
    assert all(cell.config.model.image_size == 64 for cell in cells)
    assert len({cell.place for cell in cells}) == 2


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("gaussian model.smothing=2", r"unknown key 'model.smothing' \(did you mean 'smoothing'\?\)"),
        ("gaussian seed=2", "--set seed=2: a comparison takes it as --seeds"),
        ("gaussian smoothing", "--set expects KEY=VALUE"),
        ("gausian model.smoothing=2", r"unknown preset 'gausian' \(did you mean 'gaussian'\?\)"),
        ("", "unknown preset ''"),
    ],
)
def test_a_preset_with_settings_that_cannot_be(preset, message):
    with pytest.raises(ConfigError, match=message):
        configurations([preset], [], [0], [])


def test_a_density_of_others_may_draw_something(monkeypatch, tmp_path):
    (tmp_path / "drawing.py").write_text(
        "import torch\n"
        "class Drawing(torch.nn.Module):\n"
        "    def __init__(self, width, grid):\n"
        "        super().__init__()\n"
        "    def fit(self, batches):\n"
        "        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = configurations(["gaussian model.density=drawing:Drawing"], [], [3, 4], [])
    assert [config.seed for config in found] == [3, 4]
