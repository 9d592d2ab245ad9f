from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.figures import FIGURES
from analysis.gallery import gallery
from analysis.gallery.gallery import write_figures
from analysis.reading import run_table

GAN_STORE = Path(__file__).parents[3] / "figures" / "gan" / "store"


def test_what_can_be_drawn_is_drawn_and_what_cannot_is_said(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(norms=["bn"], records=2, without_columns=["grad_sparsity"], without_tables=["spectra"])
    only = "mean_drift,gradient_sparsity,spectrum"
    drawn = write_figures(store, tmp_path / "out", only=only, formats=["svg"])
    assert [path.name for path in drawn.written["mean_drift"]] == ["mean_drift.svg", "mean_drift.json"]
    assert set(drawn.refused) == {"gradient_sparsity", "spectrum"}
    assert all("\n" not in reason for reason in drawn.refused.values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mean_drift.json", "mean_drift.svg"]


GANS = [name for name, picture in FIGURES.items() if picture.of_gans]


def test_a_training_without_a_critic_hears_nothing_of_gan_figures(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name in FIGURES if name.startswith("gan_")] == GANS
    few = {name: FIGURES[name] for name in ("mean_drift", "learning_rates", *GANS)}
    monkeypatch.setattr("analysis.gallery.gallery.FIGURES", few)
    drawn = write_figures(small_store, tmp_path, formats=["svg"])
    assert list(drawn.written) == ["mean_drift"]
    assert list(drawn.refused) == ["learning_rates"]


def test_gan_figures_that_were_asked_for_are_refused_by_name(small_store: Path, tmp_path: Path) -> None:
    assert list(write_figures(small_store, tmp_path, only="gan_*", formats=["svg"]).refused) == GANS


def test_a_gan_hears_which_of_its_figures_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.gallery.gallery.FIGURES", {name: FIGURES[name] for name in GANS})
    drawn = write_figures(GAN_STORE, tmp_path, formats=["svg"], runs="*mnist-sn", steps=(1, 100))
    assert {"gan_losses", "gan_outputs"} <= set(drawn.written)
    assert "gan_bounds" in drawn.refused


def test_each_network_gets_figures_of_its_own(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(norms=["bn", "sn"], records=2)
    other = make_store("other", model="densenet", norms=["bn"], records=2)
    for table in ("layers", "runs", "steps"):
        (other / table / "run=bn-s0").rename(store / table / "run=dense-bn")
    drawn = write_figures(store, tmp_path / "out", only="mean_drift,accuracy", formats=["svg"])
    assert list(drawn.written) == ["accuracy", "mean_drift.cnn3", "mean_drift.densenet"]
    facts = json.loads((tmp_path / "out" / "mean_drift.densenet.json").read_text())
    assert facts["runs"] == ["dense-bn"]


def test_no_missing_setting_names_a_file_and_no_two_groups_share_one(
    make_store: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(norms=["bn"], seeds=range(5), records=2)
    settings = [{"model": None, "data": None}, {"model": "vgg7"}, {"data": "vgg7"}, {"model": float("nan")}, {}]
    table = run_table.runs(store).drop(columns=["model", "data"])
    mixed = pd.concat([table, pd.DataFrame(settings)], axis="columns")
    monkeypatch.setattr("analysis.gallery.gallery.read_runs", lambda *_, **__: mixed)
    drawn = write_figures(store, tmp_path / "out", only="mean_drift", formats=["svg"])
    runs = {stem: json.loads(paths[-1].read_text())["runs"] for stem, paths in drawn.written.items()}
    assert runs == {
        "mean_drift": ["bn-s0", "bn-s3", "bn-s4"],
        "mean_drift.vgg7": ["bn-s1"],
        "mean_drift.vgg7-2": ["bn-s2"],
    }


def test_several_processes_draw_what_one_draws(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["accuracy", "layer_means", "mean_drift", "overview"]
    here: list[str] = []
    plain = gallery.save

    def counted(*given: Any, **options: Any) -> list[Path]:
        here.append(options["stem"])
        return plain(*given, **options)

    one = write_figures(small_store, tmp_path / "one", only=names, formats=["png", "svg"])
    monkeypatch.setattr(gallery, "save", counted)
    two = write_figures(small_store, tmp_path / "two", only=names, formats=["png", "svg"], workers=2)
    assert list(two.written) == list(one.written) == names
    for stem, paths in one.written.items():
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in two.written[stem]]
    assert here[0] == names[0]  # while the other process starts


def test_a_warning_of_another_process_comes_to_the_caller(make_store: Callable[..., Path], tmp_path: Path) -> None:
    store = make_store(records=2)
    (store / "spectra" / "run=linked").symlink_to(store / "spectra" / "run=bn-s0")  # only the last figure reads spectra
    names = ["accuracy", "layer_means", "mean_drift", "spectrum"]
    with pytest.warns(UserWarning, match="run=linked. is left out: it is a symbolic link"):
        write_figures(store, tmp_path / "out", only=names, formats=["svg"], workers=2)


def test_a_caller_that_stops_leaves_no_process_behind(small_store: Path, tmp_path: Path) -> None:
    def stop(stem: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_figures(small_store, tmp_path, formats=["svg"], progress=stop, workers=2)
    assert not multiprocessing.active_children()
    assert len(list(tmp_path.glob("*.svg"))) < len(FIGURES) / 2


def test_options_go_to_the_figures_that_have_them(small_store: Path, tmp_path: Path) -> None:
    write_figures(small_store, tmp_path, only="mean_drift,spectrum", formats=["svg"], options={"smooth": 4})
    assert json.loads((tmp_path / "mean_drift.json").read_text())["options"]["smooth"] == 4
    assert "smooth" not in json.loads((tmp_path / "spectrum.json").read_text())["options"]


def test_progress_is_told_before_each_figure(small_store: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    write_figures(small_store, tmp_path, only="acc*", formats=["svg"], progress=seen.append)
    assert seen == ["accuracy", "accuracy_time"]


def test_a_name_that_is_no_figure_raises(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure matches 'drift'; there are: gradient_sparsity"):
        write_figures(small_store, tmp_path, only="drift")


def test_a_name_that_is_no_layer_raises_before_anything_is_drawn(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no layer matches 'nonsense'; there are: "):
        write_figures(small_store, tmp_path / "out", layers="nonsense")
    assert not (tmp_path / "out").exists()


def test_a_wrong_format_raises_before_anything_is_drawn(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format jpg: expected"):
        write_figures(small_store, tmp_path / "out", formats=["jpg"])
    assert not (tmp_path / "out").exists()
