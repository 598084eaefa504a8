"""Choose a decoder by looking at a sample, once for a topic, and say why.

Most of the sample decides. Values of Confluent's wire format whose ids the registry knows are what their schemas'
type says; else JSON objects; else text, when it is UTF-8 without control characters; else the bytes stay as they
are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from labkit.decode.registry import TYPES, framed, schema_id
from labkit.errors import LabkitError, UnavailableError
from labkit.registry import Registry

SAMPLE_RECORDS = 400
_IDS = 20  # so many of a sample's ids are asked for
_CONTROLS = frozenset(range(32)) - {9, 10, 13} | {127}


class Choice(NamedTuple):
    """A decoder's name, a line that says why, and whether another look would give the same."""

    name: str
    why: str
    lasting: bool


def choose(sample: Iterable[bytes | None], registry: Registry | None, *, of: str = "values") -> Choice:
    """Return the decoder that fits most of `sample`.

    Raises
    ------
    UnavailableError
        When values ask for a registry and the profile's cannot be reached.
    """
    values = [value for value in sample if value]
    nothing = Choice("json" if of == "values" else "raw", "there is none to see", True)
    found = _chosen(values, registry) if values else nothing
    return found._replace(why=f"auto chose {found.name} for the {of}: {found.why}")


def _chosen(values: list[bytes], registry: Registry | None) -> Choice:
    count = len(values)
    marked = [value for value in values if framed(value)]
    looks = ""
    if 2 * len(marked) > count:
        looks = f"{len(marked)} of {count} sampled start as Confluent's wire format does, "
        if registry is None:
            return Choice("raw", looks + "and this profile has no registry", True)
        kinds, refusal = _kinds(marked, registry)
        if kinds:
            kind, known = kinds.most_common(1)[0]
            others = (
                f" ({', '.join(f'{other}: {n}' for other, n in kinds.most_common()[1:])})" if len(kinds) > 1 else ""
            )
            return Choice(kind, f"{looks}and {registry.address} has {known} as {kind}{others}", True)
        looks += f"but {refusal}; "
    objects = sum(map(_is_object, values))
    if 2 * objects > count:
        return Choice("json", f"{looks}{objects} of {count} sampled are JSON objects", not looks)
    texts = sum(map(_is_text, values))
    if 2 * texts > count:
        return Choice("text", f"{looks}{texts} of {count} sampled are UTF-8, {objects} JSON objects", not looks)
    return Choice("raw", f"{looks}of {count} sampled {objects} are JSON objects, {texts} UTF-8", not looks)


def _kinds(marked: list[bytes], registry: Registry) -> tuple[Counter[str], str]:
    """Ask the registry for the types of the sample's most frequent schemas."""
    names = {kind: name for name, kind in TYPES.items()}
    kinds: Counter[str] = Counter()
    refusal = "none of their ids is in the registry"
    for number, times in Counter(map(schema_id, marked)).most_common(_IDS):
        try:
            schema = registry.schema(number)
        except UnavailableError:
            raise
        except LabkitError as error:
            refusal = error.message
            continue
        kind = names.get(schema.schema_type or "AVRO")
        if kind:
            kinds[kind] += times
    return kinds, refusal


def _is_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROLS.isdisjoint(value)
