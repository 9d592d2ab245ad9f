"""Finding "rounded updates": weights of a coarse type lose most of each optimizer step to rounding."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.findings.finding import WARNING, Evidence, Finding
from analysis.findings.history import lasting
from analysis.findings.run_records import RunRecords
from analysis.findings.thresholds import Thresholds
from analysis.findings.update_sizes import COARSE, NORM, UPDATE, typical_updates
from probes.schema import LAYERS

_KIND, _EPSILON, _GRADIENT = "rounded updates", "weight_epsilon", "grad_l2_norm"
_RECORDS = 5


def rounded_updates(run: RunRecords, limits: Thresholds) -> Iterator[Evidence]:
    """Yield the layers in float16 or bfloat16 whose update is far below the distance of neighbouring numbers.

    The number is ``|W' - W| / |W|`` divided by the type's epsilon. An entry moves only if its own step is at least half
    of the distance to the neighbouring number. That distance is about epsilon times the entry. If the whole update is a
    thirtieth of it, nearly all entries stay. The median over layers must be as small, five records in a row.
    """
    if (found := typical_updates(run)) is None:
        return
    records, typical = found
    epsilons, gradients = run.at(_EPSILON, records.steps), run.at(_GRADIENT, records.steps)
    if epsilons is None:
        return
    shares = records[UPDATE] / epsilons
    trained = shares > 0 if gradients is None else gradients > 0
    lost = (epsilons > COARSE) & trained & (shares < limits.rounded) & (typical < limits.rounded * epsilons)
    yield Evidence(
        lasting(lost, records=_RECORDS),
        records.steps,
        run.layers,
        shares,
        limits.rounded,
        UPDATE,
        WARNING,
        "one step moves the weight by {value:.1g} of the distance between neighbouring numbers of its type: most "
        "entries stay where they are",
        "weights in float16 or bfloat16 without a float32 copy, which round small steps away",
        "keep the weights in float32 (autocast, or master weights), or round stochastically; a larger rate moves more "
        "entries",
    )


FINDING = Finding(_KIND, {LAYERS: (UPDATE, NORM, _EPSILON, _GRADIENT)}, rounded_updates, fewest=_RECORDS)
