"""One column of a table, and the words that explain it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column of a table, with unit, formula and reference.

    Attributes:
        name: The column's name, in the field's own words.
        unit: ``"1"`` for a pure number; else ``"steps"``, ``"s"``, ``"rad"``, ``"elements"``.
        formula: How the number follows from the tensor.
        tensor: The tensor from which the number is computed.
        reference: The paper, equation or routine of the number; empty for textbook statistics.
        type: Arrow type; float32 unless the number is a count.
    """

    name: str
    unit: str
    formula: str
    tensor: str = ""
    reference: str = ""
    type: pa.DataType = field(default_factory=pa.float32)

    def arrow_field(self) -> pa.Field:
        """Return the Arrow field, its description in the field metadata."""
        described = {
            "unit": self.unit,
            "formula": self.formula,
            "tensor": self.tensor,
            "reference": self.reference,
        }
        return pa.field(self.name, self.type, metadata={k: v for k, v in described.items() if v})
