"""Windows of a text: each character once an epoch, its target the one behind it."""

from __future__ import annotations

import pytest
import torch

from dynamics.data.text.windows import TextBatches, window_count, windows

TEXT = torch.arange(103)


@pytest.mark.parametrize("offset", range(10))
def test_windows_lie_side_by_side_and_a_target_is_the_next_character(offset: int) -> None:
    inputs, targets = windows(TEXT, context=10, offset=offset)
    assert inputs.flatten().tolist() == list(range(offset, offset + inputs.numel()))
    assert torch.equal(targets, inputs + 1)
    assert len(inputs) >= window_count(TEXT, context=10) == 9


def test_a_text_as_long_as_a_window_has_none() -> None:
    assert windows(TEXT[:10], context=10)[0].shape == (0, 10)
    assert windows(TEXT[:11], context=10)[0].shape == (1, 10)


@pytest.mark.parametrize("length", range(1, 64))
def test_so_many_windows_are_counted_as_there_are_at_the_last_offset(length: int) -> None:
    assert window_count(TEXT[:length], context=10) == len(windows(TEXT[:length], context=10, offset=9)[0])


def test_an_epoch_shows_no_character_twice_and_another_epoch_other_windows(seed: int) -> None:
    batches = TextBatches(TEXT, context=10, batch_size=3, seed=seed)
    seen = [torch.cat([inputs for inputs, _ in batches.epoch(epoch)]) for epoch in range(4)]
    for inputs in seen:
        assert len(inputs) == 9
        assert len(inputs.unique()) == 90
    assert len({tuple(inputs.flatten().tolist()) for inputs in seen}) == 4
    assert len({int(inputs[:, 0].min()) % 10 for inputs in seen}) > 1  # windows begin elsewhere


def test_a_resumed_epoch_goes_on_where_it_stopped(seed: int) -> None:
    batches = TextBatches(TEXT, context=10, batch_size=3, seed=seed)
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, start=2))
    assert len(whole) == len(batches) == 3
    assert len(rest) == 1
    assert all(torch.equal(one, other) for one, other in zip(whole[2], rest[0], strict=True))


def test_the_shares_of_processes_are_the_batch_of_one(seed: int) -> None:
    batches = TextBatches(TEXT, context=10, batch_size=4, seed=seed)
    [whole, *_] = batches.epoch(0)
    shares = [next(iter(batches.epoch(0, rank=rank, ranks=2))) for rank in range(2)]
    together = torch.stack([inputs for inputs, _ in shares], 1).flatten(0, 1)
    assert torch.equal(together, whole[0])


def test_a_batch_larger_than_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match="batch size 10: expected 1 to 9, the number of windows of 10 characters"):
        TextBatches(TEXT, context=10, batch_size=10)
