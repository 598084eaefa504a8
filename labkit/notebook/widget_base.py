"""How a widget shows itself: where somebody can click, in a headless run, outside a notebook.

A widget lives in its kernel only, and JupyterLab says "model not found" where it is gone. So each
widget is shown with a picture of itself, an output of its own that is kept up to date: the page
hides the picture while the widget lives, and the widget's place where it does not. A headless run
has the picture alone, and a terminal text. What was picked is kept in the kernel for the next
widget on the same data.
"""

from __future__ import annotations

import asyncio
from html import escape
from typing import Any
from uuid import uuid4

from labkit.notebook.background import watch_kernel
from labkit.text import html
from labkit.times import iso, now_ms
from labkit.waiting.progress import headless, in_notebook

# a change is in the picture after this long: a slider changes many times while it is dragged
_SETTLED_S = 0.3
_picks: dict[tuple[str, ...], Any] = {}


class Shown:
    """Something with a ``box`` of ipywidgets, a text and a picture."""

    box: Any
    _picture_every_s = _SETTLED_S
    _picture_id: str | None = None
    _loop: asyncio.AbstractEventLoop | None = None  # the kernel's: pictures are renewed on it alone
    _waiting: asyncio.TimerHandle | None = None

    @property
    def code(self) -> str:
        """The lines that make what it shows."""
        raise NotImplementedError

    def text(self) -> str:
        """Return what it shows, as text."""
        raise NotImplementedError

    def picture(self) -> str:
        """Return what it shows as HTML that needs no kernel, without the code."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin what goes on by itself; done by showing it where somebody can click."""

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if not in_notebook():
            return {"text/plain": self.text()}
        if headless():
            return self._still()
        from IPython.display import display

        if self._picture_id is None:
            self._picture_id = f"lk-{uuid4().hex}"
            self.box.add_class(self._live_class)
        self._loop = asyncio.get_running_loop()
        watch_kernel()
        display(self._saved_picture(), raw=True, display_id=self._picture_id)
        representation = self.box._repr_mimebundle_()
        # anywidget adds metadata: none that the page needs
        bundle = representation[0] if isinstance(representation, tuple) else representation
        self.start()
        return {**bundle, "text/plain": f"{type(self).__name__}: live while its kernel runs"}

    def _still(self) -> dict[str, str]:
        """Return the output of an unattended run: the picture, the code, and the text."""
        markup = f'<div class="{html.AS_IT_IS}">{self.picture()}<pre><code>{escape(self.code)}</code></pre></div>'
        return {"text/html": markup, "text/plain": self.text()}

    @property
    def _live_class(self) -> str:
        return f"{self._picture_id}-live"

    def _saved_picture(self) -> dict[str, str]:
        """Return the picture as a saved notebook has it.

        It has the rules that hide it while the widget lives, and the widget's focus ring.
        """
        name, live = self._picture_id, self._live_class
        # no :has() within another: a browser leaves out a rule that has one
        hidden = (
            f".jp-OutputArea:has(.{live}) .jp-OutputArea-child:has(.{name})",
            f".jp-OutputArea:has(.{live}) .{name}",
            f".jp-OutputArea:has(.{name}) .jp-OutputArea-output:is(.jupyter-widgets, .lm-Panel):not(:has(*))",
        )
        style = "".join(f"{selector}{{display:none}}" for selector in hidden)
        # that of ipywidgets is one pixel, light blue on white
        ring = "outline:2px solid var(--jp-brand-color1,#1976d2)!important;outline-offset:1px"
        style += f".{live}.{live} :focus-visible{{{ring}}}"
        when = (iso(now_ms()) or "")[:16].replace("T", " ")
        caption = f"a picture of {when} UTC: run the cell to have the widget again"
        markup = (
            f'<div class="{name} {html.AS_IT_IS}"><style>{style}</style>{self.picture()}'
            f'<pre><code>{escape(self.code)}</code></pre><div style="opacity:.75;font-size:85%">{caption}</div></div>'
        )
        return {"text/html": markup, "text/plain": self.code}

    def _renew_picture(self, *, at_once: bool = False) -> None:
        """Bring the saved picture up to date, soon; called with each change, from any thread.

        It is an output, so it waits until no cell runs.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._renew_now if at_once else self._renew_soon)

    def _renew_soon(self) -> None:
        if self._waiting is None and self._loop is not None:
            self._waiting = self._loop.call_later(self._picture_every_s, self._renew_now)

    def _renew_now(self) -> None:
        from IPython.display import update_display

        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._picture_id is not None:
            update_display(self._saved_picture(), raw=True, display_id=self._picture_id)


def keep_pick(pick: Any, *key: str) -> None:
    """Keep what was picked for the next widget with this key, as long as the kernel runs."""
    _picks[key] = pick


def read_pick(*key: str) -> Any:
    """Return what was picked with this key, or None."""
    return _picks.get(key)


def forget_pick(*key: str) -> None:
    """Begin anew."""
    _picks.pop(key, None)


def size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
