"""A widget that goes on by itself, beside the cells, until it is stopped or its time is up."""

from __future__ import annotations

from html import escape

import ipywidgets as ipy

from labkit.notebook.background import Live
from labkit.notebook.widget_base import Shown
from labkit.times import length_ms


class LiveWidget(Shown):
    """A view that a step changes again and again, with a line of state and a button to stop.

    ``.stop()`` ends it, and so does running its cell again.

    Parameters
    ----------
    every_s : float
        The time between two steps.
    limit : str
        For how long it goes on.
    """

    _picture_every_s = 5.0  # the picture: it would be saved again and again

    def __init__(self, *, every_s: float, limit: str) -> None:
        self._every_s, self._limit_s = every_s, length_ms(limit) / 1000
        self._live: Live | None = None
        self.state, self.view = ipy.HTML(), ipy.HTML()
        self.stop_button = ipy.Button(description="stop", icon="stop")
        self.stop_button.on_click(lambda _: self.stop())

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._live is not None and self._live.running

    def start(self) -> None:
        """Begin, beside the cells; done by showing it."""
        if self.running:
            return
        self._begin()
        self._live = Live(
            self._step,
            self._end,
            lambda: self.box.comm is None,
            every_s=self._every_s,
            limit_s=self._limit_s,
        )
        self._live.start()

    def stop(self) -> None:
        """End it."""
        if self._live is not None:
            self._live.stop()

    def _begin(self) -> None:
        """Prepare what the steps need."""

    def _step(self) -> None:
        raise NotImplementedError

    def _words(self) -> str:
        """Return what it has seen, as HTML, for the line of state; empty before it has."""
        raise NotImplementedError

    def _end(self, why: str) -> None:
        """Show that it ended, why, and what it has seen."""
        words = self._words()
        self.state.value = f"<b>ended</b>: {escape(why)}{f'; {words}' if words else ''}"
        self._renew_picture(at_once=True)
