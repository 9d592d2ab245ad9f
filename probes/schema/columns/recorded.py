"""Columns that a run did not record, kept as nulls so that plain readers of several runs find all columns.

A reader of Parquet takes the columns of a table from its first file. Every file therefore has all columns of its table.
If a run did not choose a column, the field metadata says ``recorded: no``. Our own readers leave such columns out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

_MARK = {b"recorded": b"no"}


def unrecorded(field: pa.Field) -> pa.Field:
    """Return a field with the mark of a column that was not recorded."""
    return field.with_metadata({**(field.metadata or {}), **_MARK})


def is_recorded(field: pa.Field) -> bool:
    """Return whether a field lacks the mark of :func:`unrecorded`."""
    return not _MARK.items() <= (field.metadata or {}).items()


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return a schema with the columns of several schemas.

    A column is recorded if one of them recorded it.

    Raises:
        pyarrow.ArrowTypeError: A column has types that cannot be unified.
        pyarrow.ArrowInvalid: A schema has a column twice.
    """
    whole = pa.unify_schemas(list(schemas), promote_options="permissive")
    for place, field in enumerate(whole):
        if not is_recorded(field):
            same = (schema.field(field.name) for schema in schemas if field.name in schema.names)
            found = next((one for one in same if is_recorded(one)), field)
            whole = whole.set(place, field.with_metadata(found.metadata))
    return whole
