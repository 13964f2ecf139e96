"""Running a comparison: cells that fail, resume, run side by side; what is written."""

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from helpers.categories import make_category
from helpers.forks import start_command
from vtadl.cli import main
from vtadl.commands.compare import METRIC as DEFAULT_METRIC
from vtadl.compare.cells import run_cell
from vtadl.compare.charts import BOTTOM, LINE, SWEEP_HEIGHT, _apart, sweep_chart
from vtadl.compare.compare import compare
from vtadl.compare.grid import plan_cells
from vtadl.compare.outcomes import CELL_FILE, Outcome, read_outcome
from vtadl.compare.pictures import choose_images
from vtadl.compare.results import METRICS, Results
from vtadl.compare.sweep import parse_sweep
from vtadl.compare.tables import tabulate
from vtadl.compare.text import settings_text
from vtadl.compare.workers import run_side_by_side
from vtadl.errors import BundleError, ConfigError, DependencyError

CPU = torch.device("cpu")
TINY = ["model.image_size=64", "model.patch_size=16", "model.width=16", "model.mlp_width=16", "model.depth=1"]
TINY += ["model.heads=2", "model.mixtures=2", "training.steps=3", "training.batch_size=2"]
FILES = (
    "table.json",
    "table.csv",
    "pairs.csv",
    *(f"comparison.{kind}" for kind in ("json", "csv", "md", "html")),
    "table.tex",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("brick", "cloth"):
        make_category(folder / name, train=5, good=2, defective=3)
    return folder


@pytest.fixture(scope="module")
def cells(root):
    return plan_cells(root, objectives=["mse + vae", "mse + nll"], settings=TINY)


@pytest.fixture(scope="module")
def finished(cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "out"
    compare(cells, out, CPU, metric=DEFAULT_METRIC)
    return out


def written(out):
    return {name: (out / name).read_bytes() for name in FILES}


def test_the_table_has_one_object_a_cell(finished):
    rows = json.loads((finished / "table.json").read_text())
    assert [(row["category"], row["objective"]) for row in rows] == [
        (category, objective) for category in ("brick", "cloth") for objective in ("mse + vae", "mse + nll")
    ]
    for row in rows:
        assert list(row) == ["category", "preset", "objective", "seed", "status", "figures", "error"]
        assert (row["preset"], row["seed"], row["status"], row["error"]) == ("paper", 0, "done", None)
        assert tuple(row["figures"]) == METRICS
        assert all(0 <= value <= 1 for value in row["figures"].values())


def test_every_pair_is_in_the_csv_as_in_the_json(finished):
    with (finished / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stored = json.loads((finished / "comparison.json").read_text())["metrics"]
    assert len(rows) == len(METRICS) * (1 + 2)  # one pair over the categories, and in each of two
    for metric in METRICS:
        over, *inside = (row for row in rows if row["metric"] == metric)
        (pair,) = stored[metric]["across_categories"]
        assert (over["over"], over["p"], over["why"]) == (
            "categories",
            "",
            "a two-sided p below 0.05 needs 6 categories",
        )
        assert float(over["difference"]) == pair["difference"]
        for row, one in zip(inside, stored[metric]["within_categories"], strict=True):
            assert (row["over"], row["category"]) == ("images", one["category"])
            assert [row["first_objective"], row["second_objective"]] == ["mse + vae", "mse + nll"]
            numbers = [float(row[key]) for key in ("difference", "low", "high", "p")]
            comparison = one["comparison"]
            assert numbers == [comparison["difference"], *comparison["interval"], comparison["p"]]


def test_what_was_changed_of_a_preset_is_said(finished, root, tmp_path):
    said = "Settings: paper with model.image_size (512, now 64), model.patch_size (64, now 16)"
    assert said in (finished / "comparison.md").read_text()
    assert said in (finished / "comparison.html").read_text()
    changed = json.loads((finished / "comparison.json").read_text())["settings"]
    assert "training.steps (None, now 3)" in changed["paper"]
    settings = ["training.batch_size=2", "model.image_size=64", "model.patch_size=16"]
    plain = plan_cells(root, presets=["gaussian", "paper"], settings=settings, seeds=[3])
    results = Results(out=tmp_path, cells=tuple(plain), outcomes={}, metric=DEFAULT_METRIC)
    assert results.settings == {
        "gaussian": ["model.image_size (288, now 64)"],  # which is not trained
        "paper": ["model.image_size (512, now 64)", "model.patch_size (64, now 16)", "training.batch_size (8, now 2)"],
    }
    results = Results(
        out=tmp_path, cells=tuple(plan_cells(root, presets=["paper"], seeds=[3])), outcomes={}, metric=DEFAULT_METRIC
    )
    assert settings_text(results.settings) == "Settings: paper as it comes."


def test_the_metrics_are_those_of_train_and_eval(finished, cells, capsys):
    for cell in cells[:1]:
        run = finished / cell.place / "run"
        assert main(["eval", str(run), str(cell.category.root), "--json", "-", "--device", "cpu"]) == 0
        metrics = json.loads(capsys.readouterr().out)
        row = json.loads((finished / "table.json").read_text())[0]
        assert {name: metrics[name] for name in METRICS} == row["figures"]


def test_done_cells_are_read_and_not_run_again(finished, cells, monkeypatch):
    before = written(finished)
    monkeypatch.setattr("vtadl.compare.cells.train_to", None)
    seen = []
    compare(cells, finished, CPU, metric=DEFAULT_METRIC, done=lambda cell, outcome: seen.append(cell))
    assert seen == cells
    assert written(finished) == before


def test_a_failed_cell_is_a_row_and_the_others_continue(cells, tmp_path):
    broken = make_category(tmp_path / "sets/broken", train=5, good=2, defective=2)
    (broken / "test/good/001.png").write_bytes(b"holiday notes")
    some = plan_cells(tmp_path / "sets", objectives=["mse + vae"], settings=TINY) + cells[:1]
    results = compare(some, tmp_path / "out", CPU, metric=DEFAULT_METRIC)
    assert results.failed == 1
    failed, done = json.loads((tmp_path / "out/table.json").read_text())
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert "001.png" in failed["error"]
    assert set(failed["figures"].values()) == {None}
    assert "001.png" in (tmp_path / "out/comparison.md").read_text()
    page = (tmp_path / "out/comparison.html").read_text()
    assert re.search(r'<td class="text">[^<]*001\.png', page)  # wraps
    (broken / "test/good/001.png").write_bytes((broken / "test/good/000.png").read_bytes())
    again = compare(
        plan_cells(tmp_path / "sets", objectives=["mse + vae"], settings=TINY),
        tmp_path / "out",
        CPU,
        metric=DEFAULT_METRIC,
    )
    assert again.failed == 0


def test_an_unexpected_error_keeps_its_traceback(cells, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("vtadl.compare.cells.evaluate_run", broken)
    outcome = run_cell(cells[0], tmp_path, CPU)
    assert outcome.error == "RuntimeError: two lines"
    assert "evaluate_run" in (tmp_path / cells[0].place / "traceback.txt").read_text()
    monkeypatch.undo()
    assert run_cell(cells[0], tmp_path, CPU).status == "done"
    assert not (tmp_path / cells[0].place / "traceback.txt").exists()


def test_damaged_and_foreign_folders_are_refused(finished, cells, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds something else than a comparison"):
        compare(cells, tmp_path, CPU, metric=DEFAULT_METRIC)
    with pytest.raises(BundleError, match="is a file"):
        compare(cells, tmp_path / "notes.txt", CPU, metric=DEFAULT_METRIC)
    folder = tmp_path / "cell"
    folder.mkdir()
    for content in ("{", "[]", "{}", '{"format": 99}', '{"format": 1, "vtadl": "", "images": [], "snapshots": [{}]}'):
        (folder / CELL_FILE).write_text(content)
        with pytest.raises(BundleError, match=r"cell\.json"):
            read_outcome(folder)


def test_two_comparisons_do_not_write_to_one_folder(finished, cells):
    pytest.importorskip("fcntl")

    def second(cell, outcome):
        with pytest.raises(BundleError, match="another comparison is writing"):
            compare(cells, finished, CPU, metric=DEFAULT_METRIC)
        refused.append(cell)

    refused = []
    compare(cells[:1], finished, CPU, metric=DEFAULT_METRIC, done=second)
    assert refused
    compare(cells, finished, CPU, metric=DEFAULT_METRIC)


def test_force_runs_cells_again(finished, cells):
    place = finished / cells[0].place
    before = written(finished)
    (place / "mine.txt").write_text("left by someone")
    compare(cells, finished, CPU, metric=DEFAULT_METRIC, force=True)
    assert not (place / "mine.txt").exists()
    assert written(finished) == before


def test_processes_side_by_side_give_the_same_files(finished, cells, tmp_path):
    compare(cells[:2], tmp_path / "out", CPU, metric=DEFAULT_METRIC, workers=2)
    for cell in cells[:2]:
        for name in (CELL_FILE, "resampled.safetensors", "run/weights.safetensors"):
            assert (tmp_path / "out" / cell.place / name).read_bytes() == (finished / cell.place / name).read_bytes()


def test_a_process_that_is_killed_is_one_failed_row(cells, tmp_path):
    def kill():
        while not (children := active_children()):
            time.sleep(0.01)
        children[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    seen = []
    run_side_by_side(cells[:1], tmp_path, CPU, 2, lambda cell, outcome: seen.append(outcome))
    killer.join()
    assert [outcome.status for outcome in seen] == ["failed"]
    assert "killed by signal 9" in seen[0].error
    assert run_cell(cells[0], tmp_path, CPU).status == "done"


def test_a_cell_that_is_refused_is_passed_over(cells, tmp_path):
    seen = []
    run_side_by_side(
        cells[:2], tmp_path, CPU, 1, lambda cell, _: seen.append(cell), starts=lambda cell: cell is cells[1]
    )
    assert seen == [cells[1]]
    assert not (tmp_path / cells[0].place).exists()


def command(root, out, *more):
    settings = [
        part for setting in [*TINY, "training.steps=20", "training.checkpoint_every=2"] for part in ("--set", setting)
    ]
    return ["compare", str(root), "--out", str(out), "--objective", "mse + vae", *settings, "--device", "cpu", *more]


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "vtadl", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)


def half_way(out):
    """One cell is done, and another one has a checkpoint."""
    return any(out.glob(f"cells/*/*/{CELL_FILE}")) and any(
        not (path.parents[1] / CELL_FILE).exists() for path in out.glob("cells/*/*/run/checkpoint.safetensors")
    )


def test_killed_half_way_and_started_again_gives_the_same_table(root, tmp_path, capsys):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    process = start_command(command(root, out), tmp_path / "said.txt")
    while not half_way(out):
        assert process.is_alive(), (tmp_path / "said.txt").read_text()
        time.sleep(0.005)
    process.kill()
    process.join()
    rows = json.loads((out / "table.json").read_text())
    assert {"done", "pending"} == {row["status"] for row in rows}
    assert main(command(root, out)) == 0
    assert main(command(root, whole)) == 0
    assert written(out) == written(whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_leaves_checkpoints_and_says_how_to_resume(root, tmp_path, workers):
    out, whole = tmp_path / "stopped", tmp_path / "whole"
    process = start(command(root, out, "--workers", workers, "--quiet"))
    wait_for(lambda: any(out.glob("cells/*/*/run/checkpoint.safetensors")), process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"interrupted; \d of 2 cells are done, and the same command resumes", error)
    assert len(error.strip().splitlines()) == 1
    assert main(command(root, out)) == 0
    assert main(command(root, whole)) == 0
    assert written(out) == written(whole)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(root, tmp_path):
    process = start(command(root, tmp_path / "out", "--workers", "2"))
    wait_for(lambda: any((tmp_path / "out").glob("cells/*/*/run/checkpoint.safetensors")), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("no /proc to see the processes in")
    pids = children.read_text().split()
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() and "vtadl" in Path(f"/proc/{pid}/cmdline").read_text() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_ray_cluster_gives_the_same_table(finished, cells, tmp_path):
    ray = pytest.importorskip("ray")
    try:
        ray.init(num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False)
    except (OSError, RuntimeError, TimeoutError) as error:  # a machine without room for its processes or memory
        pytest.skip(f"Ray does not start here: {error}")
    try:
        compare(cells, tmp_path / "out", CPU, metric=DEFAULT_METRIC, ray="auto")
    finally:
        ray.shutdown()
    assert (tmp_path / "out/table.json").read_bytes() == (finished / "table.json").read_bytes()


def test_no_ray_and_no_cluster_are_said_at_once(cells, tmp_path):
    missing = importlib.util.find_spec("ray") is None
    message = r"pip install 'vtadl\[ray\]'" if missing else "no Ray cluster at '127.0.0.1:1'"
    with pytest.raises(DependencyError if missing else ConfigError, match=message):
        compare(cells, tmp_path / "out", CPU, metric=DEFAULT_METRIC, ray="127.0.0.1:1")


def test_the_page_stands_alone_and_shows_every_method(finished):
    page = (finished / "comparison.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in page
    # for each category three defective images and a good one: the photo, and a heat map for each of two methods
    assert page.count("data:image/") == 2 * 4 * 3
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)
    for text in ("mse + vae", "mse + nll", "brick", "cloth", "Heat maps side by side", "needs 6 categories"):
        assert text in page


def test_names_with_markup_stay_text(tmp_path):
    name = '<b>"&|'
    make_category(tmp_path / "sets" / name, train=4, good=2, defective=2)
    compare(
        plan_cells(tmp_path / "sets", presets=["gaussian"], settings=["model.image_size=64"]),
        tmp_path / "out",
        CPU,
        metric=DEFAULT_METRIC,
    )
    page = (tmp_path / "out/comparison.html").read_text()
    assert name not in page
    assert "&lt;b&gt;" in page
    assert "\\|" in (tmp_path / "out/comparison.md").read_text()
    assert json.loads((tmp_path / "out/table.json").read_text())[0]["category"] == name


def test_a_sweep_draws_its_curve(root, tmp_path):
    sweep = parse_sweep("a*mse + vae", "a=0.5,2")
    cells = plan_cells(root, categories=["cloth"], objectives=list(sweep.objectives.values()), settings=TINY)
    compare(cells, tmp_path / "out", CPU, metric="image_AUROC", sweep=sweep)
    page = (tmp_path / "out/comparison.html").read_text()
    assert "Sweep of a" in page
    (chart,) = re.findall(r'<svg[^>]*aria-label="image_AUROC over a in [^"]*".*?</svg>', page, re.DOTALL)
    assert len(ElementTree.fromstring(chart).findall("circle")) == 2


def test_a_sweep_of_several_presets_has_a_line_for_each_and_names_apart():
    sweep = parse_sweep("a*mse + vae", "a=0.5,2")
    outcomes = [
        Outcome(
            category=category,
            preset=preset,
            objective=objective,
            seed=0,
            status="done",
            metrics={DEFAULT_METRIC: 0.5 + 0.01 * index},
        )
        for category in ("brick", "cloth")
        for preset in ("paper", "context")
        for index, objective in enumerate(sweep.objectives.values())
    ]
    drawing = ElementTree.fromstring(sweep_chart(tabulate(outcomes, DEFAULT_METRIC), sweep))
    names = {text.text: float(text.get("y")) for text in drawing.findall("text") if text.get("text-anchor") == "start"}
    lines = [f"{category}, {preset}" for preset in ("paper", "context") for category in ("brick", "cloth", "mean")]
    assert list(names) == lines
    assert len(drawing.findall("circle")) == 2 * len(lines)


def test_names_of_lines_that_end_together_stand_apart():
    found = _apart([100.0, 101.0, 250.0, 276.0, 276.5])
    places = list(found.values())
    assert list(found) == [100.0, 101.0, 250.0, 276.0, 276.5]
    assert all(b - a >= LINE for a, b in pairwise(places))
    assert max(places) <= SWEEP_HEIGHT - BOTTOM
    assert _apart([30.0, 90.0]) == {30.0: 30.0, 90.0: 90.0}
    assert _apart([]) == {}


def test_images_are_chosen_by_label_and_place_alone():
    labels = ["good", "cut", "cut", "cut", "hole", "hole", "good", "cut", "dent"]
    chosen = choose_images(labels, [label != "good" for label in labels])
    assert chosen == [1, 2, 4, 5, 8, 0]
    assert choose_images(["good"], [False]) == [0]
