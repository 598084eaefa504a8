"""`make soak`: the extractor and the indexer work while all that they need is killed.

It lasts half an hour. A real ngircd hands on numbered messages at a steady rate; ``labkit extract
irc --spool`` writes them to Kafka, ``labkit index`` from there to Elasticsearch. At random moments
(of a seed, which is printed) Kafka is killed or stopped, the extractor killed, both, or
Elasticsearch. At the end the topic itself is asked, by the numbers in its records' headers:

- what was put into the spool is in the topic: the spool's numbers have no gap that ``labkit.dropped`` does not tell;
- what is there twice is marked ``labkit.resent``, all but one of it, and is one record of the spool;
- what was said and is not there was said while the extractor was dead, or in the moment before it was killed: IRC has
  no acknowledgements, and a spool's commit comes ten times a second;
- the index has a document for each offset of the topic, and no other; the group's commits are the topic's ends;
- neither process grows.

Exits with 1 when one of these does not hold. The processes' words are in ``test-output/soak``.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from labkit.config.profiles import Profile  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.stack.state import State  # noqa: E402
from support.indexing import Bench, expected_ids  # noqa: E402
from support.irc import Ngircd, Talker, say, together  # noqa: E402
from support.spooling import Feed  # noqa: E402
from support.stack import kill_9, new_state_dir, run_labkit  # noqa: E402
from support.waiting import until  # noqa: E402

OUTPUT = HERE.parents[1] / "test-output" / "soak"
TURN_S = 0.1
BEFORE_KILL_S = 1.0  # what a killed extractor may have heard and not yet committed
GROWTH_MB = 30
KINDS = ("Kafka killed", "Kafka stopped", "extractor killed", "both killed", "Elasticsearch killed")


@dataclass
class Speech:
    """Somebody who says numbers at a steady rate, and knows what the last one was at any time."""

    talker: Talker
    rate: int
    begun: int = 0
    said: int = 0
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            while not self.over.wait(TURN_S):
                self.begun = due = int((time.monotonic() - began) * self.rate)
                say(self.talker, range(self.said, due))
                self.said = due
        except (OSError, AssertionError) as error:
            self.error = error

    def end(self) -> None:
        self.over.set()
        self._thread.join(30)
        assert self.error is None, self.error


@dataclass
class Memory:
    """How much memory the processes hold, looked at every two seconds."""

    processes: Callable[[], dict[str, int]]
    samples: dict[tuple[str, int], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def watch(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        began = time.monotonic()
        while True:
            for name, pid in self.processes().items():
                with suppress(psutil.Error):
                    rss = psutil.Process(pid).memory_info().rss / 1e6
                    self.samples[name, pid].append((time.monotonic() - began, rss))
            time.sleep(2)

    def growth(self, name: str) -> tuple[float, float, float, float]:
        """Return the memory of the process that lived longest.

        It is minutes, and MB in the second fifth of them, in the last fifth, and the most.
        """
        longest = max(
            (
                rows
                for (name_of_process, _), rows in self.samples.items()
                if name_of_process == name
            ),
            key=len,
        )
        fifth = max(1, len(longest) // 5)
        early, late = (
            statistics.median(mb for _, mb in rows)
            for rows in (longest[fifth : 2 * fifth], longest[-fifth:])
        )
        minutes = (longest[-1][0] - longest[0][0]) / 60
        return minutes, early, late, max(mb for _, mb in longest)


class Soak:
    """The servers, the two processes, and what is done to them."""

    def __init__(self, state: Path, folder: Path, port: int, rate: int, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.feed = Feed(state, folder, port)
        self.extractors = [self.feed.first]
        self.in_channel()
        indexing = folder / "indexing"
        indexing.mkdir()
        self.bench = Bench(State.load(state), indexing)
        self.run = self.bench.start(self.feed.topic, "--every", "5s")
        self.speech = Speech(self.feed.talker, rate)
        self.memory = Memory(
            lambda: {"extractor": self.extractors[-1].process.pid, "indexer": self.run.process.pid}
        )
        self.faults: list[tuple[str, float]] = []
        # numbers said while no extractor listened, at most these
        self.unheard: list[tuple[int, int]] = []
        self.most_waiting = 0

    # what is done ------------------------------------------------------------------------------------

    def in_channel(self) -> None:
        """Wait until the extractor listens."""
        watcher = Talker(self.feed.port, b"watch%d" % len(self.extractors), b"#watch")
        together(watcher, b"labkit", timeout_s=120)
        watcher.socket.close()

    def fault(self, kind: str) -> None:
        began = time.monotonic()
        away = self.rng.uniform(1, 15)
        if kind == "Elasticsearch killed":
            kill_9(self.state, "elasticsearch")
        elif kind == "Kafka stopped":
            broker = psutil.Process(State.load(self.state).services["kafka"].pid)
            broker.terminate()
            broker.wait(60)
        elif kind != "extractor killed":
            kill_9(self.state, "kafka")
        if kind in ("extractor killed", "both killed"):
            time.sleep(away / 2)
            self.kill_extractor()
        time.sleep(away / 2)
        self.most_waiting = max(self.most_waiting, self.waiting())
        self.up()
        self.faults.append((kind, time.monotonic() - began))

    def up(self) -> None:
        """Start what is not there; a busy machine may take longer than `labkit up` waits."""
        for left in reversed(range(3)):
            try:
                run_labkit(self.state, "up")
                return
            except AssertionError as error:
                print(f"labkit up: {error}", flush=True)
                if not left:
                    raise

    def kill_extractor(self) -> None:
        before = self.speech.said - int(self.speech.rate * BEFORE_KILL_S)
        self.extractors[-1].process.kill()
        self.extractors[-1].process.wait()
        self.extractors.append(self.feed.extractor())
        self.in_channel()
        self.unheard.append((before, self.speech.begun))

    def waiting(self) -> int:
        """Return how many records wait in the spool."""
        with closing(
            sqlite3.connect(f"file:{self.feed.folder}/spool.sqlite?mode=ro", uri=True, timeout=20)
        ) as disk:
            return int(disk.execute("select count(*) from records").fetchone()[0])

    def finish(self) -> str:
        """Let all arrive, end both processes; return the extractor's last words."""
        self.speech.end()
        until(lambda: self.waiting() == 0, "an empty spool", 180)
        words = self.extractors[-1].stop()
        total = len(expected_ids(self.bench.admin, self.feed.topic))
        until(lambda: sum(self.bench.committed().values()) == total, "all commits", 300)
        assert self.run.stop() == 0, self.run.said
        return words

    def close(self) -> None:
        for extractor in self.extractors:
            extractor.process.kill()
        for run in self.bench.runs:
            run.kill()
        OUTPUT.mkdir(parents=True, exist_ok=True)
        said_lines = [
            f"extractor {n}: {line}"
            for n, extractor_ in enumerate(self.extractors)
            for line in extractor_.said
        ]
        (OUTPUT / "said.txt").write_text(
            "\n".join([*said_lines, *(f"indexer: {line}" for line in self.run.said)]) + "\n"
        )

    # what must hold ----------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yield what each record of the topic says, and its headers."""
        credentials = State.load(self.state).credentials("lab")
        lab = Lab(
            Profile("local", "lab", credentials["kafka"], credentials["elasticsearch_targets"])
        )
        for batch in lab.window(self.feed.topic).batches():
            for value, headers in zip(
                *(batch.column(one).to_pylist() for one in ("value", "headers")), strict=True
            ):
                message = orjson.loads(value)
                text = message["message"] if message["command"] == "PRIVMSG" else ""
                yield text, {header["key"]: header["value"] for header in headers}

    def proof(self) -> dict[str, tuple[Any, bool]]:
        """Return the figures, and whether each is as it must be."""
        # a spool's number: resent, for each time
        marks: dict[tuple[bytes, int], list[bool]] = defaultdict(list)
        # what was said: where it was in the spool
        numbers: dict[int, set[tuple[bytes, int]]] = defaultdict(set)
        dropped: dict[tuple[bytes, int], int] = {}
        for text, headers in self.records():
            name = headers["labkit.spool"], int(headers["labkit.spool_sequence"])
            marks[name].append("labkit.resent" in headers)
            dropped[name] = int(headers.get("labkit.dropped", b"0"))
            if text:
                numbers[int(text.removeprefix("number "))].add(name)
        missing = [number for number in range(self.speech.said) if number not in numbers]
        unexplained = [
            number
            for number in missing
            if not any(first <= number <= last for first, last in self.unheard)
        ]
        doubled = sum(len(mark) - 1 for mark in marks.values())
        topic, index = expected_ids(self.bench.admin, self.feed.topic), self.bench.ids()
        ledger = self.run.ledger
        return {
            "messages said": (self.speech.said, self.speech.said > 0),
            "of them in the topic": (len(numbers), len(numbers) > 0),
            "said to a dead extractor": (len(missing) - len(unexplained), True),
            "missing otherwise": (len(unexplained), not unexplained),
            "records in the topic": (len(topic), sum(map(len, marks.values())) == len(topic)),
            "gaps in the spool's numbers": (found := gaps(marks, dropped), found == 0),
            "dropped for want of room": (sum(dropped.values()), True),
            "doubled and marked": (doubled, True),
            "doubled, not marked": (
                found := sum(mark.count(False) > 1 for mark in marks.values()),
                found == 0,
            ),
            "one message, two records": (
                found := sum(len(number) > 1 for number in numbers.values()),
                found == 0,
            ),
            "documents in the index": (len(index), index == topic),
            "refused or unsent": (found := ledger["rejected"] + ledger["unsent"], found == 0),
            "sent to the index again": (ledger["existing"], True),
            "most records in the spool seen": (self.most_waiting, True),
        }


def gaps(marks: dict[tuple[bytes, int], list[bool]], dropped: dict[tuple[bytes, int], int]) -> int:
    """Count the numbers that are missing in the topic.

    Numbers that a record names as dropped are not counted.
    """
    gap_count = 0
    for spool in {spool for spool, _ in marks}:
        before = 0
        for _, number in sorted(name for name in marks if name[0] == spool):
            gap_count += abs(number - before - 1 - dropped[spool, number])
            before = number
    return gap_count


def schedule(rng: random.Random, minutes: float) -> Iterator[str]:
    """Wait for the next moment and name what is to happen.

    Each kind once, Elasticsearch no more than that.
    """
    ends = time.monotonic() + minutes * 60
    kinds: list[str] = rng.sample(KINDS, len(KINDS))
    longest = min(90.0, minutes * 60 / len(KINDS) / 1.5)
    while True:
        pause = rng.uniform(longest / 3, longest)
        if time.monotonic() + pause > ends:
            time.sleep(max(0.0, ends - time.monotonic()))
            return
        time.sleep(pause)
        yield kinds.pop() if kinds else rng.choice(KINDS[:-1])


@contextmanager
def servers() -> Iterator[tuple[Path, Path, int]]:
    """Yield a state folder, a folder for files, and an IRC server's port.

    All is gone afterwards.
    """
    state, folder = new_state_dir(), new_state_dir()
    ircd = Ngircd(folder)
    try:
        yield state, folder, ircd.port
    finally:
        ircd.kill()
        run_labkit(state, "down", "--purge")
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def print_table(rows: Sequence[tuple[str, Any, bool]]) -> bool:
    for name, value, holds in rows:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        print(f"  {name:<32}{text:>14}{'' if holds else '   DOES NOT HOLD'}")
    return all(holds for _, _, holds in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=200, help="messages a second")
    parser.add_argument("--seed", type=int, default=None, help="of the faults; printed")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    rng = random.Random(seed)
    print(f"{options.minutes:g} minutes, {options.rate} messages/s, seed {seed}", flush=True)
    with servers() as (state, folder, port):
        soak = Soak(state, folder, port, options.rate, rng)
        began = time.monotonic()
        try:
            soak.memory.watch()
            soak.speech.start()
            for kind in schedule(rng, options.minutes):
                print(f"{(time.monotonic() - began) / 60:5.1f} min: {kind}", flush=True)
                soak.fault(kind)
            words = soak.finish()
            rows = [(name, value, holds) for name, (value, holds) in soak.proof().items()]
        finally:
            soak.close()
    # else not all may have happened, and the processes are still warming up
    long = options.minutes >= 10
    for kind in KINDS:
        times = [seconds for one, seconds in soak.faults if one == kind]
        rows.append(
            (
                kind,
                f"{len(times)} × {statistics.mean(times):.0f} s" if times else "0",
                bool(times) or not long,
            )
        )
    for name in ("extractor", "indexer"):
        minutes, early, late, most = soak.memory.growth(name)
        rows.append(
            (
                f"{name}: {minutes:.0f} min, MB",
                f"{early:.0f} → {late:.0f} ({most:.0f})",
                late - early < GROWTH_MB or not long,
            )
        )
    print(words.strip())
    return 0 if print_table(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
