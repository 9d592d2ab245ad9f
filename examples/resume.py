"""Resume: a training dies after its checkpoint and continues from it. The store has no step twice.

Run it as ``python examples/resume.py [FOLDER]``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import meandrift as md

STEPS, SAVED_AT, DIES_AT = 100, 50, 70


def train(folder: Path, *, dies_at: int | None = None) -> None:
    """Train to the end, from the checkpoint if there is one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    checkpoint = folder / "checkpoint.pt"
    saved = torch.load(checkpoint) if checkpoint.exists() else {"step": 0}
    how = {"resume": "auto", "resume_step": saved["step"]}  # rows of this step and later ones are superseded
    with md.Probe(model, optimizer, store=folder / "runs", run="long", every=10, **how) as probe:
        parts = {"model": model, "optimizer": optimizer, "probe": probe}
        for name in parts.keys() & saved.keys():
            parts[name].load_state_dict(saved[name])
        for step in range(saved["step"], STEPS):
            if step == dies_at:
                raise KeyboardInterrupt("the machine is taken away")
            if step == SAVED_AT:
                probe.flush()  # everything before the checkpoint is in the store
                torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, checkpoint)
            x = torch.randn(64, 8, generator=torch.Generator().manual_seed(step))
            loss = (model(x) - x.prod(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.log(loss=loss)


def main(folder: Path) -> None:
    """Train twice: the first attempt dies, and the second continues it."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    for attempt, dies_at in enumerate((DIES_AT, None), start=1):
        try:
            train(folder, dies_at=dies_at)
        except KeyboardInterrupt:
            print(f"attempt {attempt} died at step {dies_at}; its checkpoint is of step {SAVED_AT}")
        steps = md.steps(folder / "runs")["step"]
        print(f"attempt {attempt}: {len(steps)} rows in table steps, of steps {steps.min()} to {steps.max()}")
        print(f"  steps that stand twice: {steps.duplicated().sum()}")
    print(f"records of the layers: {sorted(set(md.layers(folder / 'runs')['step']))}, in {folder / 'runs'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
