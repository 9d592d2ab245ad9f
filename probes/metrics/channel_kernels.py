"""Kernels for a GPU, in Triton: sums over each channel of an activation, in one pass over its memory.

Torch would read the activation ten times: for the variance, for masks and for the counts of the masks. Each program
takes every ``GROUPS``-th part of a channel and adds up ``x - k`` and ``(x - k)^2``, with ``k`` the channel's first
entry, so that a mean far from zero costs no digits. It counts the entries that are not finite, NaN, zero or beyond 3 in
magnitude, and keeps the largest entry that is not NaN. The result is float64, ``(NUMBERS, channels, GROUPS)``, in this
order after ``k``.
"""

from __future__ import annotations

import triton
import triton.language as tl

NUMBERS = 8
GROUPS = tl.constexpr(32)  # programs for each channel: they keep a GPU busy with few channels
SATURATED = tl.constexpr(3.0)  # as in activation_range


@triton.jit
def _finite_or_zero(x: tl.tensor) -> tl.tensor:
    return tl.where(x - x == 0, x, 0.0)


@triton.jit
def _tally(  # noqa: PLR0917 - a kernel has no keywords
    values: tl.tensor,
    inside: tl.tensor,
    shift: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    bad: tl.tensor,
    nans: tl.tensor,
    zeros: tl.tensor,
    beyond: tl.tensor,
    most: tl.tensor,
) -> tl.tensor:
    """Return the sums, counts and maximum after adding a block of entries."""
    apart = tl.where(inside, values - shift, 0.0)
    is_number = values == values  # noqa: PLR0124 - NaN is not
    return (
        first + apart,
        second + apart * apart,
        bad + tl.where(values - values == 0, 0, 1),
        nans + tl.where(is_number, 0, 1),
        zeros + tl.where(inside & (values == 0), 1, 0),
        beyond + tl.where(tl.abs(values) > SATURATED, 1, 0),
        tl.maximum(most, tl.where(inside & is_number, values, -float("inf"))),
    )


@triton.jit
def _keep(  # noqa: PLR0917 - a kernel has no keywords
    place: tl.tensor, stride: tl.tensor, there: tl.tensor, shift: tl.tensor, first: tl.tensor, second: tl.tensor,
    bad: tl.tensor, nans: tl.tensor, zeros: tl.tensor, beyond: tl.tensor, most: tl.tensor,
) -> None:  # fmt: skip
    """Write the numbers of one or several channels, ``stride`` apart."""
    tl.store(place, shift.to(tl.float64), mask=there)
    tl.store(place + stride, tl.sum(first.to(tl.float64), axis=0), mask=there)
    tl.store(place + 2 * stride, tl.sum(second.to(tl.float64), axis=0), mask=there)
    tl.store(place + 3 * stride, tl.sum(bad, axis=0).to(tl.float64), mask=there)
    tl.store(place + 4 * stride, tl.sum(nans, axis=0).to(tl.float64), mask=there)
    tl.store(place + 5 * stride, tl.sum(zeros, axis=0).to(tl.float64), mask=there)
    tl.store(place + 6 * stride, tl.sum(beyond, axis=0).to(tl.float64), mask=there)
    tl.store(place + 7 * stride, tl.max(most, axis=0).to(tl.float64), mask=there)


@triton.jit(do_not_specialize=["channels", "items", "chunks"])
def sum_planes(  # noqa: PLR0917 - a kernel has no keywords
    x: tl.tensor,
    sums: tl.tensor,
    channels: tl.tensor,
    inner: tl.tensor,
    items: tl.tensor,
    chunks: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Sum ``(samples, channels, inner)``, contiguous, into ``(NUMBERS, channels, GROUPS)``.

    Args:
        x: The activation.
        sums: The result, float64.
        channels: Number of channels.
        inner: Number of entries of a channel in a sample.
        items: ``samples * chunks``.
        chunks: Number of blocks for ``inner`` entries.
        BLOCK: Entries of a block.
    """
    channel, group = tl.program_id(0), tl.program_id(1)
    shift = _finite_or_zero(tl.load(x + channel * inner).to(tl.float32))
    lanes = tl.arange(0, BLOCK)
    first = tl.zeros([BLOCK], dtype=tl.float32)
    second = tl.zeros([BLOCK], dtype=tl.float32)
    bad = tl.zeros([BLOCK], dtype=tl.int32)
    nans = tl.zeros([BLOCK], dtype=tl.int32)
    zeros = tl.zeros([BLOCK], dtype=tl.int32)
    beyond = tl.zeros([BLOCK], dtype=tl.int32)
    most = tl.full([BLOCK], -float("inf"), dtype=tl.float32)
    for item in range(group, items, GROUPS):
        sample = item // chunks
        places = (item % chunks) * BLOCK + lanes
        inside = places < inner
        start = (sample.to(tl.int64) * channels + channel) * inner
        values = tl.load(x + start + places, mask=inside, other=0.0).to(tl.float32)
        first, second, bad, nans, zeros, beyond, most = _tally(
            values, inside, shift, first, second, bad, nans, zeros, beyond, most
        )
    place = sums + channel * GROUPS + group
    _keep(place, channels * GROUPS, True, shift, first, second, bad, nans, zeros, beyond, most)


@triton.jit(do_not_specialize=["rows"])
def sum_rows(  # noqa: PLR0917 - a kernel has no keywords
    x: tl.tensor, sums: tl.tensor, channels: tl.tensor, rows: tl.tensor, ROWS: tl.constexpr, CHANNELS: tl.constexpr
) -> None:
    """Sum ``(rows, channels)``, contiguous, into ``(NUMBERS, channels, GROUPS)``.

    Args:
        x: The activation.
        sums: The result, float64.
        channels: Number of channels.
        rows: Number of rows.
        ROWS: Rows of a block.
        CHANNELS: Channels of a block.
    """
    group = tl.program_id(1)
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = columns < channels
    shift = _finite_or_zero(tl.load(x + columns, mask=there, other=0.0).to(tl.float32))
    first = tl.zeros([ROWS, CHANNELS], dtype=tl.float32)
    second = tl.zeros([ROWS, CHANNELS], dtype=tl.float32)
    bad = tl.zeros([ROWS, CHANNELS], dtype=tl.int32)
    nans = tl.zeros([ROWS, CHANNELS], dtype=tl.int32)
    zeros = tl.zeros([ROWS, CHANNELS], dtype=tl.int32)
    beyond = tl.zeros([ROWS, CHANNELS], dtype=tl.int32)
    most = tl.full([ROWS, CHANNELS], -float("inf"), dtype=tl.float32)
    for start in range(group * ROWS, rows, GROUPS * ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & there[None, :]
        places = row.to(tl.int64)[:, None] * channels + columns[None, :]
        values = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
        first, second, bad, nans, zeros, beyond, most = _tally(
            values, inside, shift[None, :], first, second, bad, nans, zeros, beyond, most
        )
    place = sums + columns * GROUPS + group
    _keep(place, channels * GROUPS, there, shift, first, second, bad, nans, zeros, beyond, most)
