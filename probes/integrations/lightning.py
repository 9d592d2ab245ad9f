"""A callback for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from probes.integrations.logged_numbers import logged_numbers
from probes.integrations.opening import OpensProbe


class MeandriftCallback(OpensProbe, Callback):
    """Records a Lightning training: automatic and manual optimization, several optimizers, each precision plugin.

    Table ``steps`` gets the numbers that the module logs (``self.log("loss", ...)``) under their names, and the loss
    that ``training_step`` returns as ``loss``. A Trainer that goes on from a checkpoint (``ckpt_path=``) supersedes the
    rows from its step on.

    Examples:
        >>> trainer = pl.Trainer(callbacks=[MeandriftCallback(every=100)])  # doctest: +SKIP
    """

    def __init__(self, **settings: Any) -> None:
        """Prepare a probe; the settings are those of :class:`probes.integrations.opening.OpensProbe`."""
        super().__init__(**settings)
        self._resumed: dict[str, Any] | None = None
        self._logged: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach the probe."""
        # If the same Trainer fits again, no checkpoint is loaded.
        saved = self._resumed or (self._state if trainer.global_step else {})
        self._resumed = None
        # Lightning counts the steps of all optimizers.
        step = saved.get("step", trainer.global_step // max(1, len(trainer.optimizers)))
        probe = self._open(pl_module, trainer.optimizers, step=step, saved=saved, config=dict(pl_module.hparams))
        probe.epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Log the numbers of the epoch that has ended, and note the new epoch."""
        if self.probe is not None:
            self._log(trainer)
            self.probe.epoch = trainer.current_epoch

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Log the loss of the batch, and the numbers that the module has logged."""
        if self.probe is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        # Lightning hands on the loss divided by the number of batches that it accumulates.
        whole = {} if loss is None else {"loss": loss * trainer.accumulate_grad_batches}
        self._log(trainer, **whole)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Log the numbers that the training has logged since the end of its batch."""
        self._log(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Log the numbers of the validation."""
        self._log(trainer, split="validation")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Log the numbers of the last epoch, and close the run."""
        self._log(trainer)
        self._close("interrupted" if trainer.interrupted else "finished")

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        """Close the run as failed, or as interrupted."""
        self._close("interrupted" if isinstance(exception, KeyboardInterrupt) else "failed")

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the probe, for the Trainer's checkpoint; empty where it is switched off."""
        return self._state_now()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the training goes on."""
        self._resumed = state_dict or None

    def _log(self, trainer: pl.Trainer, *, split: str = "train", **numbers: Any) -> None:
        """Log numbers, and those that the module has logged since the last call.

        The Trainer itself keeps all logged numbers.
        """
        if self.probe is None or not self._is_open or trainer.sanity_checking:
            return
        shown = dict(trainer.logged_metrics)
        new = {name: value for name, value in shown.items() if not _is_same(value, self._logged.get(name))}
        self._logged = shown
        if numbers or new:
            self.probe.log(split=split, **logged_numbers({**numbers, **new}))


def _is_same(new: Tensor, old: Tensor | None) -> bool:
    """Return whether two values come from one call of ``self.log``.

    Each call makes a copy, which the Trainer shows again.
    """
    return old is not None and new.data_ptr() == old.data_ptr()
