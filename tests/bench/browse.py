"""How long a click in `widgets.browse` takes on a million records, as a person sees it.

In JupyterLab in Chromium: from the event of the mouse or the keyboard until the page shows the new
state, rows with their values among it. What is shown is compared with the same condition in SQL.
Writes ``docs/figures/bench-browse.json``.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.kafka.cluster import Cluster
from labkit.lab import Lab, connect
from labkit.stack import local

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import figures  # noqa: E402
from read import fill, realistic  # noqa: E402

from support.chrome import chromium  # noqa: E402
from support.jupyter import (  # noqa: E402
    browser_page,
    jupyter_lab,
    open_notebook,
    run_cell,
    write_notebook,
)

TOPIC = "irc-bench-browse"
RECORDS = 1_000_000
FOLLOWED = 950_000  # a browser takes a million: there must be room for what comes
LATE = 50  # records that come in a step while they are followed
# begins at the next event of a kind, ends with the frame in which a condition holds
WATCH = """([kind, condition]) => {
  let begun = null;
  document.addEventListener(kind, () => { begun = performance.now(); }, { capture: true, once: true });
  const holds = new Function("before", `
    const browser = document.querySelector(".lk-browse");
    const text = (selector) => browser.querySelector(selector)?.textContent ?? "";
    const filled = () => {
      const rows = [...browser.querySelectorAll(".lk-row")];
      return rows.length > 0 && rows.every((row) => row.children.length > 1);
    };
    return ${condition}`);
  const picked = () => document.querySelector(".lk-browse [role=status]").textContent;
  const before = { picked: picked(), first: document.querySelector(".lk-browse .lk-row")?.textContent };
  window.lkShown = new Promise((resolve) => {
    const look = () => {
      if (begun !== null && holds(before)) resolve(performance.now() - begun);
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
}"""
PICKED = 'text("[role=status]") !== before.picked && filled()'


class Clicks:
    """The page, and what each kind of click took on it."""

    def __init__(self, page: Any, count: Callable[[str], int]) -> None:
        self.page, self._count = page, count
        self.took: dict[str, list[float]] = {}

    def time(
        self, name: str, act: Callable[[], Any], shown: str = PICKED, event: str = "click"
    ) -> None:
        """Do something, and note how long it takes until the page shows it."""
        self.page.evaluate(WATCH, [event, shown])
        act()
        milliseconds = self.page.evaluate("window.lkShown")
        self.took.setdefault(name, []).append(milliseconds)
        print(f"{name:<46}{milliseconds:8.0f} ms", flush=True)
        if shown == PICKED:
            self._check()

    def _check(self) -> None:
        """Hold that as many are picked as fulfil the condition of the code below."""
        code = self.page.inner_text(".lk-browse .lk-code pre")
        condition = re.search(r"where=(.*)\)$", code)
        shown = self.page.inner_text(".lk-browse [role=status] >> nth=0").split()
        picked = int(shown[0].replace(",", "")) if shown else RECORDS
        wanted = self._count(eval(condition[1]) if condition else "true")
        assert picked == wanted, f"{picked:,} are picked, {wanted:,} fulfil {code}"

    def click(self, selector: str) -> Callable[[], None]:
        return lambda: self.page.click(f".lk-browse {selector}")

    def open_field(self, label: str) -> None:
        self.time(
            f"open the values of {label}",
            self.click(f"[data-label={label!r}] .lk-field > button"),
            f'text("[data-label={label!r}] .lk-values") !== ""',
        )

    def find(self, name: str, text: str) -> None:
        self.page.fill(".lk-browse .lk-find", text)
        self.time(name, lambda: self.page.keyboard.press("Enter"), event="keydown")

    def drag(self, begin: float, end: float) -> None:
        box = self.page.locator(".lk-browse .lk-time").bounding_box()
        self.page.mouse.move(box["x"] + begin * box["width"], box["y"] + 20)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end * box["width"], box["y"] + 20, steps=4)
        self.page.mouse.up()

    def clear(self) -> None:
        while self.page.locator(".lk-browse .lk-chip").count():
            self.page.locator(".lk-browse .lk-chip [title=remove]").first.click()
        self.page.wait_for_function(
            "document.querySelector('.lk-browse [role=status]').textContent === ''"
        )


def click_around(clicks: Clicks, number: int) -> None:
    """Click each kind once; with other values each time, so that nothing is answered as before."""
    clicks.time(
        "brush a time", lambda: clicks.drag(0.2 + number / 50, 0.6 + number / 50), event="pointerup"
    )
    clicks.clear()
    clicks.open_field("kind")
    clicks.time("only one value (+)", clicks.click("[aria-label='only click']"))
    clicks.time("turn it around (±)", clicks.click(".lk-chip [title='turn it around']"))
    clicks.time("switch the chip off", clicks.click(".lk-chip [title='use it']"))
    clicks.clear()
    clicks.time("without one value (−)", clicks.click("[aria-label='without view']"))
    clicks.clear()
    clicks.open_field("n")
    clicks.time("a bar of numbers", clicks.click(f".lk-numbers [role=button] >> nth={number + 3}"))
    clicks.clear()
    for label in ("id", "message", "price"):
        clicks.open_field(label)
    words = ["window replay", "offset topic", "record group", "lag index", "shard mapping"]
    clicks.find("find a text in all fields", words[number % len(words)])
    clicks.find("find another among these", f"{number}4")
    clicks.clear()
    clicks.find("a condition in SQL", f"= n % 7 = {number % 7}")
    clicks.clear()
    select = clicks.page.locator(".lk-browse select")
    clicks.time(
        "stack the histogram", lambda: select.select_option("kind"), 'text(".lk-legend") !== ""', "change"
    )  # fmt: skip
    select.select_option("")
    clicks.page.wait_for_selector(".lk-browse .lk-legend", state="hidden")
    look_at_records(clicks, number)


def look_at_records(clicks: Clicks, number: int) -> None:
    """Open a record, and scroll."""
    page, rows = clicks.page, ".lk-browse .lk-rows"
    clicks.time(
        "open a record",
        clicks.click(f".lk-row >> nth={number + 2}"),
        'text(".lk-detail:not([hidden]) .lk-tree") !== ""',
        "pointerup",  # the row is drawn anew before there is a click
    )
    page.focus(rows)
    page.keyboard.press("Escape")
    page.wait_for_selector(".lk-browse .lk-detail", state="hidden")
    for share in (0.3 + number / 20, 0.0):
        clicks.time(
            "scroll far",
            lambda share=share: page.locator(rows).evaluate(
                "(rows, share) => { rows.scrollTop = share * rows.scrollHeight; }", share
            ),
            'filled() && text(".lk-row") !== before.first',
            "scroll",
        )


@contextmanager
def coming(admin: Cluster, topic: str) -> Iterator[None]:
    """Write records all the time: some in each tenth of a second."""
    producer, ended = admin.producer(), threading.Event()

    def write() -> None:
        while not ended.wait(0.1):
            for _ in range(LATE):
                producer.produce(topic, b'{"kind": "late", "message": "new"}', partition=0)
            producer.flush()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def click_while_following(clicks: Clicks, number: int) -> None:
    """Click while records come; what is picked grows, so the counts are not compared."""
    some = 'Number(text("[role=status]").split(" ")[0].replaceAll(",", "")) > 0 && filled()'
    clicks.time("following: only one value (+)", clicks.click("[aria-label='only click']"), some)
    clicks.clear()
    clicks.page.fill(".lk-browse .lk-find", f"shard {('topic', 'lag', 'bulk')[number % 3]}")
    clicks.time(
        "following: find a text", lambda: clicks.page.keyboard.press("Enter"), some, "keydown"
    )
    clicks.clear()


def follow(clicks: Clicks, admin: Cluster, topic: str, rounds: int) -> None:
    """Follow what comes to somewhat fewer records, and click meanwhile."""
    last = clicks.page.locator(".lk-browse .lk-last")
    last.fill(str(FOLLOWED))
    last.press("Enter")
    clicks.page.wait_for_selector(
        f".lk-browse .lk-part:has-text('the newest {FOLLOWED:,} of'):not(:has-text('reading'))"
    )
    with coming(admin, topic):
        clicks.time("follow", clicks.click(".lk-live"), 'text(".lk-pace").includes("following")')
        clicks.page.wait_for_selector(".lk-browse .lk-pace:not(:has-text('following: 0 new'))")
        for number in range(rounds):
            click_while_following(clicks, number)
        clicks.time("pause", clicks.click(".lk-live"), 'text(".lk-pace").includes("paused")')


def run(lab: Lab, admin: Cluster, options: argparse.Namespace) -> dict[str, list[float]]:
    """Open the records in JupyterLab, and click."""
    replay = lab.window(TOPIC).read(progress=False)

    def count(condition: str) -> int:
        counted = replay.sql(f"select count(*) n from replay where {condition}")
        return int(counted["n"].iloc[0])

    cells = [
        f"import labkit\nfrom labkit import widgets\n"
        f"b = widgets.browse(labkit.connect(), labkit.connect().window({TOPIC!r}), anew=True)\nb"
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "notebooks" / "browse.ipynb", cells)
        with (
            jupyter_lab(Path(folder) / "notebooks", Path(folder)) as server,
            chromium() as browser,
            browser_page(browser) as page,
        ):
            open_notebook(page, server, "browse.ipynb")
            clicks = Clicks(page, count)
            run_cell(page, 0)
            page.wait_for_selector(".lk-browse .lk-row >> nth=5")
            page.wait_for_selector(".lk-browse .lk-part", state="detached")
            for number in range(options.rounds):
                click_around(clicks, number)
            clicks.open_field("kind")
            follow(clicks, admin, TOPIC, options.rounds)
            assert page.errors == [], page.errors
    return clicks.took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    state = local.up(say=print)
    admin = Cluster(state.credentials("admin")["kafka"])
    fill(admin, TOPIC, RECORDS, realistic)
    took = run(connect(), admin, options)
    rows = [
        {"click": name, "median, ms": statistics.median(times), "slowest, ms": max(times)}
        for name, times in took.items()
    ]
    title = f"A click in widgets.browse on {RECORDS:,} records, in Chromium"
    print(figures.keep("browse", title, options.rounds, rows))


if __name__ == "__main__":
    main()
