"""How a widget shows itself: as itself where somebody can click, as text in a headless run and outside a notebook."""

from __future__ import annotations

from typing import Any

from labkit.progress import headless, in_notebook


class Shown:
    """Something with a ``box`` of ipywidgets and a text."""

    box: Any

    def text(self) -> str:
        """Return what it shows, as text."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if headless() or not in_notebook():
            return {"text/plain": self.text()}
        return self.box._repr_mimebundle_()


def size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
