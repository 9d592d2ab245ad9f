"""``config=`` as users have it: namespaces, dataclasses, mappings that are no dict, and whatever else stands in one.

Source: wandb/wandb#1233 (``config`` given as an ``argparse.Namespace``); the other kinds are of the same family.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import analysis
from analysis.gallery.gallery import write_figures
from analysis.paper.table_book import write_tables
from analysis.report.data import report_data
from analysis.summaries.comparison_arms import arms
from analysis.summaries.transforms import compare
from probes import Probe, Recorder
from probes.storage.config_json import MAX_VALUES, config_json


class Conf(Mapping):
    """A mapping of mappings, none of them a dict, as OmegaConf's DictConfig."""

    def __init__(self, **values: Any) -> None:
        self._values = {name: Conf(**value) if isinstance(value, dict) else value for name, value in values.items()}

    def __getitem__(self, key: str) -> Any:
        if self._values[key] == "???":
            raise KeyError(f"Missing mandatory value: {key}")
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Conflist(Sequence):
    """A sequence that is no list, as OmegaConf's ListConfig."""

    def __init__(self, *values: Any) -> None:
        self._values = list(values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


@dataclasses.dataclass
class Optim:
    momentum: float = 0.9
    betas: list[float] = dataclasses.field(default_factory=lambda: [0.9, 0.999])


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    optim: Optim = dataclasses.field(default_factory=Optim)


class OptimTuple(NamedTuple):
    momentum: float


class Attribute(NamedTuple):
    name: str


class AttrsLike:
    """What attrs makes of a class: fields by name, and no way to iterate over it."""

    __slots__ = ("lr", "optim")
    __attrs_attrs__ = (Attribute("lr"), Attribute("optim"))

    def __init__(self) -> None:
        self.lr, self.optim = 0.1, {"momentum": 0.9}


class PydanticLike:
    def model_dump(self) -> dict[str, Any]:
        return {"lr": 0.1, "optim": {"momentum": 0.9}}


class HuggingFaceLike:
    def __init__(self) -> None:
        self.unrelated = object()

    def to_dict(self) -> dict[str, Any]:
        return {"lr": 0.1, "optim": {"momentum": 0.9}}


class CFG:
    lr = 0.1
    optim = SimpleNamespace(momentum=0.9)

    def method(self) -> None:
        """No setting."""


class Plain(CFG):
    def __init__(self) -> None:
        self.optim = {"momentum": 0.9}


NESTED = {"lr": 0.1, "optim": {"momentum": 0.9}}
KINDS = {
    "dict": NESTED,
    "ordered": collections.OrderedDict(NESTED),
    "mapping": Conf(**NESTED),
    "namespace": argparse.Namespace(lr=0.1, optim=argparse.Namespace(momentum=0.9)),
    "simple": SimpleNamespace(lr=0.1, optim=SimpleNamespace(momentum=0.9)),
    "dataclass": Settings(),
    "tuple": {"lr": 0.1, "optim": OptimTuple(0.9)},
    "attrs": AttrsLike(),
    "pydantic": PydanticLike(),
    "transformers": HuggingFaceLike(),
    "class": CFG,
    "object": Plain(),
    "json": json.dumps(NESTED),
    "tensors": {"lr": torch.tensor(0.1, dtype=torch.float64), "optim": {"momentum": np.float64(0.9)}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_each_kind_become_columns(kind: str, tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    with Probe(model, torch.optim.SGD(model.parameters(), lr=0.1), store=tmp_path, run="a", config=KINDS[kind]):
        pass
    row = analysis.runs(tmp_path).iloc[0]
    assert (row["lr"], row["optim.momentum"]) == (0.1, 0.9)


def test_a_configuration_of_omegaconf_becomes_columns(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({**NESTED, "sizes": [1, 2], "secret": "???"})
    Recorder(tmp_path, "a", config=config).close()
    row = analysis.runs(tmp_path).iloc[0]
    assert (row["lr"], row["optim.momentum"], row["sizes"]) == (0.1, 0.9, "[1, 2]")
    assert row["secret"].startswith("<cannot be read: MissingMandatoryValue")


class Norm(enum.Enum):
    BN = enum.auto()


class Word(enum.Enum):
    MSN = "msn"


class Number(enum.IntEnum):
    SEVEN = 7


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text for you")


def activation(x: Any) -> Any:
    return x


VALUES = {
    "enum": (Norm.BN, "BN"),
    "enum of words": (Word.MSN, "msn"),
    "enum of numbers": (Number.SEVEN, 7),
    "path": (PurePosixPath("/data/mnist"), "/data/mnist"),
    "dtype": (torch.float32, "torch.float32"),
    "device": (torch.device("cpu"), "cpu"),
    "size": (torch.Size([2, 3]), [2, 3]),
    "numpy dtype": (np.dtype("float32"), "float32"),
    "numpy whole": (np.int64(3), 3),
    "numpy real": (np.float32(0.5), 0.5),
    "numpy boolean": (np.bool_(True), True),
    "small array": (np.array([[1, 2]]), [[1, 2]]),
    "small tensor": (torch.tensor([1.5, float("nan")]), [1.5, "NaN"]),
    "large tensor": (torch.zeros(2000, 3), "<Tensor of shape (2000, 3) and type torch.float32>"),
    "not a number": (float("nan"), "NaN"),
    "infinity": (float("inf"), "Infinity"),
    "minus infinity": (float("-inf"), "-Infinity"),
    "set": ({"b", "a"}, ["a", "b"]),
    "frozen set of mixed": (frozenset({2, "a"}), ["a", 2]),
    "tuple": ((1, "x", None), [1, "x", None]),
    "list that is no list": (Conflist(1, Conflist(2)), [1, [2]]),
    "range": (range(3), [0, 1, 2]),
    "bytes": (b"ab\xff", "ab\\xff"),
    "date": (datetime.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
    "duration": (datetime.timedelta(hours=1), "1:00:00"),
    "complex": (1 + 2j, "(1+2j)"),
    "seed of 64 bits": (2**64 - 1, 2**64 - 1),
    "huge": (1 << 80, "0x100000000000000000000"),
    "type": (nn.ReLU, "torch.nn.modules.activation.ReLU"),
    "function": (activation, f"{__name__}.activation"),
    "partial": (functools.partial(activation, x=1), f"functools.partial(<function {activation.__qualname__}>, x=1)"),
    "surrogate": ("\udcff", "\\udcff"),
    "broken": (Broken(), "<Broken>"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_single_values_are_stored_as_what_they_say(kind: str) -> None:
    value, expected = VALUES[kind]
    stored = json.loads(config_json({"x": value, "y": [value]}), parse_constant=pytest.fail)
    assert stored == {"x": expected, "y": [expected]}


def test_numbers_that_json_lacks_come_back_as_numbers(tmp_path: Path) -> None:
    Recorder(
        tmp_path, "a", config={"clip": float("inf"), "decay": float("nan"), "floor": -np.inf, "norm": "nan"}
    ).close()
    row = analysis.runs(tmp_path).iloc[0]
    assert (row["clip"], row["floor"], row["norm"]) == (float("inf"), float("-inf"), "nan")
    assert np.isnan(row["decay"])


def test_keys_of_any_kind_are_kept_apart() -> None:
    config = {1: "one", "1": "word", None: "none", 0.5: "half", (2, 3): "pair", Word.MSN: "enum"}
    assert json.loads(config_json(config)) == {
        "1": "one",
        "1 (str)": "word",
        "null": "none",
        "0.5": "half",
        "(2, 3)": "pair",
        "msn": "enum",
    }


def test_an_object_that_holds_itself_is_told_where_it_refers_to() -> None:
    loop: dict[str, Any] = {"optim": {"name": "sgd"}, "again": []}
    loop["optim"]["all"] = loop
    loop["again"].append(loop["optim"])
    loop["twice"] = [loop["again"], loop["again"]]
    stored = json.loads(config_json(loop))
    assert stored["optim"] == {"name": "sgd", "all": "<refers back to the whole configuration>"}
    assert stored["twice"][0] == stored["twice"][1] == stored["again"] == [stored["optim"]]
    loop["optim"]["self"] = loop["optim"]
    assert json.loads(config_json(loop))["optim"]["self"] == "<refers back to optim>"


def test_a_configuration_without_end_ends() -> None:
    class Endless(Mapping):
        def __getitem__(self, key: str) -> Any:
            return Endless()

        def __iter__(self) -> Iterator[str]:
            return iter(["next"])

        def __len__(self) -> int:
            return 1

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    text = config_json({"endless": Endless(), "deep": deep, "long": range(10**12), "many": list(range(MAX_VALUES))})
    stored = json.loads(text)
    assert len(text) < 5_000
    assert text.count("<nested more than 32 deep>") == 2
    assert stored["long"] == "<range of 1,000,000,000,000 values>"
    assert stored["many"] == f"<list of {MAX_VALUES:,} values>"


def test_what_cannot_be_read_costs_nothing_else() -> None:
    class Failing(Settings):
        def to_dict(self) -> dict[str, Any]:
            raise RuntimeError("not today")

    generator = (letter for letter in "abc")
    config = {"conf": Conf(a=1, b="???"), "settings": Failing(), "letters": generator, "x": 3}
    stored = json.loads(config_json(config))
    assert stored["conf"] == {"a": 1, "b": "<cannot be read: KeyError('Missing mandatory value: b')>"}
    assert stored["settings"] == {"lr": 0.1, "optim": {"momentum": 0.9, "betas": [0.9, 0.999]}}
    assert stored["x"] == 3
    assert list(generator) == ["a", "b", "c"]  # it is the training's


@pytest.mark.parametrize(
    ("config", "stored"),
    [
        ([1, {"a": 2}], [1, {"a": 2}]),
        ("configs/base.yaml", "configs/base.yaml"),
        ("[1, 2]", "[1, 2]"),
        (3, 3),
        (Broken(), "<Broken>"),
        (PurePosixPath("a/b"), "a/b"),
        (activation, f"{__name__}.activation"),
    ],
)
def test_what_has_no_keys_stands_under_one(config: Any, stored: Any) -> None:
    assert json.loads(config_json(config)) == {"config": stored}


def test_settings_that_are_equal_are_equal_in_every_process() -> None:
    class Thing:
        pass

    first, second = (config_json({"x": [Thing(), activation, functools.partial(activation)]}) for _ in range(2))
    assert first == second
    assert " at 0x" not in first


def record(store: Path, run: str, config: Any) -> None:
    keys = {"layer": "conv", "layer_index": 0, "layer_type": "Conv2d"}
    with Recorder(store, run, config=config) as recorder:
        for step in range(4):
            values = {"weight_mean": step / 8, "weight_var": 1.0, "spectral_norm": 1.0 + step}
            recorder.write("layers", pa.RecordBatch.from_pylist([{"step": step, **keys, **values}]))
            split = {"split": "test", "loss": 1.0, "accuracy": step / 8}
            recorder.write("steps", pa.RecordBatch.from_pylist([{"step": step, **split}]))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs whose settings are lists, those that figures and tables group by among them."""
    store = tmp_path_factory.mktemp("lists") / "runs"
    for run, betas in (("a", [0.9, 0.99]), ("b", [0.9, 0.999])):
        named = {"model": ["cnn3", {"width": 8}], "data": ["mnist"], "norm": ["bn"], "parameters": 10}
        record(store, run, {**named, "learning_rate": [0.1, 0.01], "betas": betas})
    return store


def test_lists_can_be_grouped_compared_and_joined(lists: Path) -> None:
    runs = analysis.runs(lists)
    assert runs["betas"].tolist() == ["[0.9, 0.99]", "[0.9, 0.999]"]
    assert runs.groupby("model")["run"].count().to_dict() == {'["cnn3", {"width": 8}]': 2}
    assert arms(runs)["arm"].nunique() == 2
    settled = analysis.with_settings(analysis.layers(lists), lists, ["betas"])
    assert compare(settled, by="betas")["runs"].tolist() == [1, 1]


def test_figures_tables_and_report_take_lists(lists: Path, tmp_path: Path) -> None:
    drawn = write_figures(lists, tmp_path, only="mean_drift,accuracy,layer_means", formats=["svg"])
    assert drawn.refused == {}
    assert report_data(lists)["settings"]["different"] == [["betas", ["[0.9, 0.99]", "[0.9, 0.999]"]]]
    book = write_tables(lists)
    assert set(book.refused) == {"scores"}  # none were recorded
    with pytest.raises(ValueError, match=r"needs one number as learning_rate of each run, not '\[0.1, 0.01\]'"):
        analysis.figure("learning_rates", lists)


def test_runs_that_differ_in_the_last_digit_are_two_arms(tmp_path: Path) -> None:
    for run, rate in (("a", 0.12345678), ("b", 0.12345679)):
        record(tmp_path, run, {"norm": "bn", "learning_rate": rate})
    assert arms(analysis.runs(tmp_path))["arm"].tolist() == [
        "BN, learning rate 0.12345678",
        "BN, learning rate 0.12345679",
    ]
    assert report_data(tmp_path)["settings"]["different"] == [["learning_rate", ["0.12345678", "0.12345679"]]]


def test_nothing_in_a_configuration_moves_a_random_generator() -> None:
    before = torch.get_rng_state(), random.getstate()
    config_json({name: value for name, (value, _) in VALUES.items()})
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
