"""Training into a folder: resuming, refusing, and what a kill cannot change. Real processes are killed."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import vtadl
from drawn.dataset import make_demo
from helpers.categories import good_image, make_category
from helpers.forks import in_fork
from helpers.process_group import kill_and_resume
from vtadl.config.overrides import apply_settings
from vtadl.config.presets import preset_config
from vtadl.data.layouts import Category, read_category
from vtadl.errors import BundleError, ConfigError, DataError, TrainingError, VtadlWarning
from vtadl.models.paper_network import PaperModel
from vtadl.runs.checkpoint import CHECKPOINT_FILE, read_checkpoint
from vtadl.runs.record import is_unfinished
from vtadl.runs.run import load_run
from vtadl.training.train import train_run, train_to

CPU = torch.device("cpu")
TINY = [
    *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
    *("model.mlp_width=16", "model.mixtures=2", "training.batch_size=4", "training.checkpoint_every=3"),
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", train=12, good=2, defective=2)


def config(*settings, seed=0, objective=None):
    return apply_settings(preset_config("paper", seed=seed, objective=objective), [*TINY, *settings])


def to(folder, category, *settings, warn=None, **options):
    keys = {key: options.pop(key) for key in ("seed", "objective") if key in options}
    with nullcontext() if warn is None else pytest.warns(VtadlWarning, match=warn):
        return train_to(folder, config("training.steps=7", *settings, **keys), read_category(category), CPU, **options)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "times.json"}


@pytest.fixture(scope="module")
def finished(category, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    to(folder, category)
    return folder


def cut_off(folder, category, step, monkeypatch, *settings, **options):
    """Leave an unfinished training that ended before a step."""
    terms = PaperModel.terms

    def stop(self, images, **keys):
        if keys["step"] == step:
            raise RuntimeError("cut off")
        return terms(self, images, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(PaperModel, "terms", stop)
        with pytest.raises(RuntimeError, match="cut off"):
            to(folder, category, *settings, **options)


def test_a_finished_run_has_its_log_and_no_checkpoint(finished):
    assert sorted(content(finished)) == ["config.toml", "log.jsonl", "run.json", "weights.safetensors"]
    assert len((finished / "log.jsonl").read_text().splitlines()) == 7
    training = json.loads((finished / "run.json").read_text())["training"]
    assert training["steps"] == 7
    assert training["epochs"] == pytest.approx(7 / 3, abs=1e-3)  # 11 images in batches of 4
    assert training["weights"] == "those of the last step"
    assert training["best_epoch"] in (1, 2)
    assert "images_per_second" in json.loads((finished / "times.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_training_is_the_plain_one_up_to_rounding_and_resumes(category, finished, tmp_path, monkeypatch):
    to(tmp_path / "run", category, "training.compile=always")
    lines, plain = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", finished)
    )
    assert [line["total"] for line in lines] == pytest.approx([line["total"] for line in plain], rel=1e-5)
    assert load_run(tmp_path / "run").training["steps"] == 7
    cut_off(tmp_path / "again", category, 5, monkeypatch, "training.compile=always")
    to(tmp_path / "again", category, "training.compile=always", resume=True)
    assert content(tmp_path / "again") == content(tmp_path / "run")


def test_a_stored_run_scores_as_the_trained_one(finished, category):
    detector = vtadl.train(category, config=config("training.steps=7"), device="cpu")
    image = good_image(50)
    prediction = vtadl.load(finished, device="cpu").predict(image)
    assert np.array_equal(prediction.anomaly_map, detector.predict(image).anomaly_map)
    assert prediction.anomaly_map.shape == image.shape[:2]
    assert vtadl.evaluate(detector, category).metrics["pixel_AUPRO@0.3"] is not None


def test_maps_are_smoothed(finished):
    run = load_run(finished)
    images = torch.rand(2, 3, 32, 32)
    smoothed, raw = run.model.anomaly_map(images), run.model.network.anomaly_map(images)
    assert smoothed.shape == (2, 32, 32)
    assert smoothed.std() < raw.std()


def test_seeds_decide_and_names_do_not(category, finished, tmp_path):
    renamed = shutil.copytree(category, tmp_path / "renamed")
    files = sorted((renamed / "train/good").iterdir(), reverse=True)
    for index, file in enumerate(files):
        file.rename(file.with_name(f"x{index:03}.png"))
    to(tmp_path / "a", renamed)
    to(tmp_path / "b", category, seed=1)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (finished, tmp_path / "a", tmp_path / "b")]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize("step", [0, 1, 3, 5, 6])
def test_resuming_gives_the_same_files(category, finished, tmp_path, monkeypatch, step):
    cut_off(tmp_path / "run", category, step, monkeypatch)
    assert is_unfinished(tmp_path / "run")
    to(tmp_path / "run", category, resume=True)
    assert content(tmp_path / "run") == content(finished)


def test_a_kill_before_the_first_checkpoint_or_after_the_last_step_is_no_different(
    category, finished, tmp_path, monkeypatch
):
    cut_off(tmp_path / "run", category, 2, monkeypatch)
    (tmp_path / "run" / CHECKPOINT_FILE).unlink()
    to(tmp_path / "run", category, resume=True)
    assert content(tmp_path / "run") == content(finished)

    with monkeypatch.context() as patch:
        patch.setattr(
            "vtadl.training.train.finish_run", lambda run, folder: (_ for _ in ()).throw(RuntimeError("cut off"))
        )
        with pytest.raises(RuntimeError, match="cut off"):
            to(tmp_path / "other", category)
    to(tmp_path / "other", category, resume=True)
    assert content(tmp_path / "other") == content(finished)


def test_resume_begins_where_there_is_nothing_and_does_nothing_where_all_is_done(category, finished, tmp_path):
    (tmp_path / "empty").mkdir()
    to(tmp_path / "empty", category, resume=True)
    before = (tmp_path / "empty/times.json").read_bytes()
    assert to(tmp_path / "empty", category, resume=True).training["steps"] == 7
    assert content(tmp_path / "empty") == content(finished)
    assert (tmp_path / "empty/times.json").read_bytes() == before


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_other_settings_or_images_are_refused(category, finished, tmp_path, monkeypatch, state):
    folder = tmp_path / "run"
    if state == "finished":
        shutil.copytree(finished, folder)
    else:
        cut_off(folder, category, 5, monkeypatch)
    before = content(folder)
    with pytest.raises(ConfigError, match=r"other settings: training.learning_rate \(0.0001, now 0.001\)"):
        to(folder, category, "training.learning_rate=0.001", resume=True)
    with pytest.raises(ConfigError, match=r"seed \(0, now 3\)"):
        to(folder, category, seed=3, resume=True)
    more = make_category(tmp_path / "more", train=13)
    with pytest.raises(DataError, match="12 good images, now 13; bring those back"):
        to(folder, more, resume=True)
    other = shutil.copytree(category, tmp_path / "other")
    shutil.copy(more / "train/good/012.png", other / "train/good/000.png")
    with pytest.raises(DataError, match="12 good images, now others"):
        to(folder, other, resume=True)
    assert content(folder) == before


def test_settings_changed_by_hand_are_noticed(category, tmp_path, monkeypatch):
    cut_off(tmp_path / "run", category, 5, monkeypatch)
    path = tmp_path / "run/config.toml"
    path.write_text(path.read_text().replace("learning_rate = 0.0001", "learning_rate = 0.01"))
    with pytest.raises(ConfigError, match=r"learning_rate \(0.0001, now 0.01\)"):
        to(tmp_path / "run", category, "training.learning_rate=0.01", resume=True)


def test_a_training_of_another_version_is_not_called_damaged(category, tmp_path, monkeypatch):
    cut_off(tmp_path / "run", category, 5, monkeypatch)
    settings, checkpoint = (tmp_path / "run" / name for name in ("config.toml", CHECKPOINT_FILE))
    settings.write_text(settings.read_text().replace("[model]", "[model]\nno_longer_a_setting = 1"))
    tensors, metadata = read_checkpoint(checkpoint)
    save_file(tensors, checkpoint, {"vtadl": json.dumps(metadata)})
    with pytest.raises(BundleError, match="format 1, of an unfinished training of another version"):
        to(tmp_path / "run", category, resume=True)


def test_another_thread_count_is_a_warning(category, tmp_path, monkeypatch):
    cut_off(tmp_path / "run", category, 5, monkeypatch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    to(tmp_path / "run", category, resume=True, warn="began with threads 1 and resumes with 64")


def test_an_unfinished_folder_says_how_to_resume(category, tmp_path, monkeypatch):
    cut_off(tmp_path / "run", category, 5, monkeypatch)
    with pytest.raises(BundleError, match=r"unfinished training \(step 3\); resume with: vtadl train .* --resume"):
        load_run(tmp_path / "run")
    with pytest.raises(BundleError, match="continue with --resume, or replace it with --force"):
        to(tmp_path / "run", category)
    to(tmp_path / "run", category, force=True)
    assert load_run(tmp_path / "run").training["steps"] == 7


def test_a_folder_of_something_else_is_never_touched(category, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(BundleError):
            to(tmp_path, category, **options)
    assert content(tmp_path) == {"notes.txt": b"mine"}


def test_a_full_disk_at_the_end_loses_nothing(category, finished, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vtadl.runs.run.write_bytes", full)
        with pytest.raises(BundleError, match="No space left on device; the trained weights are kept"):
            to(tmp_path / "run", category)
    to(tmp_path / "run", category, resume=True)
    assert content(tmp_path / "run") == content(finished)


def test_a_loss_that_is_nan_leaves_the_last_good_state(category, tmp_path, monkeypatch):
    terms = PaperModel.terms

    def spoiled(self, images, **keys):
        values, variance = terms(self, images, **keys)
        return ({**values, "nll": values["nll"] * float("nan")} if keys["step"] == 4 else values), variance

    monkeypatch.setattr(PaperModel, "terms", spoiled)
    with pytest.raises(TrainingError, match="loss term 'nll' is not finite at step 5; the last good state, step 3"):
        to(tmp_path / "run", category)
    assert is_unfinished(tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "objective", "message"),
    [
        ((), "mse + vea", "unknown term 'vea'"),
        ((), "kl", "no term that scores"),
        (["model.heads=3"], None, "multiple of model.heads"),
        (["model.patch_size=7"], None, "multiple of model.patch_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_read(tmp_path, settings, objective, message):
    nowhere = Category(root=tmp_path, layout="mvtec", samples=())
    with pytest.raises(ConfigError, match=message):
        train_run(config(*settings, objective=objective), nowhere, CPU)


def test_every_objective_trains_and_is_read_back(category, tmp_path):
    for index, objective in enumerate(
        ["mse", "l1 + 0.1*kl", "mse + vae", "nll", "vae_image", "gms + cosine + ms_ssim"]
    ):
        folder = tmp_path / str(index)
        run = to(folder, category, "training.steps=2", objective=objective)
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(load_run(folder).model.anomaly_map(images), run.model.anomaly_map(images))


def test_a_training_killed_at_any_moment_ends_with_the_same_bytes(category, tmp_path):
    """SIGKILL to a real process, five times, and a checkpoint at every other step, so that kills meet its writing."""
    settings = [*TINY, "training.steps=40", "training.checkpoint_every=2"]
    arguments = ["train", str(category), "--preset", "paper", "--device", "cpu", "--resume"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    train_to(tmp_path / "plain", apply_settings(preset_config("paper"), settings), read_category(category), CPU)
    moments = np.random.default_rng(0).uniform(0, 0.2, 5).tolist()
    run, said = tmp_path / "run", tmp_path / "said.txt"
    codes = in_fork(kill_and_resume, [*arguments, "--out", str(run)], run / "log.jsonl", moments, said=said)
    assert codes == [-9] * 5 + [0], said.read_text()
    assert content(tmp_path / "run") == content(tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("objective", ["5*mse + 0.5*ssim + nll", "mse + vae"])
def test_corrected_lasts_2000_steps_at_ten_times_the_rate(objective, tmp_path):
    """With the paper's 150 Gaussians, on images that look like something; a NaN or a collapse would be an error."""
    make_demo(tmp_path / "demo")
    small = ["model.image_size=128", "model.patch_size=32", "model.width=128", "model.mlp_width=256"]
    hard = ["model.mixtures=150", "training.learning_rate=1e-3", "training.steps=2000"]
    settings = apply_settings(preset_config("paper", objective=objective), [*small, *hard])
    run = tmp_path / "run"
    detector = train_to(run, settings, read_category(tmp_path / "demo/fabric"), CPU).model
    totals = [json.loads(line)["total"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert len(totals) == 2000
    assert totals[-1] < totals[0]
    assert all(tensor.isfinite().all() for tensor in detector.state_dict().values())
