"""What a training leaves behind, to be compared bit by bit."""

from __future__ import annotations

import torch


class Trained:
    """What a training leaves behind, and in what it differs from another one by a single bit."""

    def __init__(self, losses, model, optimizer):
        self.parts = {f"loss {step}": loss for step, loss in enumerate(losses)}
        self.parts |= {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            self.parts |= {f"{name} {number}": torch.as_tensor(value) for name, value in state.items()}
        self.parts["random state"] = torch.get_rng_state()
        self.parts["modes"] = torch.tensor([module.training for module in model.modules()])
        self.hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    def differences(self, other):
        assert list(self.parts) == list(other.parts)
        changed = [name for name, part in self.parts.items() if not torch.equal(part, other.parts[name])]
        return changed + (["hooks"] if self.hooks != other.hooks else [])
