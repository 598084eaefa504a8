"""The Python blocks of the pages written by hand run as they stand, on a real topic."""

from __future__ import annotations

import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from labkit.lab import Lab

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    page for folder in ("how-to", "start", "why") for page in (DOCS / folder).glob("*.md")
)
COUNT = 3_000
WORDS = (
    "kafka streams",
    "a time out",
    "what is a partition, and who reads it after all that time?",
    "hello",
)
DAY_MS = 86_400_000


def python_blocks(page: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


@pytest.fixture(scope="module")
def topic(admin: Any) -> str:
    """A small `irc`: two weeks of records, the last of them now."""
    from confluent_kafka.admin import NewTopic

    name = f"irc-test-docs-{uuid.uuid4().hex[:8]}"
    admin.ask(lambda client: client.create_topics([NewTopic(name, 2, 1)]), what="make it")
    producer = admin.producer(linger_ms=5)
    now = int(time.time() * 1000)
    for n in range(COUNT):
        nick = ("alice", "bob", "carol")[n % 3]
        record = {
            "nick": nick,
            "channel": ("#kafka", "#labkit")[n % 2],
            "ip": f"81.2.69.{n % 200}",
            "message": f"{WORDS[n % len(WORDS)]} {n}",
        }
        sent = now - 13 * DAY_MS * (COUNT - n) // COUNT
        producer.produce(
            name, json.dumps(record).encode(), key=nick, partition=n % 2, timestamp=sent
        )
    assert producer.flush(60) == 0
    return name


@pytest.fixture
def names(lab: Lab, me: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a script, in a folder and as a user of the test's own."""
    monkeypatch.chdir(tmp_path)
    return {"__name__": "__main__"}


def pages(*, guarded: bool) -> list[Path]:
    """Return the pages with Python: those that guard all groups, or the others."""
    blocks = {page: python_blocks(page) for page in PAGES}
    return [
        page for page in PAGES if blocks[page] and ("lab.guard" in str(blocks[page])) is guarded
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(guarded=False), ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, topic: str, names: dict[str, Any]) -> None:
    run_blocks(page, topic, names)


@pytest.mark.slow
@pytest.mark.alone  # groups of other tests come and go
@pytest.mark.parametrize("page", pages(guarded=True), ids=lambda page: page.stem)
def test_the_blocks_of_a_page_with_a_guard_run(
    page: Path, topic: str, names: dict[str, Any]
) -> None:
    run_blocks(page, topic, names)


def run_blocks(page: Path, topic: str, names: dict[str, Any]) -> None:
    """Run a page's blocks one after the other; what the page says of them must hold."""
    for block in python_blocks(page):
        code = block.replace('"irc"', repr(topic))
        exec(compile(code, f"{page.name}: {block.splitlines()[0]}", "exec"), names)
        check_claims(names)


def check_claims(names: dict[str, Any]) -> None:
    """What the pages say of their results holds."""
    if "r" in names:
        assert names["r"].receipt.complete
    if "receipt" in names:
        assert names["receipt"].complete
        c = names["c"]
        assert c["planned"] == c["read"] + c["filtered"] + c["gaps"] + c["unread"] == 1000
    if "hits" in names:
        assert len(names["hits"]) == 20
    if "same" in names:
        assert names["same"].read().receipt.hash == names["w"].read().receipt.hash
    if "load" in names:
        counts = names["load"].counts
        assert (
            counts["sent"]
            == counts["indexed"] + counts["existing"] + counts["rejected"] + counts["unsent"]
            > 0
        )
    if "counts" in names:
        assert len(names["counts"].dropna()) == 2
    if "records" in names:
        assert len(names["records"]) == 1000
    if "df" in names:
        receipt = names["df"].receipt()
        assert (
            receipt.planned == receipt.read + receipt.filtered + receipt.gaps + receipt.unread > 0
        )
    if "again" in names:
        assert names["copy"].counts == {"read": 1000, "written": 1000, "failed": 0}
        assert len(names["again"]) == 1000
    if "part" in names:
        assert names["part"].counts["written"] in (333, 334)
    if "proof" in names:
        assert names["proof"].untouched
