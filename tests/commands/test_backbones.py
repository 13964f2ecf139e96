"""``vtadl backbones``: what it lists, and what it does to weights that are there already."""

import dataclasses

import pytest

from helpers.backbone_weights import save_hub, save_vit
from vtadl.backbones.catalogue import KNOWN, added_file
from vtadl.cli import main

NAME = "dinov2-small"


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("VTADL_BACKBONES", str(tmp_path / "added"))
    return tmp_path / "added"


@pytest.fixture
def tiny(monkeypatch, tmp_path, folder):
    known = KNOWN[NAME]
    shape = {**known.shape, "width": 32, "depth": 3, "mlp_width": 64, "side": 4}
    monkeypatch.setitem(KNOWN, NAME, dataclasses.replace(known, shape=shape))
    save_hub(tmp_path / "hub", "Dinov2", num_attention_heads=1, patch_size=14, mlp_ratio=2)
    return tmp_path / "hub"


def test_it_lists_what_is_at_hand_and_how_to_get_the_rest(folder, tiny, capsys):
    assert main(["backbones"]) == 0
    before = capsys.readouterr().out
    assert "efficientnet-lite0  at hand, from a package" in before
    assert "missing; type: vtadl backbones add dinov2-small --from FILE, or --download" in before
    assert KNOWN[NAME].sources in before
    assert not folder.exists()
    assert main(["backbones", "add", NAME, "--from", str(tiny)]) == 0
    save_vit(folder / "mine.safetensors")
    capsys.readouterr()
    assert main(["backbones"]) == 0
    after = capsys.readouterr().out
    for part in ("at hand: vit:dinov2-small.safetensors", "at hand: vit:mine.safetensors", f"folder: {folder}"):
        assert part in after
    assert "missing" not in after


def test_other_weights_are_replaced_only_by_force(tiny, capsys):
    command = ["backbones", "add", NAME, "--from", str(tiny)]
    assert main(command) == 0
    assert f"added {NAME}: {added_file(NAME)}" in capsys.readouterr().out
    assert main(command) == 0
    assert f"kept {NAME}" in capsys.readouterr().out
    before = added_file(NAME).read_bytes()
    save_hub(tiny, "Dinov2", seed=1, num_attention_heads=1, patch_size=14, mlp_ratio=2)
    capsys.readouterr()
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "has other weights, which runs may depend on; replace them: --force" in error
    assert added_file(NAME).read_bytes() == before
    assert main([*command, "--force"]) == 0
    assert added_file(NAME).read_bytes() != before


def test_a_wrong_command_line_is_exit_code_2(folder, capsys):
    assert main(["backbones", "add", "dinov2", "--download"]) == 2
    assert (
        "unknown backbone 'dinov2' (did you mean 'dinov2-small'?); choose from: dinov2-small" in capsys.readouterr().err
    )
    for arguments in ([NAME], [NAME, "--download", "--from", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(["backbones", "add", *arguments])
        assert caught.value.code == 2
