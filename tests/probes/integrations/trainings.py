"""Three steps of training under each framework, with a probe or without, and what the test itself has seen of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

BATCH, STEPS = 2, 3
RATE, EPS = 0.05, 1e-3  # which float16 holds


@dataclass
class Seen:
    """What the test's own hooks saw.

    Attributes:
        gradients: For each step, the length of each parameter's gradient just before the update.
        weights: For each step, the length of each trained parameter then.
        losses: For each step, the loss.
        state: The model's state in the end.
    """

    gradients: list[dict[str, float]] = field(default_factory=list)
    weights: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def look(self, model: nn.Module) -> None:
        """Look at a model that is about to be updated."""
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
        self.gradients.append({name: p.grad.double().norm().item() for name, p in trained.items()})
        self.weights.append({name: p.detach().double().norm().item() for name, p in trained.items()})


def under_trainer(model, samples, store, folder, **settings) -> Seen:
    """Train by transformers' Trainer; without a store there is no probe."""
    import transformers

    from probes.integrations.transformers import MeandriftCallback

    logging.getLogger("transformers").setLevel(logging.ERROR)
    seen = Seen()

    class Look(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **_):  # noqa: ARG002
            seen.look(model)

    args = transformers.TrainingArguments(
        output_dir=str(folder / "out"), max_steps=STEPS, per_device_train_batch_size=BATCH, logging_steps=1,
        learning_rate=RATE, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False, dataloader_pin_memory=False, **settings,
    )  # fmt: skip
    probed = [] if store is None else [MeandriftCallback(run="a", store=store, every=1, strict=True)]
    trainer = transformers.Trainer(model, args, train_dataset=samples, callbacks=[Look(), *probed])
    trainer.train()
    seen.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    seen.state = model.state_dict()
    return seen


def under_accelerate(model, samples, store, folder, **settings) -> Seen:
    """Train by a loop of one's own around what ``accelerator.prepare`` returns."""
    import contextlib

    import accelerate

    from probes import Probe

    seen = Seen()
    accelerator = accelerate.Accelerator(cpu=True, **settings)
    data = torch.utils.data.DataLoader(samples, batch_size=BATCH)
    model, optimizer, data = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=RATE), data)
    probed = (
        contextlib.nullcontext()
        if store is None
        else Probe(model, optimizer, run="a", store=store, every=1, strict=True)
    )
    with probed as probe:
        if probe is not None:
            probe.epoch = 0
        for batch in data:
            with accelerator.accumulate(model):
                loss = model(**batch)["loss"]
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    seen.look(accelerator.unwrap_model(model))
                    seen.losses.append(loss.item())
                optimizer.step()
                if probe is not None:
                    probe.log(loss=loss)
                optimizer.zero_grad()
    seen.state = accelerator.unwrap_model(model).state_dict()
    return seen


def under_lightning(model, samples, store, folder, *, module: Any = None, **settings) -> Seen:
    """Train by Lightning's Trainer, by automatic optimization unless the module says otherwise."""
    import lightning.pytorch as pl

    from probes.integrations.lightning import MeandriftCallback

    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    seen = Seen()

    class Automatic(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, _index):
            loss = self.model(**batch)["loss"]
            seen.losses.append(loss.item())
            return loss

        def on_before_optimizer_step(self, _optimizer):
            if not settings.get("gradient_clip_val"):
                seen.look(self)

        def configure_gradient_clipping(self, optimizer, *args, **options):
            super().configure_gradient_clipping(optimizer, *args, **options)
            if settings.get("gradient_clip_val"):
                seen.look(self)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=RATE, eps=EPS)

    probed = [] if store is None else [MeandriftCallback(run="a", store=store, every=1, strict=True)]
    made = Automatic() if module is None else module(model, seen)
    data = torch.utils.data.DataLoader(samples, batch_size=BATCH)
    trainer = pl.Trainer(
        callbacks=probed, accelerator="cpu", max_epochs=1, default_root_dir=folder, **quiet, **settings
    )
    trainer.fit(made, data)
    seen.state = made.state_dict()
    return seen


def manual(model, seen):
    """Return a Lightning module that steps by itself, by manual optimization."""
    import lightning.pytorch as pl

    class Manual(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.model = model

        def training_step(self, batch, _index):
            optimizer = self.optimizers()
            loss = self.model(**batch)["loss"]
            optimizer.zero_grad()
            self.manual_backward(loss)
            seen.look(self)
            optimizer.step()
            seen.losses.append(loss.item())
            return {"loss": loss.detach()}

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=RATE, eps=EPS)

    return Manual()


def gan(model, seen):
    """Return a Lightning module with two optimizers that step in turn: a generator and the given network as critic."""
    import lightning.pytorch as pl

    class Gan(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.critic = model
            self.generator = nn.Sequential(nn.Linear(5, 3 * 32 * 32), nn.Tanh(), nn.Unflatten(1, (3, 32, 32)))

        def training_step(self, batch, _index):
            noise = torch.linspace(-1, 1, 5 * BATCH).reshape(BATCH, 5)
            of_critic, of_generator = self.optimizers()
            looked = {}
            self.toggle_optimizer(of_critic)
            fake = self.generator(noise).detach()
            loss = self.critic(**batch)["loss"] + self.critic(fake, torch.ones_like(batch["labels"]))["loss"]
            looked |= self._step(of_critic, loss)
            self.untoggle_optimizer(of_critic)
            self.toggle_optimizer(of_generator)
            looked |= self._step(of_generator, self.critic(self.generator(noise), batch["labels"])["loss"])
            self.untoggle_optimizer(of_generator)
            seen.gradients.append({name: gradient for name, (gradient, _) in looked.items()})
            seen.weights.append({name: weight for name, (_, weight) in looked.items()})
            seen.losses.append(loss.item())
            return {"loss": loss.detach()}

        def _step(self, optimizer, loss):
            optimizer.zero_grad()
            self.manual_backward(loss)
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            found = {
                name: (p.grad.double().norm().item(), p.detach().double().norm().item())
                for name, p in self.named_parameters()
                if id(p) in own and p.grad is not None
            }
            optimizer.step()
            return found

        def configure_optimizers(self):
            return [torch.optim.AdamW(part.parameters(), lr=RATE) for part in (self.critic, self.generator)]

    return Gan()
