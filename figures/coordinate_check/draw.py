"""Train a perceptron at four widths under the standard parametrization and under muP, and draw the coordinate check.

    python figures/coordinate_check/draw.py runs/coordinates    # 24 trainings of five steps, seconds each
    python figures/coordinate_check/draw.py                     # README.md alone, from slopes.csv

The perceptron has three linear layers with ReLU between them. Adam trains it on one batch of 64 random inputs. muP
differs in two points: the readout starts at zero, and a matrix whose number of inputs is the width has the rate
``RATE * 64 / width``.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

import meandrift as md
from analysis.gallery.gallery import write_figures
from analysis.paper.table_text import to_markdown

HERE = Path(__file__).parent
TEMPLATE, README, SLOPES = HERE / "README.template.md", HERE / "README.md", HERE / "slopes.csv"
WIDTHS, SEEDS, STEPS, RATE = (64, 128, 256, 512), 3, 5, 0.01
STANDARD, MUP = "standard", "mup"
WORDS = {"0": "first, 16 inputs", "2": "hidden", "4": "readout"}
KEYS = ["parametrization", "step", "layer"]
SLOPE, ERROR = "activation_rms_slope", "activation_rms_slope_error"


def standard_model(width: int) -> nn.Module:
    """Return the perceptron with torch's initialisation."""
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def mup_model(width: int) -> nn.Module:
    """Return the perceptron with a readout of zero."""
    model = standard_model(width)
    nn.init.zeros_(model[4].weight)
    nn.init.zeros_(model[4].bias)
    return model


def standard_adam(model: nn.Module, _width: int) -> torch.optim.Optimizer:
    """Return Adam with the same rate for all parameters."""
    return torch.optim.Adam(model.parameters(), lr=RATE)


def mup_adam(model: nn.Module, width: int) -> torch.optim.Optimizer:
    """Return Adam, with a rate proportional to 1/width for the matrices whose number of inputs is the width."""
    of_width = [model[2].weight, model[4].weight]
    others = [*model[0].parameters(), model[2].bias, model[4].bias]
    return torch.optim.Adam([{"params": others}, {"params": of_width, "lr": RATE * 64 / width}], lr=RATE)


def train(store: Path) -> pd.DataFrame:
    """Train all networks; return the slopes, one row for each parametrization, step and layer."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(64, 16, generator=generator), torch.randn(64, 4, generator=generator)

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.mse_loss(model(inputs), targets)

    found = []
    for name, make_model, make_optimizer in ((STANDARD, standard_model, standard_adam), (MUP, mup_model, mup_adam)):
        table = md.coordinate_check(
            make_model,
            WIDTHS,
            make_optimizer=make_optimizer,
            loss=loss,
            steps=STEPS,
            seeds=SEEDS,
            name=name,
            store=store,
            overwrite=True,
        )
        found.append(table.assign(parametrization=name))
    rows = pd.concat(found).astype({"layer": str}).drop_duplicates(KEYS)
    return rows.loc[rows["layer"].isin(WORDS), [*KEYS, SLOPE, ERROR]]


def rendered(template: str, slopes: pd.DataFrame) -> str:
    """Return the template with its table and numbers."""
    last = slopes[slopes["step"] == STEPS - 1].set_index(["parametrization", "layer"])
    rows = [
        {"layer": words} | {name: _with_error(last.loc[name, layer]) for name in (STANDARD, MUP)}
        for layer, words in WORDS.items()
    ]
    largest = last[SLOPE].abs().groupby("parametrization").max()
    caption = "Slope of log2 RMS of the output over log2 width after the last step, with its standard error"
    table = to_markdown(pd.DataFrame(rows).rename(columns={MUP: "muP"}), caption=caption)
    return (
        template.replace("${table}", table.strip())
        .replace("${widths}", ", ".join(map(str, WIDTHS)))
        .replace("${standard}", f"{largest[STANDARD]:.2f}")
        .replace("${mup}", f"{largest[MUP]:.2f}")
    )


def _with_error(row: pd.Series) -> str:
    return f"{row[SLOPE]:+z.2f} ± {row[ERROR]:.2f}".replace("-", "−")


def main() -> None:
    """Train and draw, if a store is given, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?")
    if (store := parser.parse_args().store) is not None:
        torch.set_num_threads(1)
        train(store).to_csv(SLOPES, index=False, float_format="%.6g")
        for column in ("activation_rms", "update_rms_norm"):
            write_figures(store, HERE / column, only=["coordinate_check"], options={"column": column}, formats=["png"])
    page = rendered(TEMPLATE.read_text(encoding="utf-8"), pd.read_csv(SLOPES, dtype={"layer": str}))
    README.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
