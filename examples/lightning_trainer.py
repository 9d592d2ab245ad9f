"""Lightning: one callback records the layers, what the module logs, epochs and validation.

Needs ``pip install 'meandrift[lightning]'``. Run it as ``python examples/lightning_trainer.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import meandrift as md
from probes.integrations.lightning import MeandriftCallback


class Classifier(pl.LightningModule):
    """Says whether the sum of 16 numbers is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Log the accuracy."""
        self.log("accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer that the probe finds by itself."""
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def main(folder: Path) -> None:
    """Fit three epochs, recorded at every fifth step."""
    pl.seed_everything(0, verbose=False)
    x = torch.randn(1024, 16)
    data = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=64)
    watch = MeandriftCallback(store=folder / "runs", run="lightning", every=5, overwrite=True)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(max_epochs=3, accelerator="cpu", callbacks=[watch], default_root_dir=folder, **quiet)
    trainer.fit(Classifier(), data, data)

    layers = md.layers(folder / "runs", columns=["grad_l2_norm", "update_ratio"])
    print(f"{len(layers)} rows of layers {sorted(set(layers['layer']))} in {folder / 'runs'}")
    steps = md.steps(folder / "runs", columns=["loss", "accuracy"])
    print(steps.groupby(["epoch", "split"], observed=True)[["loss", "accuracy"]].mean().round(3))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
