"""The Trainer of transformers under the callback: gradients, loss, epoch, checkpoints."""

from __future__ import annotations

import logging

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from probes.integrations.transformers import MeandriftCallback  # noqa: E402

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]
logging.getLogger("transformers").setLevel(logging.ERROR)


def make_model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config)


class Norms(transformers.TrainerCallback):
    """Notes the gradient norm of one layer just before the optimizer steps."""

    def __init__(self):
        self.norms = []

    def on_pre_optimizer_step(self, args, state, control, model, **_):  # noqa: ARG002
        self.norms.append(model.transformer.h[0].mlp.c_fc.weight.grad.double().norm().item())


def fit(store, tmp_path, *, steps=4, run="a", resume=False, probed=True, trainer=transformers.Trainer, **settings):
    ids = torch.randint(31, (40, 7), generator=torch.Generator().manual_seed(2))
    data = [{"input_ids": row, "labels": row} for row in ids]
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=steps,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **settings,
    )
    norms = Norms()
    callbacks = [norms, *([MeandriftCallback(run=run, store=store, every=1, strict=True)] if probed else [])]
    model = make_model()
    trainer = trainer(model, args, train_dataset=data, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume or None)
    return model, norms.norms, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2}, {"bf16": True}, {"max_grad_norm": 0.01}])
def test_gradients_and_losses_are_those_of_the_training(settings, store, table, tmp_path):
    _, norms, losses = fit(store, tmp_path, **settings)
    rows = table("layers", layer="transformer.h.0.mlp.c_fc").sort_values("step")
    assert rows["step"].tolist() == list(range(4))
    assert rows["grad_l2_norm"].tolist() == pytest.approx(norms, rel=1e-5)
    assert rows["activation_mean"].notna().all()
    steps = table("steps").sort_values("step")
    assert steps["loss"].tolist() == pytest.approx(losses, abs=1e-3)
    assert steps["lr"].tolist() == pytest.approx(steps["learning_rate"].tolist())
    assert table("runs")["status"].item() == "finished"


def test_the_training_is_bitwise_the_same(store, tmp_path):
    probed, _, _ = fit(store, tmp_path)
    bare, _, _ = fit(store, tmp_path / "bare", probed=False)
    assert all(torch.equal(a, b) for a, b in zip(probed.parameters(), bare.parameters(), strict=True))


def test_a_trainer_that_goes_on_supersedes_the_rows_of_its_checkpoint(store, table, tmp_path):
    fit(store, tmp_path, run=None, steps=4)
    fit(store, tmp_path, run=None, steps=6, resume=str(tmp_path / "out" / "checkpoint-2"))
    rows = table("layers", layer="transformer.h.0.mlp.c_fc")
    assert rows["run"].nunique() == 1
    assert sorted(rows["step"]) == list(range(6))


def test_a_training_that_is_switched_off_leaves_no_store_and_no_state(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MEANDRIFT", "off")
    fit(store, tmp_path)
    assert not store.exists()
    assert not list(tmp_path.rglob("meandrift.pt"))


class TooLarge(transformers.Trainer):
    """Runs out of memory in the third batch of its first attempt."""

    batches = 0

    def training_step(self, *args, **options):
        self.batches += 1
        if self.batches == 3:
            raise RuntimeError("CUDA out of memory.")
        return super().training_step(*args, **options)


def test_a_trainer_that_begins_again_with_a_smaller_batch_supersedes_its_rows(store, table, tmp_path):
    fit(store, tmp_path, auto_find_batch_size=True, trainer=TooLarge)
    for name in ("layers", "steps"):
        rows = table(name)
        assert sorted(set(rows["step"])) == list(range(4))
        assert rows["run"].nunique() == 1
    assert not table("steps").duplicated("step").any()
    assert table("runs")["status"].tolist() == ["finished"]
