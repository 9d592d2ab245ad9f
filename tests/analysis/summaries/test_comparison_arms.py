from __future__ import annotations

import pandas as pd

from analysis.summaries.comparison_arms import arms, arms_of


def runs(**settings: list[object]) -> pd.DataFrame:
    count = len(next(iter(settings.values())))
    return pd.DataFrame({"run": [f"r{i}" for i in range(count)], "status": ["finished"] * count, **settings})


def names(table: pd.DataFrame) -> list[str]:
    return arms(table)["arm"].tolist()


def test_runs_that_differ_in_the_seed_alone_are_one_arm() -> None:
    assert names(runs(norm=["bn", "bn", "sn"], seed=[0, 1, 0])) == ["BN", "BN", "SN"]


def test_runs_that_differ_in_anything_else_are_never_one_arm() -> None:
    table = runs(norm=["bn", "bn"], learning_rate=[0.1, 0.001], seed=[0, 0])
    assert names(table) == ["BN, learning rate 0.1", "BN, learning rate 0.001"]
    nested = runs(norm=["sn", "sn"], **{"optimizer.momentum": [0.0, 0.9]})
    assert names(nested) == ["SN, optimizer.momentum 0", "SN, optimizer.momentum 0.9"]


def test_how_and_where_a_run_was_made_is_no_difference() -> None:
    assert names(runs(norm=["bn", "bn"], seed=[0, 1], device=["cpu", "cuda"], every=[1, 50])) == ["BN", "BN"]


def test_settings_without_a_norm_name_the_arm() -> None:
    assert names(runs(width=[1, 2])) == ["width 1", "width 2"]


def test_without_any_setting_each_run_is_an_arm() -> None:
    assert names(runs(last_step=[5, 5])) == ["r0", "r1"]


def test_a_setting_that_one_run_lacks_tells_arms_apart() -> None:
    assert names(runs(norm=["bn", "bn"], dropout=[0.3, float("nan")])) == ["BN, dropout 0.3", "BN"]


def test_many_settings_that_other_runs_lack_are_counted() -> None:
    later = {name: [None, "own", "own"] for name in ("centring", "scale", "sigma")}
    assert names(runs(norm=["bn", "bn", "sn"], **later)) == ["BN", "BN, 3 further settings", "SN, 3 further settings"]
    named = names(runs(norm=["bn", "bn", "bn"], depth=[None, 40, 100], **later))
    assert named == ["BN", "BN, depth 40, 3 further settings", "BN, depth 100, 3 further settings"]


def test_settings_that_are_counted_never_join_arms() -> None:
    other = {name: [None, 1, None] for name in "abc"} | {name: [None, None, 1] for name in "def"}
    assert names(runs(norm=["bn"] * 3, **other)) == ["BN", "BN, a 1, b 1, c 1", "BN, d 1, e 1, f 1"]


def test_norms_come_in_the_papers_order_and_strangers_last() -> None:
    table = arms(runs(norm=["zz", "msn", "sn", "bn", "none"]))
    assert arms_of(table)["norm"].tolist() == ["none", "bn", "sn", "msn", "zz"]


def test_nothing_but_one_norm_of_each_gets_a_plain_name() -> None:
    assert names(runs(norm=["bn", "released_bn", "sn"])) == ["BN", "released BN", "SN"]
