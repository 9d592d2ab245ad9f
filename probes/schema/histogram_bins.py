"""The edges of histogram bins."""

from __future__ import annotations

import numpy as np


def bin_edges(first_bin: int, length: int, *, mantissa_bits: int) -> np.ndarray:
    """Return the ``length + 1`` edges of signed exponent bins, ascending.

    Bin ``i >= 0`` holds the float32 numbers whose bit pattern, without sign, shifted right by
    ``23 - mantissa_bits``, is ``i``. An octave has ``2**mantissa_bits`` bins. Bin ``-1 - i`` holds the negatives of
    these numbers. Bins 0 and -1 meet at zero and also hold subnormal numbers and zeros. The bins are the same for every
    tensor, step, rank and run, so counts add.

    Args:
        first_bin: Bin of the first count, from ``-255 * 2**mantissa_bits``.
        length: Number of bins.
        mantissa_bits: Bits of the mantissa that the bin index keeps, 0 to 7.
    """
    bins = np.arange(first_bin, first_bin + length + 1)
    # Bin i starts at the float whose bits are i << shift; a negative bin is the mirror image of -bin.
    magnitude = (np.abs(bins).astype(np.uint32) << np.uint32(23 - mantissa_bits)).view(np.float32)
    return np.copysign(magnitude.astype(np.float64), bins)
