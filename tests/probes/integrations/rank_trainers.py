"""Train a network by a framework's own distributed training, bare and probed, as one of two gloo ranks.

    torchrun --nproc-per-node 2 -m tests.probes.integrations.rank_trainers <trainer or accelerate> <folder> <name>
    python -m tests.probes.integrations.rank_trainers lightning <folder> <name>

Lightning starts its second rank itself. Each rank leaves what it saw in ``<folder>/<framework>-<rank>.json``; the store
is ``<folder>/runs``.
"""

import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from tests.probes.integrations.trainings import under_accelerate, under_lightning, under_trainer
from tests.probes.integrations.zoo import ZOO

TRAININGS = {
    "trainer": (under_trainer, {"ddp_backend": "gloo"}),
    "accelerate": (under_accelerate, {}),
    "lightning": (under_lightning, {"strategy": "ddp", "devices": 2}),
}


def main(framework: str, folder: Path, name: str) -> None:
    """Train without a probe and with one; both must end in the same bits."""
    train, settings = TRAININGS[framework]
    seen = []
    for store in (None, folder / "runs"):
        torch.manual_seed(0)
        model, samples = ZOO[name]()
        torch.manual_seed(1)
        seen.append(train(model, samples, store, folder, **settings))
    assert dist.get_world_size() == 2
    bare, probed = (asdict(one) for one in seen)
    states = bare.pop("state"), probed.pop("state")
    silent = bare == probed and all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    (folder / f"{framework}-{dist.get_rank()}.json").write_text(json.dumps({**probed, "silent": silent}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
