from __future__ import annotations

import pickle
import random
import zipfile
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


def test_a_checkpoint_from_before_a_setting_existed_has_its_default(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "bn.pt", {"config": CONFIG, "step": 1})
    defaults = {**CONFIG, "width": 0}
    assert load_checkpoint(tmp_path / "bn.pt", config=defaults, defaults=defaults)["step"] == 1
    with pytest.raises(ValueError, match=r"is of a run with width 0, not 8: resume"):
        load_checkpoint(tmp_path / "bn.pt", config={**CONFIG, "width": 8}, defaults=defaults)


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


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_told(tmp_path: Path, seed: int) -> None:
    place, chance = tmp_path / "bn.pt", random.Random(seed)
    save_checkpoint(place, {"config": CONFIG, "step": 1, "model": {"weight": torch.ones(50)}})
    whole = place.read_bytes()
    for at in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(100))]:
        place.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"bn.pt cannot be read \(.+\): remove it"):
            load_checkpoint(place, config=CONFIG)


def test_a_flipped_bit_in_a_tensor_of_an_older_checkpoint_is_told(tmp_path: Path) -> None:
    place = tmp_path / "bn.pt"
    save_checkpoint(place, {"config": CONFIG, "step": 1, "model": {"weight": torch.full((50,), 0.123)}})
    older = place.read_bytes()[: -len(b"\nmeandrift-crc32-12345678")]
    place.write_bytes(older)
    assert load_checkpoint(place, config=CONFIG)["step"] == 1
    at = older.index(torch.full((50,), 0.123).numpy().tobytes())
    place.write_bytes(older[:at] + bytes([older[at] ^ 1]) + older[at + 1 :])
    with pytest.raises(ValueError, match="was changed since it was written"):
        load_checkpoint(place, config=CONFIG)


FOREIGN = {
    "a list": [1, 2],
    "a tensor": torch.ones(2),
    "no settings": {"step": 1},
    "settings that are a list": {"config": [1], "step": 1, "random": {"cpu": torch.get_rng_state()}},
    "settings without words": {"config": {1: 2, "a": 3}, "step": 1, "random": {"cpu": torch.get_rng_state()}},
    "a step that is a word": {"config": CONFIG, "step": "one", "random": {"cpu": torch.get_rng_state()}},
    "a step below 0": {"config": CONFIG, "step": -1, "random": {"cpu": torch.get_rng_state()}},
    "no random state": {"config": CONFIG, "step": 1},
    "another random state": {"config": CONFIG, "step": 1, "random": {"cpu": "seed"}},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_checkpoint_is_told(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "bn.pt"
    torch.save(FOREIGN[kind], place)
    with pytest.raises(ValueError, match=r"bn.pt cannot be read \(.+\): remove it to start the run again"):
        load_checkpoint(place, config=CONFIG)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", pickle.dumps({"a": print}), b"\xff" * 999])
def test_bytes_that_are_no_checkpoint_are_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bn.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"bn.pt cannot be read \(.+\): remove it to start the run again"):
        load_checkpoint(tmp_path / "bn.pt", config=CONFIG)


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bn.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="it is compressed, as torch writes none"):
        load_checkpoint(tmp_path / "bn.pt", config=CONFIG)
