"""Activations in all ways to lie in memory, and the comparison of what a kernel sums of them with torch's numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from probes.metrics.activation_gradient import finish_gradient, reduce_gradient
from probes.metrics.activation_moments import finish_moments, reduce_moments
from probes.metrics.activation_range import finish_range, reduce_range
from probes.metrics.channel_sums import ChannelSums


def examples() -> dict[str, tuple[Tensor, int]]:
    """Return activations, each with the dimension of its channels."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=generator) * scale + shift

    spoiled = draw(3, 5, 7, 6)
    spoiled[0, 0, 0, 0], spoiled[1, 2, 3, 4], spoiled[2, 2, 0, 0] = float("inf"), float("nan"), -float("inf")
    return {
        "planes": (draw(5, 6, 7, 9, scale=3, shift=2), 1),
        "long planes": (draw(2, 3, 40, 40), 1),
        "far from zero": (draw(8, 4, 20, 20, shift=1000), 1),
        "channels last": (draw(5, 70, 6, 6).contiguous(memory_format=torch.channels_last), 1),
        "vectors": (draw(300, 130, shift=5), 1),
        "tokens": (draw(4, 9, 33), 2),
        "one of each": (draw(1, 1), 1),
        "strided": (draw(4, 3, 10)[:, :, ::2], 1),
        "not finite": (spoiled, 1),
        "not finite, channels last": (spoiled.contiguous(memory_format=torch.channels_last), 1),
        "sparse": (draw(4, 6, 9, 9).relu(), 1),
        "bfloat16": (draw(6, 3, 16, 16).bfloat16(), 1),
        "float16": (draw(6, 300).half(), 1),
    }


def compare(sums: Callable[[Tensor, int], ChannelSums | None]) -> int:
    """Compare all examples; return how many there are."""
    given = examples()
    begun = [sums(x, dim) for x, dim in given.values()]
    assert all(isinstance(each, ChannelSums) for each in begun)
    found = finish_moments(begun), finish_range(begun), finish_gradient([(each, None) for each in begun])
    for (name, (x, dim)), *vectors in zip(given.items(), *found, strict=True):
        moments, extent, gradient = (vector.cpu() for vector in vectors)
        expected = reduce_moments(x, dim)
        if name.startswith("not finite"):
            assert moments[3] == 3
            assert not moments[2].isfinite()
            same = moments.isfinite() == expected.isfinite()  # infinite or NaN: either says so
            assert same.all()
            moments, expected = (v.nan_to_num(7, 7, 7) for v in (moments, expected))
        else:
            assert_close(name, gradient, reduce_gradient(x, dim))
        assert_close(name, moments, expected)
        assert_close(name, extent, reduce_range(x, dim))
    return len(given)


def assert_close(name: str, found: Tensor, expected: Tensor) -> None:
    """Compare to a few roundings of float32; NaN is like itself."""
    torch.testing.assert_close(
        found, expected, rtol=2e-5, atol=2e-5, equal_nan=True, msg=lambda text: f"{name}: {text}"
    )


if __name__ == "__main__":  # in a process of its own, as Triton's interpreter is chosen when a kernel is defined
    from triton.language import constexpr

    from probes.metrics import channel_kernels
    from probes.metrics.channel_sums import launch

    channel_kernels.GROUPS = constexpr(3)  # each program takes the interpreter 10 ms
    print("all", compare(lambda x, dim: ChannelSums(x.numel(), launch(channel_kernels, x, dim))))
