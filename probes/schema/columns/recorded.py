"""Columns that a run did not record, kept as nulls so that plain readers of several runs find all columns.

A reader of Parquet takes the columns of a table from its first file. So every file has all columns of its table, and
the field metadata says ``recorded: no`` where a run did not choose the column. Our own readers leave such columns out.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

_MARK = {b"recorded": b"no"}


def unrecorded(field: pa.Field) -> pa.Field:
    """Return a field marked as one that was not recorded."""
    return field.with_metadata({**(field.metadata or {}), **_MARK})


def is_recorded(field: pa.Field) -> bool:
    """Return whether a field has no such mark."""
    return not _MARK.items() <= (field.metadata or {}).items()


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the schema of all columns of several; a column that one of them recorded is recorded.

    Raises:
        pyarrow.ArrowTypeError: A column has types that do not go together.
        pyarrow.ArrowInvalid: A schema has a column twice.
    """
    whole = pa.unify_schemas(list(schemas), promote_options="permissive")
    for place, field in enumerate(whole):
        if not is_recorded(field):
            same = (schema.field(field.name) for schema in schemas if field.name in schema.names)
            found = next((one for one in same if is_recorded(one)), field)
            whole = whole.set(place, field.with_metadata(found.metadata))
    return whole
