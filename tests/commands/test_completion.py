"""A real bash completes commands, flags, choices and files by what the command prints."""

import shutil
import subprocess
import sys

import pytest

from vtadl.cli import main

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("completion") / "vtadl.bash"
    with file.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert main(["completion", "bash"]) == 0
    return file


def completed(script, folder, *words):
    """What bash offers behind these words."""
    line = f"""
        source {script}
        COMP_WORDS=(vtadl {" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words)}
        _shtab_vtadl 2> /dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_flags_choices_and_files(script, tmp_path):
    (tmp_path / "parts").mkdir()
    assert completed(script, tmp_path, "ca") == {"calibrate"}
    assert "--false-reject-rate" in completed(script, tmp_path, "calibrate", "--false")
    assert completed(script, tmp_path, "completion", "z") == {"zsh"}
    assert "parts" in completed(script, tmp_path, "train", "pa")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_too(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "vtadl" in capsys.readouterr().out


def test_without_shtab_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "pip install 'vtadl[completion]'" in capsys.readouterr().err
