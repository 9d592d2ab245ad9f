"""Hugging Face Trainer: one callback records a small GPT-2 that trains with accumulation and clipping.

Needs ``pip install 'meandrift[transformers]'``. Run it as ``python examples/huggingface_trainer.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

import meandrift as md
from probes.integrations.transformers import MeandriftCallback


def main(folder: Path) -> None:
    """Train on sequences that count upwards, with two micro-batches in a step and a record at every fifth step."""
    set_seed(0)
    sizes = {"n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, **sizes, bos_token_id=0, eos_token_id=0))
    counting = (torch.randint(32, (256, 1)) + torch.arange(16)) % 32
    data = [{"input_ids": row, "labels": row} for row in counting]
    args = TrainingArguments(
        str(folder / "out"),
        max_steps=30,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,
        logging_steps=10,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to=[],
    )
    watch = MeandriftCallback(store=folder / "runs", run="gpt2", every=5, overwrite=True)
    Trainer(model, args, train_dataset=data, callbacks=[watch]).train()

    layers = md.layers(folder / "runs", columns=["grad_l2_norm", "grad_micro_batches"])
    print(f"{layers['layer'].nunique()} layers at steps {sorted(set(layers['step']))} in {folder / 'runs'}")
    print(f"micro-batches in each gradient: {layers['grad_micro_batches'].max():.0f}; the three largest gradients:")
    print(md.top_layers(layers, "grad_l2_norm", most=3)[["layer", "step", "grad_l2_norm"]].to_string(index=False))
    print(md.steps(folder / "runs", columns=["loss"]).dropna(subset="loss")[["step", "loss"]].to_string(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
