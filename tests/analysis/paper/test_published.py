"""The published numbers keep the relations that the paper states between them."""

from __future__ import annotations

from analysis.paper.published import published_accuracy, published_parameters, published_scores


def test_every_published_network_has_three_norms() -> None:
    for table in (published_accuracy(), published_parameters()):
        assert set(table.groupby("model")["norm"].nunique()) == {3}
    assert {"bn", "sn", "msn"} <= set(published_scores()["norm"])


def test_parameters_differ_from_bn_by_what_the_paper_prints_in_brackets() -> None:
    wide = published_parameters().pivot(index="model", columns="norm", values="published")
    less = wide.sub(wide["bn"], axis="index")[["sn", "msn"]]
    assert less.T.to_dict("list") == {
        "critic": [-2816, -1407],
        "cnn3": [-156, -76],
        "vgg7": [-1146, -570],
        "densenet_bc": [-2122, -1060],
    }


def test_accuracies_are_shares() -> None:
    assert published_accuracy()["published"].between(0.78, 0.99).all()
