"""The newest records of a window are shown while a thread reads all of it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace

from labkit.errors import IncompleteError
from labkit.notebook.browse.masks import prepare
from labkit.notebook.browse.records import Records
from labkit.notebook.browse.source import Source, read_part


class Filling:
    """The reading of a whole window, of which the newest records are shown already.

    Parameters
    ----------
    source : Source
        The newest records.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.count = 0
        self._stopped = threading.Event()
        self._done: Future[tuple[Source, Records]] = Future()
        threading.Thread(target=self._run, name="labkit-browse", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._done.done()

    @property
    def said(self) -> str:
        """What is here, and how far the reading is."""
        return f"{self.source.said}: {self.count:,} so far"

    def stop(self) -> None:
        """End it soon; the newest records stay."""
        self._stopped.set()

    def result(self) -> tuple[Source, Records]:
        """Wait for the records.

        Raises
        ------
        LabkitError
            When they cannot be read.
        """
        return self._done.result()

    def _run(self) -> None:
        try:
            source = read_part(self.source, self._count)
            records = Records(source.table, source.time_field, source.zone)
            prepare(records)
            self._done.set_result((source, records))
        except BaseException as error:  # whoever waits must see it, whatever it is
            self._done.set_exception(error)
        else:
            records.count_values()

    def _count(self, records: int, _bytes: int) -> None:
        if self._stopped.is_set():
            raise IncompleteError("stopped", hint="run the cell again")
        self.count += records


def warm_up(records: Records) -> None:
    """Do in a thread what the first clicks would wait for."""

    def run() -> None:
        prepare(records)
        records.count_values()

    threading.Thread(target=run, name="labkit-browse", daemon=True).start()


def say_failed(source: Source, error: BaseException) -> Source:
    """Return what is here when the others could not be read."""
    count = len(source.table)
    size = count if source.window is None else len(source.window)
    said = f"the newest {count:,} of {size:,} records; the others were not read: {error}"
    return replace(source, said=said, begun=False)
