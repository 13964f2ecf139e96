"""``vtadl train`` as a user meets it: resuming, ending, and what it says on the way."""

import io
import signal

import pytest

from helpers.categories import make_category
from vtadl import progress
from vtadl.cli import main
from vtadl.losses.objective import TERMS
from vtadl.models.paper_network import PaperModel

TINY = [
    word
    for setting in (
        *("model.image_size=32", "model.patch_size=8", "model.width=16", "model.depth=1", "model.heads=2"),
        *("model.mlp_width=16", "model.mixtures=2", "training.batch_size=4", "training.steps=4"),
    )
    for word in ("--set", setting)
]


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("sets") / "stripes", good=1, defective=1)


@pytest.fixture
def train(category, tmp_path):
    return lambda *more: main(["train", str(category), "--out", str(tmp_path / "run"), "--device", "cpu", *more])


def spoil(monkeypatch, step, change):
    terms = PaperModel.terms

    def spoiled(self, images, **keys):
        values, variance = terms(self, images, **keys)
        return change(values, variance) if keys["step"] == step else (values, variance)

    monkeypatch.setattr(PaperModel, "terms", spoiled)


def test_ctrl_c_says_in_a_line_how_to_resume_and_that_works(train, category, tmp_path, monkeypatch, capsys):
    def press(values, variance):
        signal.raise_signal(signal.SIGINT)
        return values, variance

    with monkeypatch.context() as patch:
        spoil(patch, 1, press)
        assert train("--preset", "paper", *TINY) == 130
    error = capsys.readouterr().err
    assert error == "vtadl: interrupted after step 2 of 4; to resume: the same command with --resume\n"
    assert train("--preset", "paper") == 1
    assert "unfinished training (step 2); continue with --resume" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "run"), str(category)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert train("--resume") == 0  # the folder knows its settings
    assert "trained 'paper' on 11 good images" in capsys.readouterr().out
    assert train("--resume") == 0
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "training.steps=5"], "training.steps (4, now 5)"),
        (["--preset", "gaussian"], "preset (paper, now gaussian)"),
        (["--objective", "mse"], "objective (5*mse + 0.5*ssim + nll, now mse)"),
        (["--seed", "2"], "seed (0, now 2)"),
        (["--force"], "give one of them"),
    ],
)
def test_resuming_as_something_else_is_a_wrong_command(train, category, tmp_path, monkeypatch, capsys, flags, message):
    assert train("--preset", "paper", *TINY) == 0
    capsys.readouterr()
    assert train("--resume", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values, variance: ({**values, "mse": values["mse"] * float("inf")}, variance), "'mse' is not finite"),
        (lambda values, variance: (values, variance * 0), "the embeddings collapsed at step 2"),
    ],
)
def test_a_training_that_cannot_resume_is_a_line_and_exit_code_1(train, monkeypatch, capsys, change, message):
    spoil(monkeypatch, 1, change)
    assert train("--preset", "paper", *TINY) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "the last good state, step 0, is kept" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--objective", "mse + vea"], "unknown term 'vea'"),
        (["--objective", "0*mse"], "weight of 'mse'"),
        (["--preset", "gaussian", "--set", "objective=mse"], "takes no objective; leave out 'mse'"),
        (["--preset", "memory", "--set", "objective=nll"], "takes no objective; leave out 'nll'"),
        (["--set", "preset=gaussian"], "choose it with --preset"),
        (["--set", "objective=none"], "needs an objective"),
        (["--set", "model.heads=5"], "multiple of model.heads"),
        (["--set", "training.batch_size=0"], "training.batch_size is 0; expected 1 to 65,536"),
        (["--set", "training.schedule=step"], "expected one of: constant, cosine, one-cycle"),
        (["--set", "training.learning_rate=nan"], "training.learning_rate is nan"),
        (["--set", "model.image_size=1000000000"], "model.image_size is 1000000000"),
        (["--seed", "-1"], "seed is -1"),
    ],
)
def test_wrong_settings_are_found_before_any_image(tmp_path, capsys, flags, message):
    assert main(["train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--preset", "paper", *flags]) == 2
    assert message in capsys.readouterr().err


def test_losses_are_listed(capsys):
    assert main(["presets"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # long lines are wrapped
    for name, term in TERMS.items():
        assert f"{name} {term.summary}" in out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_and_a_log_lines_now_and_then(train, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    # The bar draws at most ten times a second; this training may be over before its second drawing.
    monkeypatch.setattr(progress, "BAR_SECONDS", 0)
    for kind, fewest, flags, expected in (
        (Terminal, 10, [], ["training", "images/s", "mse 0.", "nll 1."]),
        (Terminal, 10, ["--quiet"], []),
        (io.StringIO, 10, [], []),
        (io.StringIO, 0, [], ["vtadl: training: ", " %, ", " s left, mse 0."]),
        (io.StringIO, 0, ["--quiet"], []),
        (io.StringIO, 10, ["--verbose"], [" to do", "vtadl: training: done in"]),
    ):
        monkeypatch.setattr(progress, "FEWEST_SECONDS", fewest)
        monkeypatch.setattr("sys.stderr", kind())
        assert train("--preset", "paper", "--force", *TINY, *flags) == 0
        shown = progress.sys.stderr.getvalue()
        assert all(word in shown for word in expected)
        assert bool(shown) == bool(expected)


def test_lines_come_each_tenth_or_half_a_minute(monkeypatch, capsys):
    clock = iter([0.0, *(4.0 * step for step in range(1, 101))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bar("scoring", 100) as advance:
        for _ in range(100):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "vtadl: scoring: 8 %, 8 of 100, 6 min left"  # 32 s
    assert len(lines) == 12
