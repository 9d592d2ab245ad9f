"""A head that is replaced after the probe was attached: the old rows end, the new module is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import Probe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.body(x).relu())


@pytest.mark.parametrize("every", [1, 3])
def test_rows_of_a_replaced_layer_end_and_its_successor_is_named_at_the_next_record(every, store, table, gaps):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(model, optimizer, store=store, run="a", every=every):
        for step in range(12):
            if step == 5:
                model.fc = nn.Linear(4, 4)
                optimizer.param_groups[0]["params"] = list(model.parameters())
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            if step == 5 + (-5 % every):
                with pytest.warns(RuntimeWarning, match="added or replaced after the probe was attached: fc"):
                    optimizer.step()
            else:
                optimizer.step()
    assert table("layers", layer="fc")["step"].max() < 5
    assert table("layers", layer="body")["step"].max() == 11 - 11 % every
    assert table("parameters", parameter="fc.weight")["step"].max() < 5
    assert [gap["what"] for gap in gaps()] == ["new modules"]
