"""Parts of Avro schemas."""

from __future__ import annotations

from typing import Any


def logical_type(base: str, name: str, **more: Any) -> dict[str, Any]:
    """Return a type of Avro that means more than its base."""
    return {"type": base, "logicalType": name, **more}
