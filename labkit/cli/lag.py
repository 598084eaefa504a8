"""The command ``labkit lag``: a look, a check for cron, or a watch that alarms."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from labkit.checks.names import plain_names
from labkit.cli.common import (
    INCOMPLETE,
    OK,
    Commands,
    command,
    json_option,
    open_lab,
    profile_options,
)
from labkit.cli.terminal import out, print_rows, print_table, say, tell
from labkit.errors import UsageError
from labkit.text.counts import number_of
from labkit.waiting.interrupt import stop_event
from labkit.waiting.notice import WaitNotice

if TYPE_CHECKING:
    import pandas as pd

    from labkit.errors import LabkitError
    from labkit.groups.alerts import Alerts
    from labkit.groups.judgement import Judgement
    from labkit.groups.lag import Judged
    from labkit.groups.metrics import Outlet
    from labkit.groups.states import Verdict
    from labkit.groups.verdicts import GroupVerdict

_SHOWN = [
    "group",
    "topic",
    "partition",
    "verdict",
    "lag",
    "since",
    "behind_s",
    "read_per_s",
    "written_per_s",
    "eta_s",
    "member",
]
_VIEW = {
    "group": "group", "topic": "topic", "partition": "part", "verdict": "verdict", "lag": "lag",
    "since": "behind since", "read_per_s": "read/s", "written_per_s": "write/s", "member": "member",
}  # fmt: skip
_CHECK = (
    "exit with 3 when a group is slow, stalled, stopped or rewound, its topic was made again, or one that is named "
    "has a partition that cannot be looked at or has records and no commit, or no partition at all; also when fewer "
    "than 3 looks leave a group without a verdict, unless --max-lag alone is asked"
)
_PATIENCE = (
    "how long commits may stand still: a little more than the consumers wait between two "
    "(default: 5.5s; 65s for sinks that commit each minute)"
)
_METRICS = (
    "with --watch: Prometheus text on this port of this machine (ADDRESS:PORT opens it to others), or in this file "
    "after each look"
)
_ALERT = (
    "with --watch: a program that is run once, with JSON on standard input, when a group becomes a case of --check "
    "(see there), another one, or none any more; also when the cluster does not answer. No shell is used"
)
_FEW = 10  # groups that each have a line at each look


def register(commands: Commands) -> None:
    """Add the command."""
    lag = command(
        commands, "lag", _lag, "look at groups several times and tell what their consumers do"
    )
    json_option(profile_options(lag, "lab"))
    lag.add_argument(
        "groups",
        nargs="*",
        metavar="GROUP",
        help="names, or patterns such as 'indexer.*' (default: all)",
    )
    lag.add_argument(
        "--samples", type=int, help="how many looks (default: 5; with --watch: until it is stopped)"
    )
    lag.add_argument(
        "--every", metavar="TIME", help="time between two looks (default: 2s; with --watch: 10s)"
    )
    lag.add_argument("--patience", metavar="TIME", default="5.5s", help=_PATIENCE)
    lag.add_argument(
        "--record", metavar="FOLDER", help="append the looks to a history of Parquet files"
    )
    how = lag.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="go on until it is stopped")
    how.add_argument("--check", action="store_true", help=_CHECK)
    lag.add_argument(
        "--max-lag",
        type=int,
        metavar="N",
        help="with --check, --alert: also when a group's lag is above N",
    )
    lag.add_argument("--metrics", metavar="PORT|FILE", help=_METRICS)
    lag.add_argument("--alert", metavar="COMMAND", help=_ALERT)


def _lag(options: argparse.Namespace) -> int:
    if options.max_lag is not None and not (options.check or options.alert):
        raise UsageError(
            "--max-lag goes with --check or --alert", hint="labkit lag --check GROUP --max-lag 1000"
        )
    for name in ("metrics", "alert"):
        if getattr(options, name) is not None and not options.watch:
            raise UsageError(f"--{name} goes with --watch", hint=f"labkit lag --watch --{name} …")
    if options.samples is not None and options.samples < 1:
        raise UsageError(
            f"--samples must be 1 or more, not {options.samples}", hint="3 or more give a verdict"
        )
    return _watch(options) if options.watch else _look(options)


def _look(options: argparse.Namespace) -> int:
    from labkit.groups.judgement import judge_now, partition_rows, partitions_frame

    lab = open_lab(options)
    judgement = judge_now(
        lab.cluster,
        options.groups or None,
        samples=options.samples or 5,
        every=options.every or "2s",
        record=options.record,
        patience=options.patience,
        zone=lab.timezone,
    )
    if options.check:
        return _check(judgement, options)
    if options.json:
        print_rows(partition_rows(judgement.worst_first()))
        if judgement.missing_rows:
            say(f"warning: {judgement.missing_rows}")
    else:
        table = partitions_frame(judgement.worst_first(), zone=lab.timezone)
        shown = [name for name in _SHOWN if name != "group" or table["group"].nunique() > 1]
        if not (table.empty and judgement.groups):
            print_table(table[shown], options, _view)
        for verdict in judgement.groups:
            tell(verdict)
    _say_interrupted(judgement)
    return OK


def _say_interrupted(judgement: Judgement) -> None:
    if judgement.interrupted:
        say("interrupted: judged by what was seen until then")


def _view(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a line; of texts that are optional, those that say something."""
    rows = rows.assign(**{name: rows[name].replace("", None) for name in ("since", "member")})
    shown = [
        name
        for name in _VIEW
        if name in rows and not (name in ("since", "member") and rows[name].isna().all())
    ]
    return rows[shown].round({"read_per_s": 0, "written_per_s": 0}).rename(columns=_VIEW)


def _check(judgement: Judgement, options: argparse.Namespace) -> int:
    """Print one line per group, the worst first; 3 when somebody should look at one."""
    from labkit.groups.alerts import facts, is_alarm
    from labkit.groups.lag import MIN_SAMPLES
    from labkit.groups.states import Verdict

    verdicts = judgement.groups
    bad = [
        verdict
        for verdict in verdicts
        if is_alarm(verdict, plain_names(options.groups), options.max_lag)
    ]
    unclear = [
        verdict for verdict in verdicts if verdict.verdict == Verdict.UNKNOWN and verdict not in bad
    ]
    if options.json:
        out(
            json.dumps(
                [{**facts(verdict), "alarm": verdict in bad} for verdict in verdicts], indent=2
            )
        )
    else:
        fine = [verdict for verdict in verdicts if verdict not in [*bad, *unclear]]
        for mark, rows in (("ALARM", bad), ("?    ", unclear), ("ok   ", fine)):
            for verdict in rows:
                tell(f"{mark} {verdict}")
        if not verdicts:
            tell("none")
    _say_interrupted(judgement)
    too_few = judgement.interrupted or (options.samples or MIN_SAMPLES) < MIN_SAMPLES
    # of one without a partition more looks tell no more
    count = sum(bool(verdict.partitions) for verdict in unclear)
    unchecked = count and too_few and options.max_lag is None
    if unchecked:
        say(f"not checked: {number_of(count, 'group')}; a verdict takes {MIN_SAMPLES} looks")
    return INCOMPLETE if bad or unchecked else OK


def _watch(options: argparse.Namespace) -> int:
    from labkit.groups import sampling
    from labkit.groups.history import History
    from labkit.groups.verdicts import judge_groups
    from labkit.times import length_ms

    with ExitStack() as ending:
        lab = open_lab(options)
        outputs = _Outputs(options, lab.connection.name, ending)
        stop = stop_event()
        sampler = sampling.Sampler(lab.cluster, options.groups or None)
        every_s = sampling.every_seconds(options.every or "10s")
        keep = History(options.record).append if options.record else lambda _: None
        sampler.check()
        looks = sampling.watch(
            sampler,
            every_s,
            stop.is_set,
            keep=keep,
            away=outputs.away,
            patience_s=length_ms(options.patience) / 1000,
        )
        before: dict[str, Verdict] = {}
        for count, judged in enumerate(looks, 1):
            verdicts, now = judge_groups(judged, sampler.without_partitions), _now()
            before = _print_look(verdicts, now, before, options)
            outputs.update(judged, verdicts, now)
            if options.samples and count >= options.samples:
                break
    return OK


class _Outputs:
    """What a watch tells to programs: metrics and alerts, where they were asked for."""

    def __init__(self, options: argparse.Namespace, cluster: str, ending: ExitStack) -> None:
        self._notice = WaitNotice(say)
        self._alerts: Alerts | None = None
        self._outlet: Outlet | None = None
        self._unwritten = ""
        if options.alert is not None:
            from labkit.groups.alerts import Alerts

            self._alerts = Alerts(
                options.alert,
                cluster,
                named=plain_names(options.groups),
                max_lag=options.max_lag,
                say=say,
            )
            ending.callback(self._alerts.close)
        if options.metrics is not None:
            from labkit.groups.metrics import LagMetrics, Outlet

            self._outlet = Outlet(LagMetrics(cluster), options.metrics)
            ending.callback(self._outlet.close)
            self._outlet.renew()
            say(f"metrics: {self._outlet.address}")

    def update(self, judged: list[Judged], verdicts: list[GroupVerdict], now: str) -> None:
        """Tell of a look."""
        self._notice.end("Kafka")
        if self._alerts is not None:
            self._alerts.update(verdicts, now)
        if self._outlet is not None:
            self._outlet.metrics.update(judged, verdicts, time.time())
            self._renew(self._outlet)

    def away(self, error: LabkitError) -> None:
        """Tell that the cluster does not answer."""
        self._notice.wait("Kafka", error.message)
        if self._alerts is not None:
            self._alerts.away(error, _now())
        if self._outlet is not None:
            self._outlet.metrics.away()
            self._renew(self._outlet)

    def _renew(self, outlet: Outlet) -> None:
        """Write the file of metrics; an error is said once, and the watch goes on."""
        try:
            outlet.renew()
        except UsageError as error:
            if self._unwritten != error.message:
                say(error.message)
            self._unwritten = error.message
        else:
            self._unwritten = ""


def _now() -> str:
    from labkit.times import iso, now_ms

    return (iso(now_ms()) or "")[:19] + "Z"


def _print_look(
    verdicts: list[GroupVerdict], now: str, before: dict[str, Verdict], options: argparse.Namespace
) -> dict[str, Verdict]:
    """Print a line for each group.

    Of many groups, for those whose verdict is another than before.
    """
    from labkit.groups.alerts import facts

    after = {verdict.group: verdict.verdict for verdict in verdicts}
    if options.json:
        for verdict in verdicts:
            out(json.dumps({"at": now, **facts(verdict)}))
        return after
    if len(verdicts) > _FEW:
        kinds = Counter(after.values())
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
        tell(f"{now}  {len(verdicts)} groups: {counts}")
        verdicts = [
            verdict
            for verdict in verdicts
            if before and before.get(verdict.group) != verdict.verdict
        ]
    for verdict in verdicts:
        tell(f"{now}  {verdict}")
    if not after:
        tell(f"{now}  no group that may be seen")
    return after
