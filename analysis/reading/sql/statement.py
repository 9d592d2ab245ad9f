"""The check that a query is one statement that only reads, made with DuckDB's own parser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}


def one_select(sql: str) -> duckdb.Statement:
    """Return the single statement of a query that only reads. Nothing is executed.

    It may be ``SELECT``, ``FROM``, ``WITH``, ``VALUES``, ``DESCRIBE``, ``SUMMARIZE``, ``SHOW``, or ``EXPLAIN`` of one
    of them.

    Raises:
        ValueError: The query is another statement, contains another statement, or is no SQL. A common table expression
            may write a file, and ``EXPLAIN ANALYZE`` executes the statement it explains.
    """
    import duckdb

    # The parser gets a connection without access to files: DuckDB 1 opens the files of IMPORT DATABASE while parsing.
    with duckdb.connect(config={"enable_external_access": "false"}) as parser:
        try:
            return _checked(parser, sql)
        except duckdb.Error as error:
            raise ValueError(f"expected one SELECT in DuckDB's SQL, got: {error}") from error


def _checked(parser: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = parser.extract_statements(sql)
    if len(statements) != 1:
        raise ValueError(f"expected one SELECT, got {len(statements)} statements: ask one query after the other")
    kind = _kind(statements[0])
    if kind == "EXPLAIN":
        _checked(parser, _explained(sql))
    elif kind != "SELECT":
        raise ValueError(f"expected one SELECT, got {kind}: a query only reads the store; {_hint(kind)}")
    elif not _only_reads(parser, sql):
        raise ValueError("expected one SELECT, got one with a part that writes, or may: a query only reads the store")
    return statements[0]


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # a kind that DuckDB's Python module has no name for
        return "a statement of another kind"


def _hint(kind: str) -> str:
    if kind == "MULTI":  # PIVOT without IN makes a type first
        return "name the values of a PIVOT: PIVOT t ON column IN (...) USING ..."
    return "write its answer to a file with pandas, or read the Parquet files with a DuckDB of your own"


def _explained(sql: str) -> str:
    """Return the statement that an EXPLAIN explains. After options in parentheses it is no SQL and so is refused."""
    import duckdb

    starts = [place for place, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    words = [sql.encode()[start:end].decode().split() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    analyze = len(words) > 1 and words[1][:1] and words[1][0].upper() == "ANALYZE"
    first = 2 if analyze else 1
    return sql.encode()[starts[first] :].decode() if len(starts) > first else ""


def _only_reads(parser: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Tell whether every node of the parsed query reads: a COPY or INSERT may stand in a WITH, at any depth."""
    [(text,)] = parser.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    try:
        parsed = json.loads(text)
        return not parsed["error"] and all(kind in _READING for kind in _node_types(parsed))
    except (ValueError, KeyError, RecursionError):
        return False


def _node_types(parsed: Any) -> list[str]:
    found, ahead = [], [parsed]
    while ahead:
        item = ahead.pop()
        if isinstance(item, dict):
            kind = item.get("type")
            found += [kind] if isinstance(kind, str) and kind.endswith("_NODE") else []
            ahead += item.values()
        elif isinstance(item, list):
            ahead += item
    return found
