"""Choose a decoder by trying it on a sample, once for a topic, and say why.

What fits more of the sample than any other decides. Values of Confluent's wire format whose ids the
registry knows are what their schemas' type says, if most of them can be read as that; else JSON
objects; else text, when it is UTF-8 without control characters; else the bytes stay as they are.
What does not fit all of the sample is called a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import orjson
import pyarrow as pa

from labkit.decode.registry import TYPES, Binary, JsonSchema
from labkit.decode.wire_format import is_framed, schema_id
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


def choose(
    sample: Iterable[bytes | None],
    registry: Registry | None,
    *,
    of: str = "values",
    headed: Iterable[bytes | None] | None = None,
) -> Choice:
    """Return the decoder that fits most of `sample`.

    `headed` has the same values behind the schema ids of their headers.

    Raises
    ------
    UnavailableError
        When values ask for a registry and the profile's cannot be reached.
    """
    values = [value for value in sample if value]
    frames = values if headed is None else [value for value in headed if value]
    no_values = Choice("json" if of == "values" else "raw", "there is no record to see", True)
    choice = _choose(values, frames, registry) if values else no_values
    return choice._replace(why=f"auto chose {choice.name} for the {of}: {choice.why}")


def _choose(values: list[bytes], frames: list[bytes], registry: Registry | None) -> Choice:
    count = len(values)
    marked = [value for value in frames if is_framed(value)]
    objects = sum(map(_is_object, values))
    texts = sum(map(_is_text, values)) - objects
    refusal, lasting = "", True
    if marked and len(marked) >= max(objects, texts, count - len(marked) - objects - texts):
        starts = f"{len(marked)} of {count} sampled start as Confluent's wire format does, "
        if registry is None:
            refusal = starts + "and this profile has no registry; "
        else:
            trial = _try(marked, registry)
            if trial.kind and trial.readable >= max(objects, texts):
                why = f"{starts}and {registry.address} has {trial.known}"
                return Choice(trial.kind, why + _guess(trial.readable, count), True)
            refusal, lasting = f"{starts}but {trial.refusal}; ", trial.lasting
    kinds = {"json": objects, "text": texts, "raw": count - objects - texts}
    name = max(kinds, key=lambda kind: kinds[kind])
    reasons = {
        "json": f"{objects} of {count} sampled are JSON objects",
        "text": f"{texts} of {count} sampled are UTF-8, {objects} JSON objects",
        "raw": f"of {count} sampled {objects} are JSON objects, {texts} UTF-8",
    }
    return Choice(name, refusal + reasons[name] + _guess(kinds[name], count), lasting)


def _guess(fitting: int, count: int) -> str:
    left = count - fitting
    return (
        f"; a guess: {left} of {count} {'is' if left == 1 else 'are'} something else"
        if left
        else ""
    )


class _Trial(NamedTuple):
    """What came of reading the framed values of a sample.

    Attributes
    ----------
    kind : str
        Empty when most of them cannot be read.
    readable : int
        How many can.
    known : str
        What the registry has.
    refusal : str
        Why none was chosen.
    lasting : bool
        Whether the registry's answers were such that asking again gives the same.
    """

    kind: str
    readable: int
    known: str
    refusal: str
    lasting: bool


def _try(marked: list[bytes], registry: Registry) -> _Trial:
    kinds, refusal = _kinds(marked, registry)
    if not kinds:
        return _Trial("", 0, "", refusal, False)
    kind, total = kinds.most_common(1)[0]
    minority = (
        f" ({', '.join(f'{name}: {n}' for name, n in kinds.most_common()[1:])})"
        if len(kinds) > 1
        else ""
    )
    readable, reason = _readable(marked, registry, kind)
    if 2 * readable <= total:
        refusal = f"{total - readable} of the {total} that {registry.address} has as {kind} cannot be read: {reason}"
        return _Trial("", readable, "", refusal, True)
    return _Trial(kind, readable, f"{total} as {kind}{minority}", "", True)


def _readable(marked: list[bytes], registry: Registry, kind: str) -> tuple[int, str]:
    """Return how many values can be read as `kind`, and why the first of the others cannot."""
    values = pa.array(marked, pa.binary())
    if kind == "jsonschema":
        errors = JsonSchema(registry).parse(values).errors
        return len(marked) - len(errors), next(iter(errors.values()), "")
    parsed = Binary(registry, kind).parse(values)
    return sum(len(part.rows) for part in parsed.parts), next(iter(parsed.errors.values()), "")


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
