"""The names the lab may use, and the refusal of all others.

Pure: every rule here is checked before a connection is made. The servers enforce the same rules
through their own access control (``labkit acl``), so a bug here still touches nothing.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase

from labkit.checks.suggest import typed, way
from labkit.errors import RefusedError, UsageError

GROUP_PREFIX = "labkit."
TOPIC_PREFIX = "labkit."
INCOMPLETE = ".incomplete"  # ends the name of the topic beside one that lacks records of its window
SCRATCH_PREFIX = "scratch-"

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
# https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
_INDEX_FORBIDDEN = re.compile(r'[\\/*?"<>| ,#:\x00-\x1f]')


def user() -> str:
    """Return who is at work, as a name safe for groups and indices.

    ``LABKIT_USER`` wins, then JupyterHub's user, then the login name. Where letters had to be
    replaced, a few of the name's hash follow: a.b and a-b are two people, and so are two whose
    names are not Latin.
    """
    raw = (os.environ.get("LABKIT_USER") or os.environ.get("JUPYTERHUB_USER") or _login()).lower()
    safe = re.sub(r"[^a-z0-9_]+", "_", raw).strip("_")[:40] or "someone"
    return (
        safe
        if safe == raw
        else f"{safe}_{hashlib.sha256(raw.encode(errors='replace')).hexdigest()[:6]}"
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def topic(name: str) -> str:
    """Return `name` if Kafka allows it as a topic's name.

    Raises
    ------
    UsageError
        When Kafka would refuse it.
    """
    if not isinstance(name, str) or not _TOPIC.fullmatch(name) or name in {".", ".."}:
        hint = "1 to 249 of the characters a-z A-Z 0-9 . _ - are allowed"
        if isinstance(name, str) and "/" in name:
            hint += f"; a file's window is {typed('Window.from_json(text)', 'window:FILE')}"
        if not isinstance(name, str) or is_pattern(name):
            hint = f"{hint}; one topic is meant, {way('topics')} lists them"
        raise UsageError(f"{name!r} is not a topic name", hint=hint)
    return name


def lab_topic(name: str) -> str:
    """Return `name` if it is a topic the lab may make, write or delete.

    Raises
    ------
    RefusedError
        When it does not start with ``labkit.``.
    """
    if not name.startswith(TOPIC_PREFIX):
        raise RefusedError(
            f"topic {name!r} is not the lab's to write",
            hint=f"the lab only makes, writes and deletes topics whose name starts with {TOPIC_PREFIX!r}",
            topic=name,
        )
    return topic(name)


def scratch_topic(name: str) -> str:
    """Return the full name of this user's scratch topic `name`: ``labkit.<user>.<name>``."""
    prefix = f"{TOPIC_PREFIX}{user()}."
    short = name.removeprefix(prefix) if isinstance(name, str) else ""
    fits = re.fullmatch(r"[A-Za-z0-9._-]{1,100}", short) and not short.endswith(INCOMPLETE)
    if not fits or short.startswith(TOPIC_PREFIX):
        raise UsageError(
            f"{name!r} is not a scratch topic's name",
            hint=f"1 to 100 of a-z A-Z 0-9 . _ -, not ending in {INCOMPLETE}; it becomes {prefix}NAME",
        )
    return lab_topic(prefix + short)


def shortfall(topic: str, topics: Collection[str]) -> str:
    """Return why a scratch topic has not all of its window, by the topics there are.

    It is empty where it has, or where nothing says otherwise.
    """
    if not topic.startswith(TOPIC_PREFIX) or topic + INCOMPLETE not in topics:
        return ""
    return "its copy goes on, was stopped, or could not write some records"


def index(name: str) -> str:
    """Return `name` if Elasticsearch allows it as an index's name."""
    bad = (
        not isinstance(name, str)
        or not name
        or name != name.lower()
        or name[0] in "-_+."
        or _INDEX_FORBIDDEN.search(name)
        or len(name.encode(errors="replace")) > 255
        or any("\ud800" <= c <= "\udfff" for c in name)
    )
    if bad:
        raise UsageError(
            f"{name!r} is not an index name",
            hint='lower case, no spaces, none of \\ / * ? " < > | , # :, not starting with - _ + .',
        )
    return name


def index_pattern(name: str) -> str:
    """Return `name` if it names indices to be read.

    It is a name, an alias, or names with ``*``, separated by commas.
    """
    if not isinstance(name, str):
        return index(name)  # refuses it
    for part in name.split(","):
        index(part.replace("*", "x").removeprefix("."))
    return name


def group(name: str) -> str:
    """Return `name` if it can be a consumer group's id.

    Confluent-kafka ends the process over what cannot.
    """
    if (
        not isinstance(name, str)
        or not name
        or not name.isprintable()
        or len(name.encode(errors="replace")) > 255
    ):
        raise UsageError(
            f"{name!r} is not a group id", hint="name a group, such as indexer.logstash-es"
        )
    return name


def lab_group(name: str) -> str:
    """Return `name` if it is a group the lab may join, commit to or delete.

    Raises
    ------
    RefusedError
        When it does not start with ``labkit.``.
    """
    if not name.startswith(GROUP_PREFIX):
        raise RefusedError(
            f"group {name!r} is not the lab's to touch",
            hint=f"the lab only joins, commits to or deletes groups whose id starts with {GROUP_PREFIX!r}",
            group=name,
        )
    return name


def adhoc_group(name: str) -> str:
    """Return the full id of this user's ad hoc group `name`: ``labkit.<user>.<name>``."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise UsageError(f"{name!r} is not a group name", hint="use letters, digits, . _ -")
    return f"{GROUP_PREFIX}{user()}.{name}"


def scratch_index(name: str) -> str:
    """Return `name` if it is an index the lab may write.

    Raises
    ------
    RefusedError
        When it does not start with ``scratch-``.
    """
    if not name.startswith(SCRATCH_PREFIX):
        raise RefusedError(
            f"index {name!r} is not the lab's to write",
            hint=f"the lab only writes indices whose name starts with {SCRATCH_PREFIX!r}",
            index=name,
        )
    return index(name)


def scratch_name(name: str) -> str:
    """Return the full name of this user's scratch index `name`: ``scratch-<user>-<name>``."""
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is not an index name", hint='name it, such as "first-look"')
    prefix = f"{SCRATCH_PREFIX}{user()}-"
    return scratch_index(name if name.startswith(prefix) else prefix + name)


def choose(known: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that one of the patterns matches, in their order; without any, all.

    Parameters
    ----------
    patterns : iterable of str
        ``*`` stands for any characters, ``?`` for one, ``[ab]`` for a or b; upper and lower case
        differ.
    """
    patterns = check_patterns(patterns)

    def matches(name: str) -> bool:
        return name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)

    return [name for name in known if not patterns or matches(name)]


def without_match(known: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the patterns of `choose` that match none of the names."""
    known = list(known)
    return [pattern for pattern in patterns if not choose(known, [pattern])]


def why_missing(
    noun: str,
    listed: Iterable[str],
    patterns: Iterable[str],
    *,
    who: str,
    right: str,
    grant: str,
    near: Callable[[str], str],
) -> str:
    """Return what a list lacks of what was asked for; empty when it lacks nothing.

    Servers leave out in silence what may not be seen, so an empty list says that, too.

    Parameters
    ----------
    noun : str
        What a row is about, such as ``group``.
    listed, patterns : iterable of str
        The names in the list, and what was asked for.
    who, right, grant : str
        Who asked, the right to see such things, and how it is granted.
    near : callable
        Returns which name may have been meant by one that is missing.
    """
    listed = set(listed)
    missing = without_match(listed, patterns)
    if listed and not missing:
        return ""
    named = f" named {' or '.join(map(repr, missing))}" if missing else ""
    meant = "".join(map(near, missing))
    return f"no {noun}{named} is there, or {who} may not see it (right {right}): {meant}{grant}"


def check_patterns(patterns: Iterable[str]) -> list[str]:
    """Return the patterns of `choose`; refuse what cannot be one, before anything is asked."""
    patterns = list(patterns)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern:
            raise UsageError(
                f"a pattern must be a text such as 'irc*', not {pattern!r}",
                hint="several are given one after the other: ('irc*', 'orders.*')",
            )
    return patterns


def is_pattern(name: str) -> bool:
    """Tell whether `choose` takes a name for more than itself."""
    return any(sign in name for sign in "*?[")


def plain_names(names: Iterable[str]) -> list[str]:
    """Return those that are names and no patterns, each once."""
    return sorted({name for name in names if not is_pattern(name)})
