from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.plotting.style import depth_colormap, depth_colors, depth_dashes, house_style, norm_style, tint

NORMS = ["none", "bn", "sn", "msn", "wn", "wn_mean", "ln", "in", "sn_beta"]


def luminance(color: object) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def as_seen_without_red_cones(color: str) -> np.ndarray:
    """Return a colour as a protanope sees it (Vienot, Brettel and Mollon 1999)."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)])
    return np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]]) @ linear


def test_every_norm_has_its_own_colour_and_line_style() -> None:
    styles = [norm_style(norm) for norm in NORMS]
    assert len({color for color, _ in styles}) == len(NORMS)
    assert len({dashes for _, dashes in styles}) == len(NORMS)


def test_the_papers_norms_are_told_apart_without_red_cones() -> None:
    seen = [as_seen_without_red_cones(norm_style(norm)[0]) for norm in ("bn", "sn", "msn")]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.1


def test_every_norm_stands_out_on_white() -> None:
    for norm in NORMS:
        assert 1.05 / (luminance(norm_style(norm)[0]) + 0.05) > 2, norm


def test_a_released_norm_looks_like_its_equations() -> None:
    assert norm_style("released_msn") == norm_style("msn")


def test_strangers_get_looks_by_their_place() -> None:
    styles = [norm_style("mine", place=place) for place in range(32)]
    assert len(set(styles)) == 32
    assert all(one[1] != two[1] for one, two in itertools.pairwise(styles))  # told apart in greyscale too


def test_arms_of_one_norm_keep_its_hue_and_grow_lighter() -> None:
    shades = [tint("#0072B2", place, 3) for place in range(3)]
    assert shades[0] == "#0072b2"
    assert [luminance(shade) for shade in shades] == sorted(luminance(shade) for shade in shades)
    assert tint("#0072B2", 0, 1) == "#0072B2"


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_depth_is_read_in_greyscale_too(count: int) -> None:
    values = [luminance(color[:3]) for color in depth_colors(count)]
    assert len(values) == count
    assert values == sorted(values)
    assert max(values) < 0.75  # visible on white


def test_the_depth_colours_keep_clear_of_white() -> None:
    assert luminance(depth_colormap()(1.0)[:3]) < 0.75


def test_few_layers_have_line_styles_of_their_own() -> None:
    assert len(set(depth_dashes(8))) == 8
    assert len(set(depth_dashes(100))) == 1


def test_the_style_holds_inside_its_block_alone() -> None:
    before = dict(mpl.rcParams)
    with house_style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["svg.fonttype"] == "none"
    assert dict(mpl.rcParams) == before
