"""What people who know pandas ask of things that are no frame: where it is to be had."""

from __future__ import annotations

from labkit.errors import UsageError

# what other libraries call an option, and what to write here
PATTERN_OPTIONS = dict.fromkeys(
    ("case", "flags", "ignore_case", "regex"),
    'find(re.compile("kafka", re.I)) takes a pattern, here in any case',
)
COUNT_OPTIONS = dict.fromkeys(
    ("limit", "n"),
    "lab.window(topic, last=5) has the newest records; latest() has the newest of each key",
)


def is_of_a_frame(name: str) -> bool:
    """Tell whether pandas' DataFrames have something of this name."""
    if name.startswith("_"):  # Jupyter and copy ask everything for such
        return False
    import pandas as pd

    return hasattr(pd.DataFrame, name)


def no_attribute(owner: object, name: str, thing: str, way: str) -> AttributeError:
    """Return the error for a name that `owner` lacks.

    Parameters
    ----------
    thing : str
        What it is, and what it has instead: ``a Load has no .{name}, its index has``.
    way : str
        What to type before a name that a frame has.
    """
    if not is_of_a_frame(name):
        return AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
    return AttributeError(f"{thing.format(name=name)}: {way}.{name}")


def no_rows(thing: str, way: str) -> UsageError:
    """Return the error for a loop over a `thing`, and for ``pandas.DataFrame(thing)``.

    Parameters
    ----------
    way : str
        What gives its frame.
    """
    return UsageError(f"{thing} is not a list of rows", hint=f"{way} returns a DataFrame")
