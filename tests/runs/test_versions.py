"""Versions of a run: every change keeps the earlier state whole, and any of them can be brought back."""

import json
import shutil

import pytest
import torch

from helpers.categories import make_category
from vtadl.cli import main
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import read_category
from vtadl.errors import BundleError, ConfigError
from vtadl.runs import versions
from vtadl.runs.folders import check_free
from vtadl.runs.run import load_run
from vtadl.runs.versions import change_run, roll_back, versions_of
from vtadl.training.train import train_to


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("versions")
    config = apply_settings(preset_config("memory"), ["model.image_size=64", "model.size=50"])
    train_to(root / "run", config, read_category(make_category(root / "parts", train=10)), torch.device("cpu"))
    return root / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def by_hand(run, threshold):
    assert main(["calibrate", str(run), "--threshold", str(threshold)]) == 0


def threshold_of(run):
    card = load_run(run).card
    return None if card is None else card.threshold


def test_a_run_that_never_changed_is_version_1(run):
    (only,) = versions_of(run)
    assert (only.number, only.change) == (1, "trained")
    with pytest.raises(ConfigError, match="never changed"):
        roll_back(run)


def test_every_change_keeps_the_earlier_state_as_a_run_of_its_own(run, capsys):
    by_hand(run, 1.5)
    by_hand(run, 2.5)
    assert [one.number for one in versions_of(run)] == [1, 2, 3]
    assert [threshold_of(one.folder) for one in versions_of(run)] == [None, 1.5, 2.5]
    kept = run / "versions/1/weights.safetensors"
    assert kept.samefile(run / "weights.safetensors")  # what did not change takes no room
    capsys.readouterr()
    assert main(["info", str(run), "--versions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "1" and lines[0].endswith("trained")
    assert lines[2].endswith("calibrated: by hand  (current)")


def test_rolling_back_loses_nothing_and_can_be_taken_back(run):
    by_hand(run, 1.5)
    by_hand(run, 2.5)
    assert main(["rollback", str(run)]) == 0
    assert threshold_of(run) == 1.5
    assert main(["rollback", str(run)]) == 0
    assert threshold_of(run) == 2.5
    assert main(["rollback", str(run), "--to", "1"]) == 0
    assert threshold_of(run) is None and not (run / "card.html").exists()
    assert [one.number for one in versions_of(run)] == [1, 2, 3, 4, 5, 6]
    assert versions_of(run)[-1].change == "rolled back to version 1"


def test_a_version_that_is_not_there_or_damaged_is_refused(run):
    by_hand(run, 1.5)
    with pytest.raises(ConfigError, match="no earlier version 7; there are: 1"):
        roll_back(run, 7)
    weights = run / "versions/1/weights.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + b"?")
    with pytest.raises(BundleError, match=r"versions/1.*damaged"):
        roll_back(run)
    assert threshold_of(run) == 1.5


def test_a_change_that_was_cut_off_anywhere_can_be_rolled_back(run, monkeypatch):
    by_hand(run, 1.5)
    expected = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    files = {name: content for name, content in expected.items() if name not in ("times.json", "card.html")}
    files["weights.safetensors"] = files["run.json"] = b"half a change"
    replace = type(run).replace
    for allowed in range(5):
        left = iter(range(allowed))

        def cut_off(self, target, left=left):
            if self.parent.name.startswith(".next") and next(left, None) is None:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(type(run), "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            change_run(run, files, "half a change")
        monkeypatch.setattr(type(run), "replace", replace)
        roll_back(run)
        assert threshold_of(run) == 1.5
        found = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert {**found, "times.json": b""} == {**expected, "times.json": b""}


def test_without_links_files_are_copied(run, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(versions.os, "link", refuse)
    by_hand(run, 1.5)
    assert not (run / "versions/1/weights.safetensors").samefile(run / "weights.safetensors")
    assert load_run(run / "versions/1").card is None


def test_versions_are_vtadls_own_files_and_a_strangers_number_is_no_version(run):
    by_hand(run, 1.5)
    check_free(run, force=True)
    times = json.loads((run / "times.json").read_text())
    (run / "times.json").write_text(json.dumps({**times, "version": {"number": "../x"}}))
    assert versions_of(run)[-1].number == 1
