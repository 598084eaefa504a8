"""BEHAVIOURS 55: Stop at a random moment of a notebook; then its user goes on with the part.

No cell shows a number of the part without saying that it is one.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.util import run_sync

from labkit.charts.show import VEGA
from labkit.errors import NotFoundError
from labkit.lab import Lab
from support.records import read_sample

ROOT = Path(__file__).parents[2]
RECORDS = 20_000
# small batches: there is time to press Stop between the first one and the last
SETUP = "from labkit.replay import reader\nreader.BATCH_RECORDS = 1_000\ntopic = {!r}"
STOPS = 2  # of each cell that reads
READS = re.compile(r"\.read\(|\.profile\(|browse\(|\.estimate\(|to_scratch\(")
# what such a cell assigns is what `labkit.stopped()` has the part of
ASSIGNED = re.compile(r"^(r|load) = ", re.MULTILINE)
SAYS_SO = re.compile(r"stopped|incomplete|complete': False", re.IGNORECASE)
# times, durations, hashes and the ends of names are others in each run
CHANGING = re.compile(
    r"\d{4}-\d\d-\d\d[T ][\d:.]+|[\d.]+ m?s\b|elapsed_s=[\d.]+|\b[0-9a-f]{12,}\b|-[0-9a-f]{8}\b"
)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")
INVISIBLE = re.compile(r"<(style|script).*?</\1>|<[^>]*>", re.DOTALL)


class Shown(NamedTuple):
    """What a cell shows: its numbers in their order, all its text, and the error that ended it."""

    numbers: list[float]
    text: str
    error: str | None


class Notebook:
    """A notebook of labkit's in a kernel, whose cells run one by one, as in JupyterLab."""

    def __init__(self, name: str, topic: str) -> None:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        setup = nbformat.v4.new_code_cell(SETUP.format(topic))
        self.cells = [code[0], setup, *code[1:]]
        self.typed = nbformat.v4.new_code_cell()
        notebook.cells = [*self.cells, self.typed]
        self.client = NotebookClient(notebook, allow_errors=True, timeout=120)

    def run_cells(self, stop_in: int = -1, after_s: float = 0) -> Iterator[Shown]:
        """Run all cells from the top, with Stop pressed in one; yield what each shows."""
        self._type("%reset -f")
        for number, cell in enumerate(self.cells):
            pressed_after_s = after_s if number == stop_in else None
            run_sync(self._execute)(cell, number, pressed_after_s)
            shown = read_outputs(cell)
            yield shown
            if shown.error == "Stopped":
                self._take_part(cell)

    async def _execute(self, cell: Any, number: int, pressed_after_s: float | None) -> None:
        async def press(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await self.client.km.interrupt_kernel()

        executed = [self.client.async_execute_cell(cell, number)]
        if pressed_after_s is not None:
            executed.append(press(pressed_after_s))
        await asyncio.gather(*executed)

    def _take_part(self, cell: Any) -> None:
        """Do as the error's hint says, where the cell gives its result a name."""
        if assigned := ASSIGNED.search(cell.source):
            self._type(f"{assigned[1]} = labkit.stopped()")

    def _type(self, line: str) -> None:
        self.typed.source = line
        self.client.execute_cell(self.typed, len(self.cells))
        assert not self.typed.outputs


def read_outputs(cell: Any) -> Shown:
    """Return what a person sees of a cell's outputs."""
    texts, numbers, error = [], [], None
    for output in cell.outputs:
        data = output.get("data", {})
        texts += [output.get("text", ""), data.get("text/plain", ""), output.get("evalue", "")]
        texts.append(INVISIBLE.sub(" ", data.get("text/html", "")))
        error = output.get("ename", error)
        if chart := data.get(VEGA):
            texts.append(str(chart.get("title", "")))
            numbers += list(read_numbers(chart["data"]))
    text = "\n".join(texts)
    spelt = NUMBER.findall(CHANGING.sub("", text))
    numbers += [float(number.replace(",", "")) for number in spelt]
    # what is larger counts no records: bytes, and times
    return Shown([number for number in numbers if number <= RECORDS], text, error)


def read_numbers(value: Any) -> Iterator[float]:
    """Yield each number of a chart's data."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from read_numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.chaos
@pytest.mark.alone  # the notebooks list all topics and groups
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["00-tour", "01-discover"])
def test_no_cell_shows_a_number_of_a_part_without_a_word(
    name: str, me: str, lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None]
) -> None:
    topic = make_topic(2)
    values = read_sample(RECORDS)
    for partition in (0, 1):
        produce(topic, values[partition::2], partition=partition)
    notebook = Notebook(name, topic)
    chance = random.Random(name)
    parts = 0
    with notebook.client.setup_kernel():
        whole, ends_s = [], [time.monotonic()]
        for shown in notebook.run_cells():
            assert shown.error is None, shown.text
            whole.append(shown)
            ends_s.append(time.monotonic())
        reading = [n for n, cell in enumerate(notebook.cells) if READS.search(cell.source)]
        for number in reading * STOPS:
            with suppress(NotFoundError):
                lab.delete_scratch("discover")
            after_s = chance.uniform(0, ends_s[number + 1] - ends_s[number])
            moment = f"Stop after {after_s:.3f} s of {notebook.cells[number].source!r}"
            stopped = notebook.run_cells(number, after_s)
            for cell, shown, expected in zip(notebook.cells, stopped, whole, strict=True):
                if shown.numbers and shown.numbers != expected.numbers:
                    parts += 1
                    assert SAYS_SO.search(shown.text), (
                        f"{moment}: no word in {cell.source!r}: {shown.text}"
                    )
    assert parts, "no Stop came between the first record and the last"
