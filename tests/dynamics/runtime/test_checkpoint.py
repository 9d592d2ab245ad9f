from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dynamics.runtime import checkpoint
from dynamics.runtime.checkpoint import (
    check_checkpoint,
    checkpoint_path,
    load_checkpoint,
    restore_random_state,
    save_checkpoint,
)

CONFIG = {"model": "cnn3", "norm": "bn", "epochs": 2}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path, seed: int) -> None:
    place = checkpoint_path(tmp_path, "bn")
    torch.manual_seed(seed)
    tensor = torch.randn(5)
    save_checkpoint(place, {"config": CONFIG, "step": 7, "model": {"weight": tensor}})
    after = torch.rand(3)
    state = load_checkpoint(place, config=CONFIG)
    assert state["step"] == 7
    assert torch.equal(state["model"]["weight"], tensor)
    restore_random_state(state["random"])
    assert torch.equal(torch.rand(3), after)


def test_a_crash_while_saving_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = checkpoint_path(tmp_path, "bn")
    save_checkpoint(place, {"config": CONFIG, "step": 1})

    def no_space(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", no_space)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(place, {"config": CONFIG, "step": 2})
    assert [path.name for path in place.parent.iterdir()] == ["bn.pt"]
    assert load_checkpoint(place, config=CONFIG)["step"] == 1


def test_no_table_reader_sees_checkpoints(tmp_path: Path) -> None:
    assert checkpoint_path(tmp_path, "bn").relative_to(tmp_path).parts[0].startswith("_")


def test_a_checkpoint_of_another_model_is_told(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "bn.pt", {"config": CONFIG, "step": 1})
    other = CONFIG | {"model": "vgg7", "norm": "sn"}
    with pytest.raises(
        ValueError, match="of a run with model 'cnn3', not 'vgg7'; norm 'bn', not 'sn': resume with its"
    ):
        load_checkpoint(tmp_path / "bn.pt", config=other)


def test_settings_that_may_change_may_differ(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "bn.pt", {"config": CONFIG, "step": 1})
    longer = CONFIG | {"epochs": 5}
    assert load_checkpoint(tmp_path / "bn.pt", config=longer, may_change={"epochs"})["step"] == 1
    with pytest.raises(ValueError, match="of a run with epochs 2, not 5"):
        load_checkpoint(tmp_path / "bn.pt", config=longer)


def test_a_run_without_a_checkpoint_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing to resume: .*bn.pt is missing. Leave out --resume"):
        check_checkpoint(tmp_path, "bn")


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_truncated_checkpoint_is_told(tmp_path: Path, kept: int) -> None:
    place = tmp_path / "bn.pt"
    save_checkpoint(place, {"config": CONFIG, "step": 1})
    place.write_bytes(place.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"bn.pt cannot be read \(.*\): remove it to start the run again"):
        load_checkpoint(place, config=CONFIG)
