"""How a frozen window shows itself, as text and as HTML. Pure."""

from __future__ import annotations

from datetime import UTC, tzinfo
from html import escape

from labkit.checks.suggest import typed
from labkit.replay.plan import Plan
from labkit.text.counts import number_of
from labkit.text.visible import visible
from labkit.times import iso

_LEFT = 'style="text-align:left"'
_NEXT = (".read()", ".batches()", ".to_parquet(path)", ".to_scratch(name)", ".to_dask()")
_NEXT_IN_A_SHELL = "--json > FILE keeps it; `labkit replay window:FILE` reads it"


def text(plan: Plan, zone: tzinfo = UTC) -> str:
    """Return the window as lines of text."""
    body = "\n".join(f"  {name:<8}{visible(value)}" for name, value in _facts(plan, zone))
    return f"Window\n{body}\n  next    {typed('  '.join(_NEXT), _NEXT_IN_A_SHELL)}"


def html(plan: Plan, zone: tzinfo = UTC) -> str:
    """Return the window as HTML."""
    rows = "".join(
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{escape(value)}</td></tr>"
        for name, value in _facts(plan, zone)
    )
    offsets = "".join(
        f"<tr><td>{span.partition}</td><td>{span.start:,}</td><td>{span.end:,}</td></tr>"
        for span in plan.ranges
    )
    details = f"<table><tr><th>partition</th><th>start</th><th>end</th></tr>{offsets}</table>"
    verbs = " ".join(f"<code>{verb}</code>" for verb in _NEXT)
    return f"<b>Window</b><table>{rows}</table><details><summary>offsets</summary>{details}</details>next: {verbs}"


def _facts(plan: Plan, zone: tzinfo) -> list[tuple[str, str]]:
    facts = [("topic", plan.topic), ("asked", plan.asked)]
    if plan.is_by_time:
        start = iso(plan.start_ms, zone) or "the log's start"
        end = iso(plan.end_ms, zone) or "the frozen end"
        facts.append(("time", f"[{start}, {end}) {zone} by {plan.timestamp_type}"))
    filled = [span for span in plan.ranges if span.size]
    partitions = number_of(len(plan.ranges), "partition")
    where = partitions if len(filled) == len(plan.ranges) else f"{len(filled)} of its {partitions}"
    facts.append(("offsets", f"{plan.size:,} in {where}"))
    facts.append(("frozen", f"{iso(plan.frozen_ms, zone)} as {plan.hash}"))
    return facts
