"""One training by a framework's Trainer, with checkpoints of its own, that may kill itself on the way.

    python -m tests.probes.integrations.killed_training <framework> <folder> <place>

trains in the folder, going on from the newest checkpoint there, and dies by SIGKILL at a place: "step 3" is when three
steps are taken, "saved 4" when the checkpoint of step 4 is written, "nowhere" does not come. It evaluates before each
checkpoint. The store is ``<folder>/runs``.
"""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

STEPS, EVERY = 12, 4
RATE = 0.05


def die_at(place, here):
    """End this process as the kernel ends one that takes too much memory."""
    if here == place:
        os.kill(os.getpid(), signal.SIGKILL)


def by_transformers(folder, dies):
    """Train a small GPT-2; dropout and the order of the samples come from random numbers."""
    import transformers

    from probes.integrations.transformers import MeandriftCallback
    from tests.probes.integrations.zoo import ZOO

    class Dies(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **_):  # noqa: ARG002
            die_at(dies, f"step {state.global_step}")

        def on_save(self, args, state, control, **_):  # noqa: ARG002
            die_at(dies, f"saved {state.global_step}")

    torch.manual_seed(0)
    model, samples = ZOO["gpt2"]()
    args = transformers.TrainingArguments(
        output_dir=str(folder / "out"), max_steps=STEPS, save_steps=EVERY, logging_steps=1, learning_rate=RATE,
        eval_strategy="steps", eval_steps=EVERY,
        per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    watch = MeandriftCallback(run="a", store=folder / "runs", every=1, strict=True, resume="auto")
    trainer = transformers.Trainer(model, args, train_dataset=samples, eval_dataset=samples, callbacks=[watch, Dies()])
    trainer.train(resume_from_checkpoint=any((folder / "out").glob("checkpoint-*")) or None)


def by_lightning(folder, dies):
    """Train a small network, with a validation and a checkpoint at the end of each epoch."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint

    from probes.integrations.lightning import MeandriftCallback

    class Regression(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))

        def training_step(self, batch, _index):
            return self.net(batch).square().mean()

        def validation_step(self, batch, _index):
            self.log("val_loss", self.net(batch).square().mean())

        def on_train_batch_end(self, *_):
            die_at(dies, f"step {self.global_step}")

        def on_train_epoch_start(self):
            die_at(dies, f"saved {self.global_step}")

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=RATE)

    torch.manual_seed(0)
    data = torch.utils.data.DataLoader(torch.randn(3 * EVERY, 4), batch_size=3)
    watch = MeandriftCallback(run="a", store=folder / "runs", every=1, strict=True, resume="auto")
    saves = ModelCheckpoint(folder / "out", save_top_k=-1, filename="{epoch}")
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        callbacks=[watch, saves], accelerator="cpu", max_epochs=STEPS // EVERY, default_root_dir=folder, **quiet
    )
    saved = sorted((folder / "out").glob("*.ckpt"))
    trainer.fit(Regression(), data, data, ckpt_path=saved[-1] if saved else None)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for logger in ("transformers", "lightning", "lightning.pytorch"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    {"transformers": by_transformers, "lightning": by_lightning}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
