from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from analysis.terminal.watch import default_column, view, watch


def shown(what: RenderableType, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


def test_a_run_is_seen_with_progress_layers_and_warnings(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10})
    text = shown(view(store, column="grad_l2_norm"))
    assert "sn-s0  finished, updated" in text
    assert "grad_l2_norm, 4 of 4 layers, up to step 950" in text
    assert "××××" in text
    assert (
        "NaN: block1.conv: 100 entries of the weight are NaN or infinite, from step 500 (also in 3 other layers" in text
    )
    assert "train" in text
    assert "test" in text


def test_a_healthy_run_says_so(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=2, without_columns=["weight_mean"])
    assert "no findings" in shown(view(store, column="stable_rank"))


def test_many_layers_are_thinned_and_counted(deep_store: Path) -> None:
    text = shown(view(deep_store, run="sn-s0", column="stable_rank"))
    assert "stable_rank, 24 of 100 layers" in text
    assert "classifier" in text


@pytest.mark.parametrize("width", [60, 80, 160])
def test_sparklines_take_the_room_of_the_terminal_and_no_more(width: int, make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["sn"], records=500)
    lines = shown(view(store, column="grad_l2_norm", width=width), width=width).splitlines()
    assert all("…" not in line for line in lines)
    (layer,) = (line for line in lines if line.startswith("classifier"))
    assert width - 12 <= len(layer.rstrip()) <= width
    (train,) = (line for line in lines if line.startswith("train"))
    assert len(train.rstrip()) <= width


def test_a_low_screen_shows_fewer_layers_and_every_warning(make_store: Callable[..., Path]) -> None:
    store = make_store(model="densenet", norms=["sn"], records=20, nan_from={"sn-s0": 10})
    text = shown(view(store, column="grad_l2_norm", width=80, height=24), width=80)
    assert len(text.splitlines()) <= 24
    assert " of 100 layers" in text
    assert "NaN: stem" in text
    assert text.splitlines()[0].startswith("╭")
    assert "grad_l2_norm, 3 of 100 layers" in shown(view(store, column="grad_l2_norm", width=80, height=5), width=80)


def test_layers_asked_for_are_all_shown(deep_store: Path) -> None:
    assert "32 of 32 layers" in shown(view(deep_store, run="sn-s0", column="stable_rank", layers="block1.*"))


def test_the_run_updated_last_is_taken_unless_one_is_named(small_store: Path) -> None:
    assert "bn-s0  finished" in shown(view(small_store, run="bn-*", column="grad_var"))


def test_a_run_that_is_not_there_raises(small_store: Path) -> None:
    with pytest.raises(ValueError, match="no run matches 'wn'"):
        view(small_store, run="wn", column="grad_var")


def test_a_store_without_steps_is_watched_too(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=2, without_tables=["steps"])
    assert "block1.conv" in shown(view(store, column="grad_var"))


def test_the_default_column_is_the_first_of_a_few_that_is_there(make_store: Callable[..., Path]) -> None:
    assert default_column(make_store("a", norms=["bn"], records=1)) == "grad_l2_norm"
    without = ["grad_l2_norm", "weight_mean", "spectral_norm"]
    assert default_column(make_store("b", norms=["bn"], records=1, without_columns=without)) == "weight_var"


def test_watching_draws_until_it_is_stopped() -> None:
    drawn: list[int] = []

    def draw() -> Text:
        drawn.append(1)
        return Text("now")

    watch(draw, console=Console(file=io.StringIO()), every=0.0, stop=lambda: len(drawn) == 3)
    assert len(drawn) == 3


def test_an_empty_store_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(lambda: view(tmp_path, column="x"), console=Console(width=200), every=0.0, stop=lambda: True)
    assert "waiting: store" in capsys.readouterr().out


def with_losses(store: Path, run: str, losses: list[float | None]) -> Path:
    """Put training losses into a run, a null for None."""
    (part,) = (store / "steps" / f"run={run}").glob("*.parquet")
    rows = pq.read_table(part)
    train = rows.filter(pa.compute.equal(rows["split"], "train")).slice(0, len(losses))
    column = pa.array([np.nan if loss is None else loss for loss in losses], mask=np.array([x is None for x in losses]))
    pq.write_table(train.set_column(train.schema.get_field_index("loss"), "loss", column), part)
    return store


def test_a_loss_that_is_nan_is_shown_and_one_that_was_not_logged_is_not(make_store: Callable[..., Path]) -> None:
    store = make_store(norms=["bn"], records=40)
    nan = float("nan")
    text = shown(view(with_losses(store, "bn-s0", [2.0, 1.8, *[nan] * 38]), column="grad_var"))
    (line,) = (line for line in text.splitlines() if line.startswith("train"))
    assert line.split()[2] == "NaN"
    assert line.split()[-1] == "▅" + "×" * (len(line.split()[-1]) - 1)  # 40 losses in fewer letters
    text = shown(view(with_losses(store, "bn-s0", [2.0, 1.8, *[None] * 38]), column="grad_var"))
    (line,) = (line for line in text.splitlines() if line.startswith("train"))
    assert line.split()[2] == "1.8"
    assert "×" not in line


def test_findings_stand_above_all_else(make_store: Callable[..., Path]) -> None:
    text = shown(view(make_store(norms=["sn"], records=20, nan_from={"sn-s0": 10}), column="grad_l2_norm"))
    assert text.index("grave NaN: block1.conv") < text.index("sn-s0  finished")


def test_a_store_that_is_not_there_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        watch(lambda: view(tmp_path / "nowhere", column="a"), console=Console(file=io.StringIO()), every=0.0)
