"""The Arrow types of columns, in the log and in a part.

The log keeps words as plain strings, because an IPC stream may not replace its dictionaries. Parts keep the declared
words dictionary-encoded, so that pandas returns a Categorical.
"""

from __future__ import annotations

import pyarrow as pa

from probes import schema
from probes.schema.log_segment import CHECKSUMS
from probes.schema.part_checks import DECLARED, key_names

RECORDED = tuple(table for table in schema.TABLES if table != schema.RUNS)
_METADATA = {schema.VERSION_KEY: str(schema.SCHEMA_VERSION)}


def log_schema(table: str, given: pa.Schema) -> pa.Schema:
    """Return the schema in the log for rows of schema ``given``.

    Declared columns take their declared type and description. Words become plain strings. A number that the ``steps``
    table does not declare is the user's own and becomes float64.

    Raises:
        ValueError: The table is unknown, a column occurs twice or is named ``run``, or a key is missing.
    """
    if table not in RECORDED:
        raise ValueError(f"table {table!r}: a recorder writes {', '.join(RECORDED)}; `runs` is set by describe()")
    repeated = sorted({name for name in given.names if given.names.count(name) > 1})
    missing = [name for name in key_names(table) if name not in given.names]
    if repeated or missing or schema.RUN in given.names:
        raise ValueError(
            f"table {table!r} got the columns {given.names}: repeated {repeated}, missing keys {missing}; give every "
            f"column once, with all keys, and leave out {schema.RUN!r}, which the path says"
        )
    return pa.schema([_log_field(table, column) for column in given], metadata={**_METADATA, **CHECKSUMS})


def part_schema(table: str, logged: pa.Schema) -> pa.Schema:
    """Return the schema of a part that holds rows logged under ``logged``.

    Declared words become dictionaries again. Table ``steps`` gets the columns of the whole network that were not
    logged.
    """
    held = [DECLARED[table].get(column.name, column) for column in logged]
    lacking = [one for one in schema.NETWORK_COLUMNS if table == schema.STEPS and one.name not in logged.names]
    return pa.schema([*held, *(schema.unrecorded(one.arrow_field()) for one in lacking)], metadata=_METADATA)


def _log_field(table: str, given: pa.Field) -> pa.Field:
    declared = DECLARED[table].get(given.name)
    column = declared if declared is not None else given
    if pa.types.is_dictionary(column.type):
        return column.with_type(column.type.value_type)
    own_number = declared is None and table == schema.STEPS and _is_number(column.type)
    if own_number or pa.types.is_null(column.type):
        return column.with_type(pa.float64())
    return column


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
