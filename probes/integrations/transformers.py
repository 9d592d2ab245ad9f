"""A callback for the Trainer of Hugging Face transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from probes.integrations.logged_numbers import logged_numbers
from probes.integrations.opening import OpensProbe
from probes.integrations.state_file import read_state, write_state

_STATE = "meandrift.pt"


class MeandriftCallback(OpensProbe, TrainerCallback):
    """Records a training by ``transformers.Trainer``: accumulation, mixed precision, gradient checkpointing, DDP.

    Table ``steps`` gets the numbers that the Trainer logs, under their names. ``loss`` is the mean since its last log.
    A Trainer that goes on from a checkpoint (``resume_from_checkpoint=``) supersedes the rows from its step on. A run
    whose training ends by an exception is closed as "failed" when the process ends.

    Examples:
        >>> trainer = Trainer(model, args, callbacks=[MeandriftCallback(every=100)])  # doctest: +SKIP
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Attach the probe."""
        saved = _saved(args, state.global_step)
        probe = self._open(given["model"], given["optimizer"], step=state.global_step, saved=saved, config=args)
        probe.epoch = int(state.epoch or 0)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Note the epoch."""
        if self.probe is not None:
            self.probe.epoch = int(state.epoch or 0)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **given: Any,
    ) -> None:
        """Log the numbers that the Trainer logs."""
        logs: dict[str, Any] = given["logs"]
        if self.probe is not None:
            split = "validation" if any(name.startswith("eval_") for name in logs) else "train"
            self.probe.log(split=split, **logged_numbers(logs))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Keep the state of the probe beside the Trainer's checkpoint."""
        folder = _checkpoint(args, state.global_step)
        if args.should_save and folder.is_dir() and (saved := self._state_now()):
            write_state(folder / _STATE, saved)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Close the run."""
        self._close("finished")


def _saved(args: TrainingArguments, step: int) -> dict[str, Any]:
    """Return the probe's state beside the Trainer's checkpoint of a step; empty where there is none."""
    return read_state(_checkpoint(args, step) / _STATE) if step else {}


def _checkpoint(args: TrainingArguments, step: int) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{step}"
