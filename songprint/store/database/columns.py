"""Types and options of columns and tables that mean the same in every database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, Text
from sqlalchemy.dialects.mysql import LONGBLOB, MEDIUMTEXT

# SQLite numbers rows by itself only in a column that it calls INTEGER.
Identifier = BigInteger().with_variant(Integer(), "sqlite")
LongText = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")  # theirs ends at 64 KB otherwise
Blob = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")

# For `Table(..., **EXACT)`: text is equal only if every letter is, capitals and accents too, as elsewhere.
EXACT = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def storable(value: str, length: int | None = None) -> str:
    """Text that every database takes: NUL, and what is no UTF-8, comes from file names and from strangers."""
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")[:length]
