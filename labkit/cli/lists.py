"""Commands that list, keep and clear what there is: topics, retention, scratch, gc, cache."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from labkit.checks.names import user
from labkit.checks.options import Parser
from labkit.cli.common import (
    Commands,
    command,
    delete_each,
    json_option,
    names_command,
    open_lab,
    profile_options,
    share_options,
    table_command,
)
from labkit.cli.terminal import answer, out, print_table, tell
from labkit.errors import LabkitError
from labkit.text.counts import number_of

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab


def register(commands: Commands) -> None:
    """Add the family's commands."""
    names_command(
        commands,
        "topics",
        lambda lab, *patterns: lab.topics(*patterns),
        "list the topics",
        "irc*",
        view=_topics_view,
    )
    names_command(
        commands,
        "indices",
        lambda lab, *patterns: lab.indices(*patterns),
        "list the indices that you may look at",
        "irc*",
        view=_index_lines,
    )
    scratch = table_command(
        commands,
        "scratch",
        lambda lab: lab.scratch(),
        "list your scratch indices and topics, or delete one",
        _scratch_view,
        why_empty=_why_no_scratch,
    )
    kinds = scratch.add_subparsers(dest="kind", metavar="delete", parser_class=Parser)
    delete = command(
        kinds, "delete", _delete_scratch, "delete some of your scratch indices or topics"
    )
    delete.add_argument(
        "names", nargs="+", metavar="NAME", help="as listed, or the name you gave it"
    )
    delete.add_argument(
        "--target", metavar="NAME", help="the Elasticsearch cluster, where several have the index"
    )
    share_options(json_option(profile_options(delete, "lab")))
    retention = command(
        commands, "retention", _retention, "show, or set, for how long a topic keeps records"
    )
    json_option(profile_options(retention, "lab"))
    retention.add_argument("topic", metavar="TOPIC")
    retention.add_argument(
        "keep", nargs="?", metavar="TIME", help="such as 90d; needs a role that may (--role admin)"
    )
    gc = command(
        commands,
        "gc",
        _gc,
        "delete your expired scratch indices and topics, and empty ad hoc groups",
    )
    json_option(profile_options(gc, "lab"))
    cache = json_option(command(commands, "cache", _cache, "list the windows kept on this machine"))
    cache.add_argument("--clear", action="store_true", help="remove them")


def _delete_scratch(options: argparse.Namespace) -> None:
    lab = open_lab(options)
    delete_each(
        options, options.names, lambda name: lab.delete_scratch(name, target=options.target)
    )


def _why_no_scratch(_lab: Lab) -> str:
    return (
        f"no scratch index or topic of {user()}: `labkit replay TOPIC --scratch NAME` makes an index, "
        "--to-topic NAME a topic"
    )


def _topics_view(topics: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a line, retention in days, times without seconds."""
    keeps = topics["retention_ms"].map(_days, na_action="ignore").astype(object)
    newest = topics["newest"].dt.strftime("%Y-%m-%d %H:%M")
    shown = topics[["topic", "partitions", "records"]].assign(newest=newest, keeps=keeps)
    return shown.assign(cleanup=topics["cleanup"])


def _days(ms: int) -> str:
    return "for ever" if ms < 0 else f"{ms / 86_400_000:,.4g} days"


def _scratch_view(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a line, sizes in MB, times without seconds.

    A scratch topic has no index: there `topic` is its own name, not its source.
    """
    is_index = rows["kind"] == "index"
    shown = rows[["kind", "documents"]].rename(columns={"documents": "records"})
    shown.insert(0, "name", rows["index"].where(is_index, rows["topic"]))
    megabytes = (rows["bytes"] / 1e6).astype("Float64").round(1)
    expires = rows["expires"].map(lambda at: str(at)[:16].replace("T", " "), na_action="ignore")
    state = _load_state(rows).mask(rows["expired"], "expired")
    shown = shown.assign(MB=megabytes, expires=expires, state=state)
    shown = shown.assign(source=rows["topic"].where(is_index))
    return shown.assign(target=rows["target"]) if rows["target"].nunique() > 1 else shown


def _load_state(rows: pd.DataFrame) -> pd.Series:
    """Return "incomplete" for each index that has not all of its window."""
    return rows["shortfall"].fillna("").map(lambda why: "incomplete" if why else None)


def _index_lines(found: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a line: --json has them all."""
    source = found["topic"].str.cat(found["window"].str[:8], sep=" ").where(found["topic"].notna())
    megabytes = (found["bytes"] / 1e6).astype("Float64").round(1)
    lines = found[["index", "documents"]].assign(
        MB=megabytes, created=found["created"].dt.strftime("%Y-%m-%d"), topic_window=source
    )
    state = _load_state(found)
    if state.notna().any():
        lines = lines.assign(state=state)
    return lines.assign(target=found["target"]) if found["target"].nunique() > 1 else lines


def _retention(options: argparse.Namespace) -> None:
    days = open_lab(options).retention(options.topic, options.keep)
    answer(
        options,
        lambda: json.dumps({"topic": options.topic, "days": days}),
        f"{options.topic} keeps records for {'ever' if days < 0 else f'{days:g} days'}",
    )


def _gc(options: argparse.Namespace) -> None:
    lab = open_lab(options)
    try:
        gone = lab.gc()
    except LabkitError as error:
        _answer_deleted(options, error.facts["deleted"], "nothing was deleted")
        raise
    _answer_deleted(options, gone, "nothing has expired")


def _answer_deleted(options: argparse.Namespace, gone: list[str], none: str) -> None:
    text = "\n".join(f"deleted {name}" for name in gone) or none
    answer(options, lambda: json.dumps(gone), text)


def _cache(options: argparse.Namespace) -> None:
    from labkit.sinks import cache

    if options.clear:
        count = cache.clear()
        answer(
            options, lambda: json.dumps({"removed": count}), f"removed {number_of(count, 'file')}"
        )
        return
    rows = cache.entries()
    if options.json:
        out(json.dumps(rows, indent=2))
        return
    import pandas as pd

    if rows:
        frame = pd.DataFrame(
            {
                "MB": [round(row["bytes"] / 1e6, 1) for row in rows],
                "used": [row["used"][:16].replace("T", " ") for row in rows],
                "file": [row["file"] for row in rows],
            }
        )
        print_table(frame, options)
    tell(f"{sum(row['bytes'] for row in rows) / 1e6:,.1f} MB in {cache.folder()}")
