"""Write the sample data of the lab kit: 90 days of an IRC community that never existed.

Labs need data that can be shared, is the same for everybody and rewards a look: a day that breathes
with the time zones, weekends, a release day, a netsplit, a hole where the extractor was down, and
the broken lines that every real log has. Real chat logs are somebody's words, so this one is made
up, line by line, from the seed below. The text comes from `phrases.txt`; the rest decides who says it,
where and when.

Only `random.Random` is used: unlike numpy's generators, it hardly ever changes between versions.
The packed bytes also depend on the zlib that Python was built with; the unpacked ones do not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import math
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

SEED = 2016
RECORDS = 120_000
STORY = datetime(2016, 1, 1, tzinfo=UTC)  # when the story was first told: a Friday
# 2026-08-21: a topic kept for 90 days would drop what is much older
START = STORY + timedelta(weeks=555)
END = START + timedelta(days=90)  # exclusive
PEOPLE = 350
FEWEST_RECORDS = 2_000  # below this, joins and quits leave no room for talk

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
DAYS = (END - START).days
LENGTH = DAYS * DAY


def since_start(month: int, day: int, hour: int, minute: int = 0) -> int:
    """Return a moment of the story's year as milliseconds since its start.

    All code below uses this clock.
    """
    return (
        int((datetime(STORY.year, month, day, hour, minute, tzinfo=UTC) - STORY).total_seconds())
        * SECOND
    )


SPLIT_AT = since_start(2, 10, 19, 42)
SPLIT_HEALS = SPLIT_AT + 11 * MINUTE
RELEASE_AT = since_start(3, 3, 15)
# no line at all: the extractor was down
OUTAGE = (since_start(3, 22, 13, 10), since_start(3, 22, 16, 10))
HOLIDAY = 0.45  # how much of its usual talk 1 January has

HUB, SPLIT_SERVER = "curlew.irc.example.net", "plover.irc.example.net"
SERVERS = {
    "EU": SPLIT_SERVER,
    "ME": SPLIT_SERVER,
    "AF": SPLIT_SERVER,
    "NA": "avocet.irc.example.net",
}
SERVERS |= {
    "LA": "avocet.irc.example.net",
    "AS": "godwit.irc.example.net",
    "OC": "godwit.irc.example.net",
}

# channel: share of the talk, weekend factor, first line of its topic
CHANNELS = {
    "#python": (0.22, 1.0, "Python for people with data"),
    "#kafka": (0.20, 0.8, "Apache Kafka, the log"),
    "#help": (0.17, 1.0, "Ask here, do not ask to ask"),
    "#elasticsearch": (0.13, 0.8, "Search and aggregations"),
    "#jupyter": (0.10, 1.0, "Notebooks, kernels, widgets"),
    "#offtopic": (0.10, 1.7, "Tea, bread and bicycles"),
    "#data": (0.05, 0.9, "Formats, frames, charts"),
    "#ops": (0.03, 0.6, "Pagers and graphs"),
}

# share of the people, hours east of UTC (winter), continent, IPv4 and IPv6 prefixes of access
# networks there
HOMES = """
DE 34  1   EU 84.128 91.64 79.192 2a02:8108 2003:c0
GB 26  0   EU 86.128 90.192 2a00:23c4 2a02:c7f
FR 20  1   EU 82.64 90.0 78.192 2a01:e34 2a01:cb00
NL 16  1   EU 80.56 84.80 77.160 2001:1c00 2001:980
PL 11  1   EU 83.0 89.64 31.0 2a01:110f
ES 10  1   EU 83.32 88.0 2a02:9000
IT 10  1   EU 79.0 87.0 151.24 2001:b07
SE 9   1   EU 85.224 90.224 81.224 2a00:801
NO 5   1   EU 84.208 88.88 2a01:799
DK 5   1   EU 2.104 80.160 2a05:f6c7
FI 6   2   EU 91.152 85.76 2001:14ba
CH 6   1   EU 84.72 178.192 2a02:1200
AT 5   1   EU 84.112 80.108 2001:871
BE 5   1   EU 81.240 91.176 2a02:1810
IE 4   0   EU 86.40 89.100 2a02:8084
PT 4   0   EU 85.240 2.80 2001:8a0
CZ 6   1   EU 78.80 89.176 2a00:1028
HU 3   1   EU 84.0 89.132 2001:4c4c
RO 4   2   EU 92.80 79.112
GR 3   2   EU 94.64 79.128 2a02:587
UA 5   2   EU 93.72 46.200
RU 7   3   EU 95.24 178.64 2a00:1370
TR 3   2   ME 85.96 78.160
IL 4   2   ME 79.176 84.108
AE 2   4   ME 94.200 86.96
US 46  -5  NA 24.16 68.32 71.160 108.0 2601:180
US 14  -6  NA 73.12 98.200 2600:1700
US 24  -8  NA 67.160 98.200 2600:8800
CA 14  -5  NA 70.24 99.224 2607:fea8
MX 5   -6  LA 187.128 189.128
BR 16  -3  LA 177.32 189.4 2804:14c
AR 7   -3  LA 190.16 181.0 2800:810
CL 3   -3  LA 190.160
CO 3   -5  LA 186.80 181.48 2800:484
PE 2   -5  LA 190.232 2800:200
UY 2   -3  LA 167.56 2800:a4
ZA 4   2   AF 105.224 197.80
KE 3   3   AF 41.80 105.160
NG 3   1   AF 105.112 41.184
EG 2   2   AF 41.32 197.32
IN 20  5.5 AS 117.192 49.204 106.192 2405:201 2401:4900
PK 2   5   AS 39.32 182.176
LK 2   5.5 AS 112.134 175.157
SG 5   8   AS 116.86 175.156 2406:3003
MY 2   8   AS 175.136 115.132 2001:e68
ID 4   7   AS 36.64
VN 3   7   AS 113.160 14.160 2405:4800
PH 3   8   AS 112.198 49.144
TW 4   8   AS 114.24 1.160 2001:b011
CN 7   8   AS 114.240 223.64 2408:8200
JP 11  9   AS 126.0 153.128 60.32 240b:10
KR 5   9   AS 121.128 175.192 2001:2d8
AU 10  10  OC 1.120 101.160 58.104 2001:8003
NZ 5   12  OC 118.92 122.56 125.236 2404:4400
"""

NAMES = {
    "EU": "anka bram celine dieter elke falk gosia hanne ivo jonas katya lars marta nils oskar petra ruben"
    " silke ulla vera wiebke yann zdenka aoife ciaran emre freya gwen henrik ilse joao kasia luca nadia",
    "NA": "abby brent casey dana eliot frankie gracie hank iris jody kyle logan mabel nate ora parker quinn"
    " reese sadie tess vince wade",
    "LA": "alma bento camila diego elisa fabio gisela hugo ines joaquin luana mateo noelia pilar rafa thiago",
    "AS": "aditi bao chandra daichi eunji farid gita haruto isha jia kavya linh mei nikhil omkar priya ravi"
    " sana takumi uma wen yuki",
    "ME": "ayelet burak dalia eyal leyla omer rana tamar yusuf",
    "AF": "amara bongani chidi fatou kwame lindiwe naledi osei wanjiru zola",
    "OC": "ari bronte cody hemi kiri lachie mere tane",
}
TRAITS = "quiet rusty sleepy tiny brave lazy salty misty lucky grumpy sandy nimble dusty late humble spare"
BEASTS = "heron otter lynx badger wren moth plaice magpie stoat gecko walrus finch puffin weevil crab owl"
RHYTHMS = {  # how much somebody talks in each local hour, and the factor at weekends
    "office": (
        [1, 0, 0, 0, 0, 0, 1, 4, 12, 20, 22, 21, 14, 18, 22, 21, 19, 14, 8, 6, 8, 8, 5, 2],
        0.30,
    ),
    "evening": (
        [5, 2, 1, 0, 0, 0, 1, 3, 4, 4, 4, 4, 6, 5, 4, 4, 5, 8, 13, 18, 23, 24, 19, 11],
        0.95,
    ),
    "owl": ([20, 19, 15, 9, 4, 1, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 7, 8, 10, 13, 16, 19, 21], 0.80),
}

VERSIONS = {  # (day since START, version): what people run changes under their feet
    "#kafka": ("kafka", ((0, "0.9.0.0"), (49, "0.9.0.1"))),
    "#elasticsearch": ("elasticsearch", ((0, "2.1.1"), (32, "2.2.0"), (74, "2.2.1"))),
    "#jupyter": ("notebook", ((0, "4.0.6"), (7, "4.1.0"))),
    "#python": ("python", ((0, "3.5.1"),)),
    "#data": ("pandas", ((0, "0.17.1"), (72, "0.18.0"))),
    "#help": ("tideline", ((0, "1.6.2"), (21, "1.6.3"), (62, "2.0.0"))),
    "#ops": ("ansible", ((0, "1.9.4"), (11, "2.0.0"))),
}
QUITS = (
    "Leaving",
    "Quit: WeeChat 1.4",
    "Ping timeout: 252 seconds",
    "Quit: leaving",
    "Remote host closed the connection",
    "Connection reset by peer",
    "Quit: Konversation terminated!",
    "Quit: time to go home",
)
PARTS = ("", "Leaving", "bye", "wrong channel", "too much to read today", "lunch")
LOCAL_THANKS = {
    "AR": "¡gracias!",
    "BR": "obrigado, já funciona",
    "CZ": "díky, už to běží",
    "DE": "danke schön!",
    "ES": "¡gracias!",
    "FR": "merci à tous",
    "GR": "ευχαριστώ",
    "JP": "ありがとう",
    "PL": "dzięki, działa",
    "PT": "obrigado, já funciona",
    "RU": "спасибо!",
    "SE": "tack så mycket",
    "TR": "teşekkürler",
}

# Quirks: valid lines that break naive readers, then bad ones. The numbers are per RECORDS lines.
COLOURED = (
    "\x0304,01ALERT\x03 {host}: disk at 91 %",
    "\x0303build passed\x03 in \x02{num} s\x0f",
    "\x0312{url}\x03",
)
EMOJI = (
    "party 🎉🎉",
    "👍",
    "coffee ☕ first",
    "it works 😅",
    "👩‍💻 on it",
    "see you at the meetup 🚲",
    "🇳🇿 says hi",
)
RTL = (
    "שלום לכולם, יש כאן מישהו שמכיר את kafka?",
    "مرحبا، هل يعمل elasticsearch على ويندوز؟",
    "תודה רבה, עובד עכשיו",
    "سلام، کسی اینجا python بلد است؟",
    "the file was called \u202egnp.tarahc\u202c, careful",
)
MARKUP = (
    "<script>alert('hello from irc')</script>",
    "does <b>bold</b> & <i>italic</i> work here?",
    "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} and ${HOME} and %s",
    "'; DROP TABLE messages; --",
    '<a href="https://example.com/">click</a>',
)
LATIN1 = (
    "ça marche très bien, merci à tous",
    "größere Segmente lösen das, schöne Grüße",
    "mañana pruebo otra vez, ¡gracias!",
    "går det bra på svenska också?",
    "não sei se a partição está certa",
    "på lørdag ble køen tømt",
    "déjà vu, même problème",
)
ODD_RATES = {"colour": 45, "emoji": 120, "rtl": 25, "long": 12, "markup": 16, "empty": 20}
BAD_RATES = {"truncated": 24, "raw irc": 12, "latin-1": 24}
LONGEST = 400

HOST_KINDS = {
    "fixed": 34,
    "dynamic": 14,
    "ipv6": 12,
    "name": 18,
    "cloak": 16,
    "private": 5,
    "odd": 2,
}
CROWDING = 0.5  # talk breeds talk: twice the people online say more than twice as much
KINDS = {"bouncer": 32, "daily": 30, "visitor": 38}  # always on; on most days; now and then
PLOTS = {  # what starts in a channel, and how often
    "": {"question": 46, "chat": 40, "greeting": 7, "lookup": 5, "goodbye": 2},
    "#help": {"question": 84, "chat": 6, "greeting": 3, "lookup": 7},
    "#offtopic": {"question": 12, "chat": 68, "greeting": 15, "goodbye": 5},
    "#ops": {"question": 20, "chat": 25, "incident": 35, "build": 20},
    "#data": {"question": 45, "chat": 40, "greeting": 4, "lookup": 3, "build": 8},
}
EVENTS = {  # what people talk about afterwards, since when and for how long
    "release": (RELEASE_AT, 26 * HOUR),
    "netsplit": (SPLIT_HEALS, 90 * MINUTE),
    "outage": (OUTAGE[1], 3 * HOUR),
}


class Home(NamedTuple):
    """Where somebody lives: it decides their clock, their addresses and the server they use."""

    code: str
    share: int
    offset_ms: int
    continent: str
    v4: list[str]
    v6: list[str]


class Subject(NamedTuple):
    """What a thread can be about, with its words by slot.

    The slots are "things", "tasks", "symptoms" and "fixes".
    """

    channel: str
    name: str
    peak: str
    words: dict[str, list[str]]

    def appeal(self, week: float) -> float:
        """Return how much people want to talk about it in a week of the log."""
        return 0.5 if self.peak == "-" else 0.08 + math.exp(-(((week - int(self.peak)) / 1.6) ** 2))


class Record(NamedTuple):
    """One line of the log before it is encoded; `at` is in milliseconds since START."""

    at: int
    command: str
    channel: str | None
    nick: str
    user: str
    host: str
    server: str
    message: str | None


class Voice(NamedTuple):
    """How somebody types, so that people can be told apart by more than their nick."""

    lower: bool
    stops: bool
    smiles: bool
    address: str


@dataclass
class Stay:
    """One connection, from joining to quitting; only who stays in a channel can speak there."""

    start: int
    end: int
    host: str
    reason: str
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)
    nicks: list[tuple[int, str]] = field(default_factory=list)

    def nick_at(self, at: int, default: str) -> str:
        """Return the nick in use at a moment; the last change before it counts."""
        return next((nick for since, nick in reversed(self.nicks) if since <= at), default)


@dataclass
class Person:
    """Somebody who never lived."""

    nick: str
    user: str
    home: Home
    kind: str
    rhythm: str
    share: float
    channels: dict[str, float]
    hosts: list[str]
    voice: Voice
    stays: list[Stay] = field(default_factory=list)
    server: str = HUB

    def stay_at(self, at: int, channel: str) -> Stay | None:
        """Return the stay that lets this person speak in the channel at that moment."""
        index = bisect_right(self.stays, at, key=lambda stay: stay.start) - 1
        if index < 0:
            return None
        joined, left = self.stays[index].channels.get(channel, (0, 0))
        return self.stays[index] if joined < at < left else None


class Turn(NamedTuple):
    """One thing said in a thread, perhaps to somebody."""

    speaker: Person
    text: str
    to: Person | None = None
    command: str = "PRIVMSG"


def stream(purpose: str) -> Random:
    """Return a random generator of its own per purpose.

    So a change in one part leaves the others as they were.
    """
    return Random(f"{SEED} {purpose}")


def weighted(rng: Random, table: dict[str, int]) -> str:
    """Draw a key by its weight."""
    return rng.choices(list(table), list(table.values()))[0]


def early(rng: Random, items: Sequence[str]) -> str:
    """Draw an item, the first ones more often: talk has favourite words."""
    return items[int(len(items) * rng.random() ** 1.4)]


# --- the phrase book


def entries(block: str) -> dict[str, list[str]]:
    """Parse lines of "name: phrase | phrase"; a name that comes again adds to its list."""
    found: dict[str, list[str]] = {}
    for line in block.strip().splitlines():
        name, _, rest = line.partition(": ")
        found.setdefault(name, []).extend(rest.split(" | "))
    return found


@cache
def read_phrase_book() -> tuple[list[Subject], dict[str, list[str]]]:
    """Parse phrases.txt: the subjects, and lines of talk by act."""
    book = (Path(__file__).parent / "phrases.txt").read_text(encoding="utf-8")
    blocks = [block for block in book.strip().split("\n\n") if not block.startswith("# ")]
    subjects: list[Subject] = []
    for block in blocks[:-1]:
        title, _, words = block.partition("\n")
        channel, name, peak = title.split(" / ")
        subjects.append(Subject(channel, name, peak, entries(words)))
    return subjects, entries(blocks[-1].removeprefix("acts\n"))


def read_homes() -> list[Home]:
    """Parse HOMES."""
    found = []
    for line in HOMES.strip().splitlines():
        code, share, hours, continent, *prefixes = line.split()
        v4 = [prefix for prefix in prefixes if ":" not in prefix]
        v6 = [prefix for prefix in prefixes if ":" in prefix]
        found.append(Home(code, int(share), int(float(hours) * HOUR), continent, v4, v6))
    return found


class Words:
    """Finds words for a thread: keeps to its subject, and does not say the same thing twice."""

    slots = re.compile(r"\{(\w+)\}")
    phrases = read_phrase_book()[1]

    def __init__(self, rng: Random, channel: str, subject: Subject, at: int) -> None:
        self.rng, self.channel, self.subject, self.at = rng, channel, subject, at
        self.focus = {kind: early(rng, words) for kind, words in subject.words.items()}
        self.nick = ""
        self.said: set[str] = set()

    def say(self, act: str) -> str:
        """Return a line for an act such as "ask" or "thanks"."""
        lines = self.phrases[act]
        if self.subject.channel not in ("#offtopic", "*") and self.channel in VERSIONS:
            lines = lines + self.phrases.get(f"{act} tech", [])
        return self.fill(self.fresh(lines))

    def fill(self, line: str) -> str:
        """Fill the slots of a line."""
        return self.slots.sub(lambda match: self.word(match[1]), line)

    def fresh(self, lines: Sequence[str]) -> str:
        """Draw a line that this thread has not used, if there is one."""
        line = early(self.rng, lines)
        for _ in range(4):
            if line not in self.said:
                break
            line = self.rng.choice(lines)
        self.said.add(line)
        return line

    def word(self, slot: str) -> str:
        """Return the text of one slot."""
        if slot == "fix":
            return self.fresh(self.subject.words["fixes"])
        if slot == "thing":
            stick = self.rng.random() < 0.6
            return self.focus["things"] if stick else early(self.rng, self.subject.words["things"])
        if slot in ("task", "symptom"):
            return self.focus[f"{slot}s"]
        if slot in ("task2", "symptom2"):
            kind = f"{slot[:-1]}s"
            return self.rng.choice(
                [word for word in self.subject.words[kind] if word != self.focus[kind]]
            )
        if slot in self.phrases:
            return early(self.rng, self.phrases[slot])
        return self.reference(slot)

    def reference(self, slot: str) -> str:
        """Return what depends on the channel and the time: a product, its version, a link.

        Or a nick.
        """
        product, versions = VERSIONS.get(self.channel, ("tideline", ((0, "1.6"),)))
        if slot == "product":
            return product
        if slot == "version":
            return [version for day, version in versions if day * DAY <= self.at][-1]
        if slot == "weekday":
            return (START + timedelta(milliseconds=self.at)).strftime("%A")
        if slot == "paste":
            return f"https://paste.example.org/{self.rng.randrange(4096):03x}"
        return self.nick if slot == "nick" else self.url(product)

    def url(self, product: str) -> str:
        """Return a link to one of the sites everybody links to.

        All are under names reserved for examples.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", self.focus["things"].lower()).strip("-")
        if self.subject.channel == "#offtopic":
            site = early(self.rng, ("blog.example.net/2026", "pics.example.com"))
            return f"https://{site}/{slug}"
        sites = (
            f"https://docs.example.org/{product}/{slug}",
            f"https://ask.example.com/tagged/{slug}",
            f"https://code.example.org/tideline/issues/{800 + self.at // DAY * 3 + self.rng.randrange(20)}",
            f"https://blog.example.net/2026/{slug}",
            f"https://wiki.example.org/{product}",
        )
        return early(self.rng, sites)


# --- people


def new_nick(rng: Random, continent: str) -> str:
    """Make up a nick in one of the usual fashions."""
    name = rng.choice(NAMES[continent].split())
    beast, trait = rng.choice(BEASTS.split()), rng.choice(TRAITS.split())
    first_choice = (
        name,
        name,
        f"{name}_{beast[0]}",
        f"{trait}{beast}",
        f"{name}{rng.randrange(2, 99)}",
    )
    nick = rng.choice(
        (*first_choice, f"{beast}_{name}", f"{trait}_{name}", f"{beast}{rng.randrange(2, 99)}")
    )
    return nick.capitalize() if rng.random() < 0.12 else nick


def new_address(rng: Random, home: Home, version: str) -> str:
    """Pick an address by number in a network of the home country.

    Who really has it plays no role.
    """
    if version == "ipv6" and home.v6:
        prefix = rng.choice(home.v6)
        return f"{prefix}:{rng.randrange(1, 1024):x}:{rng.randrange(1, 1024):x}::{rng.randrange(1, 65535):x}"
    return f"{rng.choice(home.v4)}.{rng.randrange(1, 250)}.{rng.randrange(1, 250)}"


def new_hosts(rng: Random, home: Home, nick: str) -> list[str]:
    """Make up what the server shows as somebody's host.

    Several for who gets a new address each time.
    """
    kind, number = weighted(rng, HOST_KINDS), rng.randrange(2, 250)
    if kind in ("fixed", "dynamic", "ipv6"):
        return [new_address(rng, home, kind) for _ in range(5 if kind == "dynamic" else 1)]
    country, name = home.code.lower(), nick.lower()
    choices = {
        "name": (
            f"host-{number}.example.net",
            f"dsl-{number}.{country}.example.com",
            f"{name}.example.org",
        ),
        "private": (
            f"10.{rng.randrange(1, 40)}.{number // 9}.{number}",
            f"192.168.{rng.randrange(1, 9)}.{number}",
        ),
        "cloak": (
            f"user/{name}",
            f"tideline/member/{name}",
            f"gateway/web/example.chat/x-{number:04x}",
        ),
        "odd": ("localhost", "unknown", f"gateway/tor-sasl/{name}"),
    }
    if kind == "cloak" and number < 60:
        return [f"gateway/web/cgi-irc/example.chat/ip.{new_address(rng, home, 'fixed')}"]
    return [rng.choice(choices[kind])]


def new_user(rng: Random, nick: str) -> str:
    """Make up an ident."""
    name = nick.lower()
    number = rng.randrange(1000, 99999)
    return rng.choice(
        (f"~{name}", f"~{name}", name, f"~{name[:4]}", f"uid{number}", "webchat", "~user")
    )


def new_channels(rng: Random) -> dict[str, float]:
    """Choose somebody's channels and how much each one draws them; the first is the favourite."""
    shares = {channel: share for channel, (share, _, _) in CHANNELS.items()}
    drawn = rng.choices(list(shares), list(shares.values()), k=rng.choice((1, 2, 3, 3, 4, 5)))
    return {channel: 1 / (rank + 1) for rank, channel in enumerate(dict.fromkeys(drawn))}


def new_person(rng: Random, rank: int, nick: str, home: Home) -> Person:
    """Make up somebody.

    A low rank talks much, and who talks much tends to be online all the time.
    """
    kind = rng.choice(("bouncer", "daily")) if rank < 40 else weighted(rng, KINDS)
    address = rng.choice((": ", ": ", ": ", ", "))
    voice = Voice(rng.random() < 0.6, rng.random() < 0.25, rng.random() < 0.25, address)
    return Person(
        nick=nick,
        user=new_user(rng, nick),
        home=home,
        kind=kind,
        rhythm=weighted(rng, {"office": 64, "evening": 30, "owl": 6}),
        share=1 / (rank + 3.7),
        channels=new_channels(rng),
        hosts=new_hosts(rng, home, nick),
        voice=voice,
        server=SERVERS[home.continent],
    )


def new_people(count: int) -> list[Person]:
    """Make up the community."""
    rng, homes = stream("people"), read_homes()
    nicks: dict[str, Home] = {}
    while len(nicks) < count:
        home = rng.choices(homes, [home.share for home in homes])[0]
        nick = new_nick(rng, home.continent)
        if nick.lower() not in map(str.lower, nicks):  # to a server, Ada and ada are one
            nicks[nick] = home
    return [new_person(rng, rank, nick, home) for rank, (nick, home) in enumerate(nicks.items())]


def new_bots() -> dict[str, Person]:
    """Return the three bots, always on, on private addresses next to the hub."""
    home = Home("--", 0, 0, "EU", [], [])
    voice = Voice(False, False, False, ": ")
    channels = dict.fromkeys(CHANNELS, 1.0)
    hosts = {"helpbot": "10.20.0.5", "buildbot": "192.168.7.20", "watchdog": "services.example.net"}
    bots = {}
    for nick, host in hosts.items():
        stay = Stay(-1, LENGTH + 1, host, "", dict.fromkeys(CHANNELS, (-1, LENGTH + 1)))
        bots[nick] = Person(nick, nick, home, "bot", "office", 0, channels, [host], voice, [stay])
    return bots


# --- who is online when


def is_weekend(at: int) -> bool:
    """Say whether a moment is on a Saturday or Sunday; pass local time to get the local weekend."""
    return (START.weekday() + at // DAY) % 7 >= 5


def bouncer_stays(person: Person, rng: Random, _: float) -> Iterator[Stay]:
    """Yield a bouncer's stays: it is always on, but loses its connection every two weeks or so."""
    start = -rng.randrange(DAY)
    while start < LENGTH:
        end = start + int(rng.expovariate(1 / (14 * DAY))) + HOUR
        reason = early(rng, ("Ping timeout: 252 seconds", "Quit: bouncer restarts", "Read error"))
        yield Stay(start, end, rng.choice(person.hosts), reason)
        start = end + rng.randrange(20, 300) * SECOND


def daily_stays(person: Person, rng: Random, scale: float) -> Iterator[Stay]:
    """On most days, for the hours of their rhythm; a few come back in the evening."""
    first, last = {"office": (8.6, 17.6), "evening": (17.8, 23.2), "owl": (20.2, 26.5)}[
        person.rhythm
    ]
    keen = rng.uniform(0.4, 0.85) * scale
    for day in range(-1, DAYS + 1):
        chance = keen * (RHYTHMS[person.rhythm][1] if is_weekend(day * DAY) else 1)
        if rng.random() > chance:
            continue
        midnight = day * DAY - person.home.offset_ms
        start, end = (midnight + int(rng.gauss(mean, 0.6) * HOUR) for mean in (first, last))
        yield Stay(start, end, rng.choice(person.hosts), early(rng, QUITS))
        if person.rhythm == "office" and rng.random() < 0.2:
            again = midnight + int(rng.uniform(19.5, 21) * HOUR)
            until = again + rng.randrange(HOUR // 2, 2 * HOUR)
            yield Stay(again, until, rng.choice(person.hosts), "Quit: leaving")


def visitor_stays(person: Person, rng: Random, scale: float) -> Iterator[Stay]:
    """Now and then, for as long as the question takes."""
    chance, curve = rng.uniform(0.05, 0.3) * scale, RHYTHMS[person.rhythm][0]
    for day in range(DAYS):
        if rng.random() < chance * (0.6 if is_weekend(day * DAY) else 1):
            hour = rng.choices(range(24), curve)[0]
            start = day * DAY - person.home.offset_ms + hour * HOUR + rng.randrange(HOUR)
            length = int(rng.lognormvariate(math.log(70), 0.7) * MINUTE)
            yield Stay(start, start + length, rng.choice(person.hosts), early(rng, QUITS))


def with_drops(person: Person, stays: Sequence[Stay], rng: Random) -> Iterator[Stay]:
    """Cut some stays in two: a lost connection, a return as nick_, then the real nick again."""
    for stay in stays:
        length = stay.end - stay.start
        if person.kind == "bouncer" or length < 2 * HOUR or rng.random() > 0.05:
            yield stay
            continue
        ghost_gone = stay.start + int(length * rng.uniform(0.3, 0.7))
        back = ghost_gone - rng.randrange(40, 150) * SECOND
        regained = ghost_gone + rng.randrange(5, 60) * SECOND
        yield replace(stay, end=ghost_gone, reason="Ping timeout: 252 seconds")
        nicks = [(back, f"{person.nick}_"), (regained, person.nick)]
        yield Stay(back, stay.end, stay.host, stay.reason, nicks=nicks)


def with_netsplit(person: Person, stays: Sequence[Stay], rng: Random) -> Iterator[Stay]:
    """Cut the stays on the split server.

    All its people quit within seconds, and come back in a storm.
    """
    for stay in stays:
        if person.server != SPLIT_SERVER or not stay.start < SPLIT_HEALS or not stay.end > SPLIT_AT:
            yield stay
            continue
        if stay.start < SPLIT_AT:
            gone = SPLIT_AT + int(rng.expovariate(1 / 2500)) + rng.randrange(400)
            yield replace(stay, end=gone, reason=f"{HUB} {SPLIT_SERVER}")
        back = SPLIT_HEALS + int(rng.expovariate(1 / 14_000))
        if stay.end > back + MINUTE:
            yield Stay(back, stay.end, stay.host, stay.reason)


def settle(person: Person, stay: Stay, rng: Random) -> None:
    """Choose when a stay enters and leaves each channel.

    Choose, too, whether the nick says "away" for a while.
    """
    at = stay.start
    for channel in person.channels:
        at += rng.randrange(80, 400)
        parts = rng.random() < 0.12 and person.kind != "bouncer"
        left = (
            rng.randrange((at + stay.end) // 2, stay.end)
            if parts and stay.end - at > HOUR
            else stay.end
        )
        stay.channels[channel] = (at, left)
    length = stay.end - stay.start
    if person.kind == "daily" and not stay.nicks and length > 4 * HOUR and rng.random() < 0.06:
        away = stay.start + int(length * rng.uniform(0.3, 0.6))
        stay.nicks = [
            (away, f"{person.nick}|away"),
            (away + rng.randrange(20, 90) * MINUTE, person.nick),
        ]


def plan_stays(people: Sequence[Person], scale: float) -> None:
    """Decide for everybody when they are online.

    `scale` thins the visits out for a smaller sample.
    """
    rng = stream("stays")
    habits: dict[str, Callable[[Person, Random, float], Iterator[Stay]]]
    habits = {"bouncer": bouncer_stays, "daily": daily_stays, "visitor": visitor_stays}
    for person in people:
        wanted = sorted(habits[person.kind](person, rng, scale), key=lambda stay: stay.start)
        free: list[Stay] = []
        for stay in wanted:
            if stay.end - stay.start > 5 * MINUTE and (not free or stay.start > free[-1].end):
                free.append(stay)
        person.stays = list(with_netsplit(person, list(with_drops(person, free, rng)), rng))
        for stay in person.stays:
            settle(person, stay, rng)


def record(
    person: Person,
    stay: Stay,
    at: int,
    command: str,
    *,
    channel: str | None = None,
    message: str | None = None,
) -> Record:
    """Return a line about somebody as the log would see them at that moment."""
    nick = stay.nick_at(at - 1 if command == "NICK" else at, person.nick)
    return Record(at, command, channel, nick, person.user, stay.host, person.server, message)


def comings_and_goings(people: Sequence[Person]) -> Iterator[Record]:
    """Write the JOIN, PART, NICK and QUIT lines that the stays leave behind."""
    rng = stream("parting words")
    for person in people:
        for stay in person.stays:
            for channel, (joined, left) in stay.channels.items():
                yield record(person, stay, joined, "JOIN", channel=channel)
                if left < stay.end:
                    yield record(
                        person, stay, left, "PART", channel=channel, message=early(rng, PARTS)
                    )
            for at, nick in stay.nicks:
                if stay.start < at < stay.end:
                    yield record(person, stay, at, "NICK", message=nick)
            yield record(person, stay, stay.end, "QUIT", message=stay.reason)


# --- talk

Cells = dict[tuple[int, str], tuple[list[Person], list[float]]]


def presence(person: Person) -> Iterator[tuple[tuple[int, str], float]]:
    """Yield how likely somebody speaks, per hour and channel, by their local clock and weekday."""
    curve, weekend = RHYTHMS[person.rhythm]
    for stay in person.stays:
        for channel, (joined, left) in stay.channels.items():
            for hour in range(max(joined, 0) // HOUR, (min(left, LENGTH) - 1) // HOUR + 1):
                local = hour * HOUR + person.home.offset_ms
                share = min(left, (hour + 1) * HOUR) - max(joined, hour * HOUR)
                factor = curve[local // HOUR % 24] * (weekend if is_weekend(local) else 1)
                if factor:
                    yield (hour, channel), factor * person.channels[channel] * share / HOUR


def fill_cells(people: Sequence[Person]) -> Cells:
    """Collect who speaks in each hour of each channel.

    So everybody gets their share of the whole.
    """
    cells: Cells = {}
    for person in people:
        drawn = list(presence(person))
        # The floor keeps who is rarely there from talking without a pause when they are.
        per_weight = person.share / max(sum(weight for _, weight in drawn), 1500)
        for cell, weight in drawn:
            speakers, weights = cells.setdefault(cell, ([], []))
            speakers.append(person)
            weights.append(weight * per_weight)
    return dict(sorted(cells.items()))


def mood(hour: int, channel: str, rng: Random) -> float:
    """Return how lively an hour is beyond who is online: weekends, growth, events and chance."""
    at = hour * HOUR
    lively = rng.lognormvariate(0, 0.25) * (0.9 + 0.2 * hour / (24 * DAYS))
    if is_weekend(at):
        lively *= CHANNELS[channel][1]
    if at < DAY:
        lively *= HOLIDAY
    if at >= RELEASE_AT:
        close = {"#help": 12.0, "#data": 12.0}.get(channel, 6.0)
        lively *= 1 + close * math.exp(-(at - RELEASE_AT) / (4.5 * HOUR))
    if 0 <= at + HOUR - SPLIT_HEALS < 2 * HOUR:
        lively *= 2.5
    return lively


def cell_weights(cells: Cells) -> list[float]:
    """Weigh the cells against each other such that each channel gets its share of the talk."""
    rng = stream("mood")
    crowd, total = [0.0] * (24 * DAYS), dict.fromkeys(CHANNELS, 0.0)
    for (hour, channel), (_, weights) in cells.items():
        crowd[hour] += sum(weights)
        total[channel] += sum(weights)
    lively = [
        CHANNELS[channel][0] / total[channel] * mood(hour, channel, rng) for hour, channel in cells
    ]
    present = [sum(weights) * crowd[hour] ** CROWDING for (hour, _), (_, weights) in cells.items()]
    return [a * b for a, b in zip(lively, present, strict=True)]


class Talk:
    """Makes up threads: picks an hour and channel, a cast, a subject and a plot, and plays it."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.rng = stream("talk")
        self.bots = new_bots()
        self.subjects = read_phrase_book()[0]
        self.cells = fill_cells(people)
        self.keys = list(self.cells)
        self.cumulative = list(accumulate(cell_weights(self.cells)))

    def thread(self) -> Iterator[Record]:
        """Make up one thread and yield its lines."""
        hour, channel = self.rng.choices(self.keys, cum_weights=self.cumulative)[0]
        at = hour * HOUR + self.rng.randrange(HOUR)
        cast = self.cast(hour, channel)
        words = Words(self.rng, channel, self.subject(channel, at), at)
        plot = getattr(self, weighted(self.rng, PLOTS.get(channel, PLOTS[""])))
        for number, turn in enumerate(plot(words, cast)):
            at += self.pause(turn) if number else 0
            line = self.utter(turn, at, channel)
            if line:
                yield line
            elif not number:
                return

    def cast(self, hour: int, channel: str) -> list[Person]:
        """Draw two to six people who may speak in that hour; in #help the quieter ones start."""
        speakers, weights = self.cells[hour, channel]
        drawn = self.rng.choices(speakers, weights, k=self.rng.choice((2, 3, 3, 4, 5, 6)))
        cast = list({person.nick: person for person in drawn}.values())
        if channel == "#help" and self.rng.random() < 0.7:
            cast.sort(key=lambda person: person.share)
        return cast

    def subject(self, channel: str, at: int) -> Subject:
        """Draw a subject: what just happened, else what the week is about.

        #help hears of everything.
        """
        for name, (since, length) in EVENTS.items():
            if 0 <= at - since < length and self.rng.random() < 0.85 * math.exp(
                -1.5 * (at - since) / length
            ):
                return next(subject for subject in self.subjects if subject.name == name)
        home = channel
        if channel == "#help" and self.rng.random() < 0.65:
            home = early(self.rng, ("#kafka", "#python", "#elasticsearch", "#jupyter", "#data"))
        own = [subject for subject in self.subjects if subject.channel == home]
        week = at / (7 * DAY)
        return self.rng.choices(own, [subject.appeal(week) for subject in own])[0]

    def pause(self, turn: Turn) -> int:
        """Return how long a turn takes to come, in ms.

        Bots answer at once, people by the length of the text.
        """
        if turn.speaker.kind == "bot" and turn.to:
            return self.rng.randrange(200, 900)
        seconds = 1.5 + len(turn.text) / 14 + self.rng.lognormvariate(math.log(14), 1.0)
        return int(min(seconds, 900) * SECOND)

    def utter(self, turn: Turn, at: int, channel: str) -> Record | None:
        """Turn a turn into a line, if its speaker is there to say it."""
        stay = turn.speaker.stay_at(at, channel)
        if stay is None or stay.nick_at(at, "").endswith("|away"):
            return None
        text = turn.text if turn.speaker.kind == "bot" else self.typed(turn)
        if turn.to:
            hears = turn.to.stay_at(at, channel)
            if hears is None:
                return None
            text = f"{hears.nick_at(at, turn.to.nick)}{turn.speaker.voice.address}{text}"
        return record(turn.speaker, stay, at, turn.command, channel=channel, message=text)

    def typed(self, turn: Turn) -> str:
        """Apply somebody's typing habits to a text."""
        voice, text = turn.speaker.voice, turn.text
        first = text.split(" ", 1)[0].rstrip(",?!.")
        if turn.command == "ACTION" or not first.isalpha():
            return text
        if not voice.lower:
            text = text[0].upper() + text[1:]
        elif not first.isupper():
            text = text[0].lower() + text[1:]
        if voice.stops and text[-1].isalpha() and "://" not in text:
            text += "."
        return (
            f"{text} :)" if voice.smiles and text[-1] != ")" and self.rng.random() < 0.07 else text
        )

    def maybe(self, chance: float, person: Person) -> Person | None:
        """Address somebody with the given chance."""
        return person if self.rng.random() < chance else None

    def question(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Ask a question; helpers answer, others chip in.

        Mostly it ends with thanks, sometimes nobody answers.
        """
        asker, *helpers = cast
        yield Turn(asker, words.say("ask"))
        if not helpers or self.rng.random() < 0.08:
            return
        helper = helpers[0]
        for number in range(self.rng.choice((1, 1, 2, 2, 3, 4))):
            if number and self.rng.random() < 0.3:
                helper = self.rng.choice(helpers)
            yield Turn(helper, words.say("answer"), self.maybe(0.75, asker))
            if self.rng.random() < 0.6:
                yield Turn(asker, words.say("more"), self.maybe(0.35, helper))
            if self.rng.random() < 0.3:
                chips_in = self.rng.choice(helpers)
                heard = asker if chips_in is helper else helper
                yield Turn(chips_in, words.say("react"), self.maybe(0.3, heard))
        if self.rng.random() < 0.65:
            yield from self.gratitude(words, asker, helper)

    def gratitude(self, words: Words, asker: Person, helper: Person) -> Iterator[Turn]:
        """Say thanks, now and then in one's own language or to the karma bot."""
        words.nick = helper.nick
        own = LOCAL_THANKS.get(asker.home.code) if self.rng.random() < 0.15 else None
        yield Turn(asker, own or words.say("thanks"), self.maybe(0.7, helper))
        if self.rng.random() < 0.35:
            yield Turn(helper, words.say("welcome"), self.maybe(0.3, asker))
        elif self.rng.random() < 0.12:
            yield Turn(asker, words.say("karma"))
            yield Turn(self.bots["helpbot"], f"{helper.nick} gains a point", asker)

    def chat(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Say something; whoever cares reacts, in turns, until it runs dry."""
        yield Turn(cast[0], words.say("state"))
        before = cast[0]
        for _ in range(int(self.rng.expovariate(1 / 5.5))):
            others = [person for person in cast if person is not before]
            if not others:
                return
            speaker = self.rng.choice(others)
            if self.rng.random() < 0.05:
                yield Turn(speaker, words.say("action"), command="ACTION")
            else:
                act = self.rng.choice(("react", "react", "react", "react", "state", "more"))
                yield Turn(speaker, words.say(act), self.maybe(0.35, before))
            before = speaker

    def greeting(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Say hello; some reply."""
        local = (words.at + cast[0].home.offset_ms) // HOUR % 24
        yield Turn(cast[0], words.say("morning" if 5 <= local < 11 else "greet"))
        for person in cast[1 : self.rng.randrange(1, 4)]:
            yield Turn(person, words.say("reply"), self.maybe(0.6, cast[0]))

    def goodbye(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Say goodbye."""
        yield Turn(cast[0], words.say("bye"))

    def lookup(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Ask the bot, which answers at once."""
        asker, bot = cast[0], self.bots["helpbot"]
        if self.rng.random() < 0.25:
            product = words.reference("product")
            yield Turn(asker, f"!version {product}")
            yield Turn(bot, f"{product} is at {words.reference('version')}", asker)
        else:
            thing = words.focus["things"]
            yield Turn(asker, f"!docs {thing}")
            yield Turn(bot, f"{thing} -> {words.reference('url')}", asker)
        if len(cast) > 1 and self.rng.random() < 0.3:
            yield Turn(cast[1], words.say("react"), self.maybe(0.5, asker))

    def incident(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Raise an alert; somebody takes it, and it goes away."""
        bot = self.bots["watchdog"]
        alert = f"{words.word('host')}: {words.word('alert')}"
        yield Turn(bot, f"ALERT {alert}", command="NOTICE")
        yield Turn(cast[0], words.say("on it"))
        for person in cast[1 : self.rng.randrange(1, 4)]:
            yield Turn(person, words.say("react"), self.maybe(0.5, cast[0]))
        yield Turn(cast[0], words.say("fixed"))
        yield Turn(bot, f"RESOLVED {alert}", command="NOTICE")

    def build(self, words: Words, cast: list[Person]) -> Iterator[Turn]:
        """Announce a build; a red one gets a reaction."""
        red = self.rng.random() < 0.2
        result = f"failed in {early(self.rng, ('tests', 'lint', 'docs'))}" if red else "passed"
        text = f"[tideline] build of {early(self.rng, ('main', 'connect', 'docs', '1.6'))} {result}"
        yield Turn(self.bots["buildbot"], text, command="NOTICE")
        if red:
            yield Turn(cast[0], words.say("on it"))


def notices(talk: Talk) -> Iterator[Record]:
    """Write what comes by the clock: the nightly backup, and Monday's topic in every channel."""
    rng, bot = stream("notices"), talk.bots["watchdog"]
    for day in range(DAYS):
        at = day * DAY + 3 * HOUR + rng.randrange(10 * MINUTE)
        text = f"nightly backup done in {20 + day // 4} min"
        yield record(bot, bot.stays[0], at, "NOTICE", channel="#ops", message=text)
        for channel in CHANNELS:
            at = day * DAY + rng.randrange(8 * HOUR, 11 * HOUR)
            if (START.weekday() + day) % 7 == 0:
                yield from new_topic(talk, at, channel)
    text = "extractor is back, three hours of the log are missing"
    yield record(bot, bot.stays[0], OUTAGE[1] + 20 * SECOND, "NOTICE", channel="#ops", message=text)
    for channel in CHANNELS:
        yield from new_topic(
            talk, RELEASE_AT + rng.randrange(20 * MINUTE), channel, "tideline 2.0 is out!"
        )


def new_topic(talk: Talk, at: int, channel: str, news: str = "") -> Iterator[Record]:
    """Let the busiest person of the channel who is online set its topic."""
    people, _ = talk.cells.get((at // HOUR, channel), ([], []))
    present = [person for person in people if person.stay_at(at, channel)]
    if not present:
        return
    person = max(present, key=lambda person: person.share)
    news = news or f"this week: {talk.subject(channel, at).name}"
    stay = person.stay_at(at, channel)
    if stay:
        yield record(
            person, stay, at, "TOPIC", channel=channel, message=f"{CHANNELS[channel][2]} | {news}"
        )


def make_log(count: int) -> list[Record]:
    """Return the records in the order of the file; threads are added until the count is reached."""
    scale = min(1.0, count / RECORDS)
    people = new_people(max(40, round(PEOPLE * math.sqrt(scale))))
    plan_stays(people, scale)
    talk = Talk(people)
    log = [line for line in (*comings_and_goings(people), *notices(talk)) if is_logged(line)]
    while len(log) < count:
        log += [line for line in talk.thread() if is_logged(line)]
    return in_file_order(log[:count])


def is_logged(line: Record) -> bool:
    """Tell whether the extractor saw a line.

    It was down once, and the log has a first and a last day.
    """
    return 0 <= line.at < LENGTH and not OUTAGE[0] <= line.at < OUTAGE[1]


def in_file_order(log: list[Record]) -> list[Record]:
    """Sort by time, but let lines of the same second swap places as they do in a network."""
    rng = stream("jitter")
    jitter = [line.at + rng.gauss(0, 90) for line in log]
    order = sorted(range(len(log)), key=lambda index: (log[index].at // SECOND, jitter[index]))
    return [log[index] for index in order]


# --- lines


@cache
def address_of(host: str) -> str | None:
    """Return the host if it is an IP address."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def timestamp(at: int) -> str:
    """Return milliseconds since START as ISO 8601."""
    moment = (START + timedelta(milliseconds=at)).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def encode(line: Record) -> str:
    """Return a record as one line of JSON."""
    fields = {
        "@timestamp": timestamp(line.at),
        "command": line.command,
        "channel": line.channel,
        "nick": line.nick,
        "user": line.user,
        "host": line.host,
        "ip": address_of(line.host),
        "server": line.server,
        "message": line.message,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def odd_message(kind: str, words: Words, rng: Random) -> str:
    """Return a message that is valid and still breaks naive readers."""
    texts = {"emoji": EMOJI, "rtl": RTL, "markup": MARKUP, "latin-1": LATIN1, "empty": ("",)}
    if kind in texts:
        return rng.choice(texts[kind])
    if kind == "colour":
        return words.fill(rng.choice(COLOURED))
    told = "{symptom2} on {host} after {num} {unit}, so we had to {fix}, then "
    return f"long story: {words.fill(told * 9)}"[:LONGEST]


def bad_line(kind: str, line: Record, rng: Random) -> bytes:
    """Return a line that no JSON reader takes: cut off, not JSON at all, or not UTF-8."""
    if kind == "latin-1":
        return encode(line).encode("latin-1")
    if kind == "truncated":
        text = encode(line)
        return text[: rng.randrange(20, len(text) - 1)].encode()
    return f":{line.nick}!{line.user}@{line.host} PRIVMSG {line.channel} :{line.message}".encode()


def choose_quirks(log: Sequence[Record], rng: Random) -> dict[int, str]:
    """Choose which lines of people's talk get a quirk, none of them two."""
    rates = ODD_RATES | BAD_RATES
    kinds = [
        kind
        for kind, rate in rates.items()
        for _ in range(max(1, round(rate * len(log) / RECORDS)))
    ]
    talk = [i for i, line in enumerate(log) if line.command == "PRIVMSG" and line.nick != "helpbot"]
    return dict(zip(rng.sample(talk, len(kinds)), kinds, strict=True))


def to_lines(log: Sequence[Record]) -> tuple[list[bytes], Counter[str]]:
    """Encode the log, quirks included, and count the quirks by kind."""
    rng, subjects = stream("quirks"), read_phrase_book()[0]
    quirks = choose_quirks(log, rng)
    lines = []
    for index, line in enumerate(log):
        kind = quirks.get(index, "")
        if kind in ODD_RATES or kind == "latin-1":
            words = Words(rng, "#kafka", rng.choice(subjects[:6]), line.at)
            line = line._replace(message=odd_message(kind, words, rng))  # noqa: PLW2901
        lines.append(bad_line(kind, line, rng) if kind in BAD_RATES else encode(line).encode())
    return lines, Counter(quirks.values())


def write(path: Path, content: bytes) -> None:
    """Write a gzip file whose bytes depend on the content alone.

    Its header has no time and no file name.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(content)
    path.write_bytes(packed.getvalue())


def report(path: Path, log: Sequence[Record], quirks: Counter[str], content: bytes) -> None:
    """Print what the README states."""
    print(f"{path}: {len(log)} lines, {len(content)} bytes, {path.stat().st_size} bytes packed")
    print("sha256 unpacked", hashlib.sha256(content).hexdigest())
    print("sha256 packed  ", hashlib.sha256(path.read_bytes()).hexdigest())
    for name, counts in (
        ("commands", Counter(line.command for line in log)),
        ("channels", Counter(line.channel for line in log)),
        ("quirks", quirks),
    ):
        print(f"{name}: " + ", ".join(f"{key} {number}" for key, number in counts.most_common()))


def main() -> int:
    """Write the sample."""
    parser = argparse.ArgumentParser(
        description="Write the sample IRC log: same arguments, same bytes."
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("irc-sample.jsonl.gz")
    )
    parser.add_argument(
        "--records", type=int, default=RECORDS, help="lines to write (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.records < FEWEST_RECORDS:
        parser.error(f"--records must be at least {FEWEST_RECORDS}")
    log = make_log(options.records)
    lines, quirks = to_lines(log)
    content = b"\n".join(lines) + b"\n"
    write(options.output, content)
    report(options.output, log, quirks, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
