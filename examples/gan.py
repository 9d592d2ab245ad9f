"""GAN: a Wasserstein critic under spectral norm and its generator, two probes in one store.

Run it as ``python examples/gan.py [FOLDER]``. Each probe counts the steps of its own optimizer.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import meandrift as md
from dynamics.norms import spectral_norm

STEPS, CRITIC_STEPS = 100, 5


def ring(count: int) -> Tensor:
    """Return points near eight centres on the unit circle: (count, 2)."""
    angle = torch.randint(8, (count,)) * torch.pi / 4
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2)


def main(folder: Path) -> None:
    """Train both networks; compare their layers at the same step of the generator."""
    torch.manual_seed(0)
    store = folder / "runs"
    critic = nn.Sequential(spectral_norm(nn.Linear(2, 64)), nn.LeakyReLU(0.1), spectral_norm(nn.Linear(64, 1)))
    generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    critic_optimizer, generator_optimizer = (torch.optim.Adam(net.parameters(), lr=3e-3) for net in (critic, generator))
    with (
        md.Probe(critic, critic_optimizer, store=store, run="critic", every=100, overwrite=True) as critic_probe,
        md.Probe(generator, generator_optimizer, store=store, run="generator", every=20, overwrite=True),
    ):
        for _ in range(STEPS):
            for _ in range(CRITIC_STEPS):
                with torch.no_grad():  # the generator's probe does not observe this pass
                    fake = generator(torch.randn(64, 4))
                loss = critic(fake).mean() - critic(ring(64)).mean()
                critic_optimizer.zero_grad()
                loss.backward()
                critic_optimizer.step()
                critic_probe.log(wasserstein=-loss.detach())
            critic.eval().requires_grad_(False)  # nor the critic's probe the next one
            generator_optimizer.zero_grad()
            (-critic(generator(torch.randn(64, 4))).mean()).backward()
            generator_optimizer.step()
            critic.train().requires_grad_(True)
    distance = md.steps(store, runs="critic")["wasserstein"][::100].round(3).tolist()
    print(f"Wasserstein distance, estimated at every hundredth step of the critic: {distance}")
    layers = md.layers(store, columns=["spectral_norm", "grad_l2_norm"])
    layers["generator_step"] = layers["step"] // layers["run"].map({"critic": CRITIC_STEPS, "generator": 1}).astype(int)
    print(f"spectral norms, those of the critic held at 1 by one power iteration a step; store: {store}")
    print(layers.pivot(index="generator_step", columns=["run", "layer"], values="spectral_norm").round(2))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="meandrift-")))
