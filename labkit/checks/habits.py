"""What people who know pandas ask of things that are no frame: where it is to be had."""

from __future__ import annotations


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
