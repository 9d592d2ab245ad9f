"""Lightning's Trainer under the callback: gradients, loss, epoch, checkpoints, exceptions."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

pl = pytest.importorskip("lightning.pytorch")

from probes.integrations.lightning import MeandriftCallback  # noqa: E402

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore"),  # the Trainer's own, of workers and loggers
]
QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
for name in ("lightning", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Lit(pl.LightningModule):
    """A regression that notes the gradient norms that Lightning's own hook sees."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.net, self.norms, self.losses, self.fails_at = (
            nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)),
            [],
            [],
            fails_at,
        )

    def training_step(self, batch, _index):
        if self.fails_at is not None and self.global_step == self.fails_at:
            raise RuntimeError("the data set is broken")
        loss = self.net(batch).float().square().mean()
        self.losses.append(loss.item())
        self.log("half", loss / 2)
        self.log("of_epoch", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _index):
        self.log("checked", self.net(batch).square().mean())

    def on_before_optimizer_step(self, _optimizer):
        self.norms.append(self.net[0].weight.grad.double().norm().item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def samples(count=20):
    return torch.utils.data.DataLoader(torch.randn(count, 4, generator=torch.Generator().manual_seed(1)), batch_size=5)


def fit(store, tmp_path, module=None, *, run="a", ckpt=None, callback=None, **trainer):
    torch.manual_seed(0)
    module = module or Lit()
    callback = callback or MeandriftCallback(run=run, store=store, every=1, strict=True)
    settings = {"max_epochs": 2, "accelerator": "cpu", "default_root_dir": tmp_path, **QUIET, **trainer}
    settings.setdefault("enable_checkpointing", False)
    made = pl.Trainer(callbacks=[callback], **settings)
    made.fit(module, samples(), samples(5), ckpt_path=ckpt)
    return module, made


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_gradients_losses_and_epochs_are_those_of_the_training(precision, store, table, tmp_path):
    module, _ = fit(store, tmp_path, precision=precision)
    rows, steps = table("layers", layer="net.0"), table("steps", split="train").sort_values("step")
    assert rows["step"].tolist() == list(range(8))
    assert rows["grad_l2_norm"].tolist() == pytest.approx(module.norms, rel=1e-6)
    assert rows["activation_mean"].notna().all()
    assert rows["epoch"].tolist() == [0] * 4 + [1] * 4
    assert steps["loss"].tolist() == pytest.approx(module.losses, rel=1e-5)
    assert steps["half"].tolist() == pytest.approx([loss / 2 for loss in module.losses], rel=1e-2)
    assert table("runs")["status"].item() == "finished"


def test_accumulation_and_clipping(store, table, tmp_path):
    module, _ = fit(store, tmp_path, accumulate_grad_batches=2, gradient_clip_val=0.01, max_epochs=1)
    rows, steps = table("layers", layer="net.0"), table("steps", split="train").sort_values("step")
    assert rows["step"].tolist() == [0, 1]
    assert steps["grad_norm"].tolist() == pytest.approx([0.01, 0.01], rel=1e-3)
    assert (steps["grad_norm_unclipped"] > 0.01).all()
    assert rows["grad_noise"].notna().all()
    assert steps["loss"].tolist() == pytest.approx(module.losses[1::2], rel=1e-5)


def test_the_training_is_bitwise_the_same(store, tmp_path):
    probed, _ = fit(store, tmp_path)
    bare, _ = fit(store, tmp_path, callback=pl.Callback())
    assert probed.losses == bare.losses
    assert all(torch.equal(a, b) for a, b in zip(probed.parameters(), bare.parameters(), strict=True))


def test_a_trainer_that_goes_on_supersedes_the_rows_of_its_checkpoint(store, table, tmp_path):
    _, first = fit(store, tmp_path, run=None, max_epochs=1)
    first.save_checkpoint(tmp_path / "end.ckpt")
    fit(store, tmp_path, run=None, max_epochs=3, ckpt=tmp_path / "end.ckpt")
    rows = table("layers", layer="net.0")
    assert rows["run"].nunique() == 1
    assert sorted(rows["step"]) == list(range(12))


def test_an_exception_closes_the_run_as_failed(store, table, tmp_path):
    with pytest.raises(RuntimeError, match="the data set is broken"):
        fit(store, tmp_path, Lit(fails_at=3))
    assert table("runs")["status"].item() == "failed"
    assert table("layers", layer="net.0")["step"].tolist() == [0, 1, 2]


def test_grave_findings_reach_the_logger_of_the_framework(store, tmp_path, caplog):
    import meandrift as md

    class Breaks(Lit):
        def training_step(self, batch, index):
            return super().training_step(batch, index) * (float("nan") if self.global_step == 3 else 1)

    warn = logging.getLogger("lightning.pytorch").error
    callback = MeandriftCallback(run="a", store=store, every=100, probe=md.Probe, warn=warn)
    fit(store, tmp_path, Breaks(), callback=callback)
    assert [text.partition(": net")[0] for text in caplog.messages] == ["grave finding in run a: NaN"]


def test_a_training_goes_on_from_a_checkpoint_of_one_that_was_switched_off(store, table, tmp_path, monkeypatch):
    with monkeypatch.context() as off:
        off.setenv("MEANDRIFT", "off")
        _, first = fit(store, tmp_path, max_epochs=1)
        first.save_checkpoint(tmp_path / "end.ckpt")
    assert not store.exists()
    fit(store, tmp_path, max_epochs=2, ckpt=tmp_path / "end.ckpt")
    assert table("layers", layer="net.0")["step"].tolist() == [4, 5, 6, 7]  # the first four were not recorded


def test_each_number_stands_at_the_step_and_split_that_it_was_logged_in(store, table, tmp_path):
    fit(store, tmp_path, val_check_interval=0.5)
    train, checked = (table("steps", split=split).sort_values("step") for split in ("train", "validation"))
    assert checked["step"].tolist() == [2, 4, 6, 8]
    assert checked["checked"].notna().all()
    assert train.get("checked", train["loss"] * float("nan")).isna().all()
    assert checked[["half", "of_epoch", "loss"]].isna().all(axis=None)
    means = train.groupby("epoch")["loss"].mean()
    assert train.set_index("step")["of_epoch"].dropna().to_dict() == pytest.approx({3: means[0], 7: means[1]})


class Decays(Lit):
    """A training whose learning rate falls with each step."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}


def test_the_learning_rate_is_that_of_the_step(store, table, tmp_path):
    fit(store, tmp_path, Decays())
    train = table("steps", split="train").sort_values("step")
    assert train["lr"].tolist() == pytest.approx([0.1 * 0.5**step for step in range(8)])


def test_a_trainer_that_fits_on_goes_on_with_its_run(store, table, tmp_path):
    module, first = fit(store, tmp_path, max_epochs=1)
    first.save_checkpoint(tmp_path / "end.ckpt")
    module, trainer = fit(store, tmp_path, max_epochs=2, ckpt=tmp_path / "end.ckpt")
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, samples(), samples(5))
    steps = table("steps")
    assert sorted(steps["step"][steps["split"] == "train"]) == list(range(12))
    assert sorted(steps["step"][steps["split"] == "validation"]) == [4, 8, 12]
