from __future__ import annotations

import math

import pytest

from dynamics.classifier.learning_rate import scheduled_rate


def test_a_constant_rate_is_left_to_the_optimizer() -> None:
    assert scheduled_rate(0.1, schedule="constant", steps=9) is None


def test_decay_is_constant_for_two_thirds_and_then_linear_to_zero() -> None:
    rate = scheduled_rate(0.1, schedule="decay", steps=9)
    assert rate is not None
    expected = [0.1] * 7 + [0.1 * 2 / 3, 0.1 / 3]
    assert [rate(step) for step in range(9)] == pytest.approx(expected)
    assert rate(9) == 0


def test_cosine_is_half_a_wave() -> None:
    rate = scheduled_rate(0.1, schedule="cosine", steps=8)
    assert rate is not None
    assert [rate(step) for step in (0, 4, 8)] == pytest.approx([0.1, 0.05, 0])
    assert rate(2) == pytest.approx(0.05 * (1 + math.sqrt(0.5)))


def test_an_unknown_schedule_is_told() -> None:
    with pytest.raises(ValueError, match="schedule 'step': expected one of constant, cosine, decay"):
        scheduled_rate(0.1, schedule="step", steps=8)
