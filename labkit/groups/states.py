"""The states of a group and of its partitions, each as its text in DataFrames and JSON."""

from __future__ import annotations

from labkit.text.plain_enum import PlainEnum


class Verdict(PlainEnum):
    """On a partition or a group; the worst first. The rules are in `labkit.groups.lag`."""

    STOPPED = "stopped"
    STALLED = "stalled"
    REWOUND = "rewound"
    SLOW = "slow"
    UNKNOWN = "unknown"
    OK = "ok"
    IDLE = "idle"


class Doing(PlainEnum):
    """The same at a glance."""

    READING = "reading"
    IDLE = "idle"
    OFFLINE = "offline"
    STUCK = "stuck"
    UNKNOWN = "unknown"


class Flag(PlainEnum):
    """What is odd about a partition of a group."""

    NONE = ""
    NO_COMMIT = "no commit"
    EXPIRED = "expired"  # committed before the log's start
    BEYOND_END = "beyond end"  # was the topic made again or cut back?
    END_WENT_BACK = "end went back"  # the log ends earlier than before
    NOT_ALLOWED = "not allowed"
    NO_LEADER = "no leader"
    NO_ANSWER = "no answer"


class Next(PlainEnum):
    """What follows a commit."""

    NOT_LOOKED_AT = ""
    RECORD = "record"
    NOTHING = "nothing"  # markers and aborted records
    OPEN_TRANSACTION = "open transaction"


class SinceBy(PlainEnum):
    """What tells since when records wait."""

    NOTHING = ""
    RECORD = "record"  # the oldest one that is not committed, by its own timestamp
    LOOKS = "looks"  # the first look that saw the group behind after one that saw it at the end
