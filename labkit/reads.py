"""What all methods of `Window` that read it do in the same way: the base of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labkit.replay import read_log
from labkit.replay.plan import Plan
from labkit.waiting.interrupt import quiet_stop, stop_error

if TYPE_CHECKING:
    from labkit.decode import Spec
    from labkit.lab import Lab
    from labkit.read_spec import ReadSource, ReadSpec
    from labkit.replay.receipt import Receipt
    from labkit.sinks.replay import Replay

NOTHING = "stopped; nothing is kept: it came before the first record, or a second time"


class WindowReads:
    """The part of `Window` that the others are built on."""

    plan: Plan
    lab: Lab

    def _spec(
        self, decode: Spec | None = None, key_decode: Spec | None = None, **options: Any
    ) -> ReadSpec:
        """Return the options of a read, checked; decoders that are not given are the topic's."""
        from labkit.read_spec import ReadSpec

        value, key = self.lab.decoders(self.plan.topic, decode, key_decode)
        return ReadSpec(value, key, **options)

    @contextmanager
    def _open(self, spec: ReadSpec, nothing: str = NOTHING) -> Iterator[ReadSource]:
        """Yield a pass over the window, and show its progress.

        An interrupt before or after the reading is `Stopped`.
        """
        from labkit.read_spec import ReadSource
        from labkit.waiting.progress import bar

        with quiet_stop(nothing), bar(self.plan.topic, self.plan.size, spec.progress) as advance:
            reading = spec.reading(self.lab.cluster, self.plan, advance)
            yield ReadSource(reading, spec, self.lab.registry)

    def _conclude(
        self,
        method: str,
        receipt: Receipt,
        spec: ReadSpec,
        *,
        cancelled: bool,
        reached: str = "",
        outcome: str = "",
        hint: str = "",
        part: Mapping[str, Any],
    ) -> None:
        """Put a read into the log.

        When it was cancelled, raise `Stopped` with its `part`, as `spec` wants it. `reached` says how
        far it got where its receipt has only what it looked at.
        """
        read_log.record(self.plan, receipt, method)
        if cancelled and spec.on_interrupt == "raise":
            raise stop_error(f"stopped at {reached or receipt.reached}{outcome}", hint, **part)

    def _conclude_replay(
        self, method: str, replay: Replay, spec: ReadSpec, *, cancelled: bool, reached: str
    ) -> Replay:
        """Return a replay once it is in the log; `Stopped` has it when it was cancelled."""
        part = {"replay": replay}
        self._conclude(
            method, replay.receipt, spec, cancelled=cancelled, reached=reached, part=part
        )
        return replay
