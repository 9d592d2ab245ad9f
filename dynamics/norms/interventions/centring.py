"""Mean-centring whose parts can be removed, weakened, frozen or injected: s (h - a E[h]) + m per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamics.norms.functional_transforms import write
from dynamics.norms.interventions.centring_forms import BATCH_FORMS, FORMS, SUBTRACTS_IN_EVALUATION
from dynamics.norms.interventions.shift import Shift
from dynamics.norms.mean_centring import channel_mean, channel_view
from dynamics.norms.torch_internals import in_backward


class InterventionalCentring(nn.Module):
    """``s (h - a E[h]) + m`` per channel: Eq. 7 has s = a = 1 and a learned m.

    With form ``full``, strength 1, a learned m and no scale it equals
    :class:`~dynamics.norms.mean_centring.MeanCentring`. With a scale it equals the centring of the released scripts. It
    is made of plain operations, for experiments and not for speed. If the form subtracts a mean in training, evaluation
    subtracts ``a`` times the running mean. Otherwise evaluation subtracts nothing.

    Args:
        num_features: Channels C.
        form: The passes in which E[h] acts, see :mod:`dynamics.norms.interventions.centring_forms`.
        strength: a, the share of E[h] that is subtracted, in the forward and in the backward.
        shift: The module that computes m. An m that is not learned is a parameter without a gradient.
        scale: True learns s, starting at 1; False fixes s = 1.
        momentum: Weight of the newest batch in the running moments, 0 to 1.

    Raises:
        ValueError: There is no such form, the input is not ``(N, num_features, ...)``, or a training batch has one
            value a channel and the form centres by the batch.

    Attributes:
        bias: m, ``(C,)``, as the last training forward added it.
        weight: s, ``(C,)``, or None.
        running_mean: Running mean of the input, ``(C,)``, kept with every form.
        running_var: Running variance of the input, ``(C,)``, kept if m is in units of the standard deviation, else
            None.
    """

    weight: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor | None

    def __init__(
        self,
        num_features: int,
        *,
        form: str,
        shift: Shift,
        strength: float = 1.0,
        scale: bool = False,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"centring {form!r}: expected one of {', '.join(FORMS)}.")
        self.num_features, self.form, self.strength, self.momentum = num_features, form, strength, momentum
        self.shift = shift
        self.bias = nn.Parameter(torch.zeros(num_features), requires_grad=shift.learned)
        self.register_parameter("weight", nn.Parameter(torch.ones(num_features)) if scale else None)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) if shift.in_deviations else None)

    def forward(self, h: Tensor) -> Tensor:
        """Return h centred, scaled and shifted."""
        self._check(h)
        subtracted = self._subtracted(h)
        m = self._m()
        if self.weight is None:
            shift = m if subtracted is None else m - subtracted
            return (h + channel_view(shift, like=h)).to(h.dtype)
        centred = h if subtracted is None else h - channel_view(subtracted, like=h)
        return (centred * channel_view(self.weight, like=h) + channel_view(m, like=h)).to(h.dtype)

    def _subtracted(self, h: Tensor) -> Tensor | None:
        """Return the form's ``a E[h]``, ``(C,)``; None if nothing is subtracted. Training moves the running moments."""
        if self.training:
            mean = channel_mean(h if self.form in BATCH_FORMS else h.detach())
            self._track(h.detach(), mean.detach())
            if self.form in BATCH_FORMS:
                return self.strength * BATCH_FORMS[self.form](mean)
        return self.strength * self.running_mean.clone() if self.form in SUBTRACTS_IN_EVALUATION else None

    @torch.no_grad()
    def _track(self, h: Tensor, mean: Tensor) -> None:
        if in_backward():  # activation checkpointing repeats the forward
            return
        write(self.running_mean, self.running_mean.lerp(mean.to(self.running_mean.dtype), self.momentum))
        if self.running_var is not None:
            variance = channel_mean((h - channel_view(mean, like=h)).square()).to(self.running_var.dtype)
            write(self.running_var, self.running_var.lerp(variance, self.momentum))

    def _m(self) -> Tensor:
        """Return m, ``(C,)``. An m that is not learned is computed first; in training it advances by one step."""
        if self.shift.learned:
            return self.bias
        deviation = self.running_mean.new_ones(()) if self.running_var is None else self.running_var.sqrt()
        with torch.no_grad():
            m = self.shift.values(deviation).to(self.bias.dtype).expand(self.num_features).clone()
            if self.training and not in_backward():
                self.bias.copy_(m)
                self.shift.advance()
        return m

    def _check(self, h: Tensor) -> None:
        if h.ndim < 2 or h.shape[1] != self.num_features:
            raise ValueError(f"InterventionalCentring: expected (N, {self.num_features}, ...), got {tuple(h.shape)}")
        if self.training and self.form in BATCH_FORMS and h.numel() <= h.shape[1]:
            raise ValueError(
                f"InterventionalCentring: a training batch of shape {tuple(h.shape)} has one value a channel, which is "
                "its own mean. Use a larger batch, eval(), or centring 'running'."
            )

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.num_features}, form={self.form!r}, strength={self.strength}, scale={self.weight is not None}"
