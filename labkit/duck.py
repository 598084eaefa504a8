"""DuckDB: interrupted while it is imported, it would abort the process, and a notebook's kernel with it."""

from collections.abc import Callable, Iterable

from labkit import interrupt
from labkit.errors import UsageError

with interrupt.held():
    import duckdb

__all__ = ["check_case", "duckdb"]


def check_case(names: Iterable[str], asked: Callable[[str], bool]) -> None:
    """Refuse fields that differ only in case, where `asked` says of their lower case that the SQL names them.

    DuckDB takes whichever comes first, quoted or not, and nobody would know.
    """
    spellings: dict[str, set[str]] = {}
    for name in names:
        spellings.setdefault(name.lower(), set()).add(name)
    for lower, same in spellings.items():
        if len(same) > 1 and asked(lower):
            raise UsageError(
                f"fields {' and '.join(sorted(same))} differ only in case, which SQL does not tell apart",
                hint="choose with pandas or polars, or rename one in a copy of .table",
            )
