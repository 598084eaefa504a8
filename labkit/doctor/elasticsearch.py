"""What a lab needs of an Elasticsearch cluster: to reach it, a version, privileges, room."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from labkit.checks import names
from labkit.doctor import network
from labkit.doctor.check_runner import Examination
from labkit.doctor.diagnosis import Finding, fail, ok, warn
from labkit.elastic import Target
from labkit.errors import LabkitError, NotFoundError, ServerError

ASK_S = 3.0
CLOCK_S = 5.0
SCRATCH = f"{names.SCRATCH_PREFIX}*"
_READ = ("read", "view_index_metadata", "monitor")
_RECIPE = "`labkit acl --format elasticsearch-role` prints the role to grant"
_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}


def examine(target: Target, indices: str, deadline: float) -> Examination:
    """Look at `target`, with `indices` as the pattern a lab may read."""
    area = "elasticsearch" if target.name == "default" else f"elasticsearch {target.name}"
    look, looks = Examination(area, deadline), ElasticsearchLooks(target, indices)
    look.look("settings", looks.settings)
    look.look("DNS", looks.dns, needs=["settings"])
    look.look("TCP", looks.tcp, needs=["DNS"])
    if looks.tls:
        look.look("TLS", looks.certificates, needs=["TCP"])
    look.look("login", looks.login, needs=["TLS" if looks.tls else "TCP"], timeout_s=ASK_S + 3)
    on = ["login"]
    look.look("version", looks.version, needs=on, timeout_s=ASK_S + 1)
    look.look("privileges", looks.privileges, needs=on, timeout_s=ASK_S + 1)
    look.look("no more than needed", looks.no_more, needs=on, timeout_s=ASK_S + 1)
    look.look("read-only", looks.blocks, needs=["version"], timeout_s=ASK_S + 1)
    look.look("disk", looks.disk, needs=["version"], timeout_s=ASK_S + 1)
    look.look("clock", looks.clock, needs=["version"], timeout_s=ASK_S + 1)
    return look


class ElasticsearchLooks:
    """The single looks; each returns a finding or raises."""

    def __init__(self, target: Target, indices: str) -> None:
        self.target = target
        self.indices = indices
        self.hosts = target.hosts
        self.tls = any(host.startswith("https:") for host in self.hosts)

    @property
    def client(self) -> Any:
        return self.target.client.options(request_timeout=ASK_S)

    @cached_property
    def addresses(self) -> list[network.Address]:
        bare = (re.sub(r"^(\w+)://(?:\S*@)?([^/?#]*).*$", r"\1://\2", host) for host in self.hosts)
        return [
            network.address_of(host, 443 if host.startswith("https") else 9200) for host in bare
        ]

    # the way there -----------------------------------------------------------------------------------

    def settings(self) -> Finding:
        if not self.hosts and "cloud_id" not in self.target.settings:
            return fail("hosts is not set", 'write hosts = ["https://HOST:9200"] in the profile')
        _ = self.client  # made here: it looks at its arguments
        text = f"{self.target.address or 'by cloud_id'} as {self.target.user}"
        if self.target.settings.get("verify_certs") is False:
            return warn(
                f"{text}; certificates are not checked", "set ca_certs instead of verify_certs"
            )
        if not self.tls and self.hosts and not network.is_loopback(self.addresses):
            return warn(f"{text}; password and documents are sent unencrypted", "use https")
        return ok(text)

    def dns(self) -> Finding:
        return (
            network.resolve(self.addresses)
            if self.addresses
            else ok("the client finds it by cloud_id")
        )

    def tcp(self) -> Finding:
        return (
            network.connect(self.addresses)
            if self.addresses
            else ok("the client finds it by cloud_id")
        )

    def certificates(self) -> Finding:
        if (
            self.target.settings.get("verify_certs") is False
            or "ssl_assert_fingerprint" in self.target.settings
        ):
            return ok("not checked: the profile does not ask for it")
        return network.certificates(
            self.addresses, network.tls_of_elasticsearch(self.target.settings)
        )

    def login(self) -> Finding:
        try:
            with self.target.errors("log in"):
                user = self.client.security.authenticate()
        except (ServerError, NotFoundError) as error:
            if error.facts.get("foreign"):
                raise
            return warn(
                f"it does not tell who is logged in ({error.message}): is security off?",
                "with security off everybody may write everything: its administrator should turn it on",
            )
        except LabkitError:
            if not self.tls and any(map(network.speaks_tls, self.addresses)):
                return fail(
                    "that port speaks TLS, the profile says http", "write https:// in hosts"
                )
            raise
        return ok(f"{user['username']} with roles {', '.join(user['roles']) or 'of its API key'}")

    # what it is and what it allows -------------------------------------------------------------------

    def version(self) -> Finding:
        version = self.target.version
        major = int(version.split(".")[0])
        if major < 8:
            return fail(f"Elasticsearch {version}", "labkit works with versions 8 and 9")
        return (
            ok(f"Elasticsearch {version}")
            if major <= 9
            else warn(f"Elasticsearch {version}", "tested with versions 8 and 9")
        )

    def _has(
        self, wanted: Mapping[str, list[str]], cluster: list[str]
    ) -> tuple[list[str], list[str]]:
        """Return which of the privileges it has and which not, such as ``read on irc*``."""
        index_privileges = [
            {"names": [name], "privileges": privileges, "allow_restricted_indices": False}
            for name, privileges in wanted.items()
        ]
        with self.target.errors("ask for its privileges"):
            answer = self.client.security.has_privileges(cluster=cluster, index=index_privileges)
        answers = {f"cluster {privilege}": has for privilege, has in answer["cluster"].items()}
        for name, rights in answer["index"].items():
            answers |= {f"{privilege} on {name}": has for privilege, has in rights.items()}
        granted = [name for name, has in answers.items() if has]
        return granted, [name for name in answers if name not in granted]

    def privileges(self) -> Finding:
        _, lacks = self._has({SCRATCH: ["all"], self.indices: list(_READ)}, ["monitor"])
        vital = [lack for lack in lacks if self.indices not in lack]
        if vital:
            return fail(f"{self.target.user} lacks {', '.join(lacks)}", _RECIPE)
        if lacks:
            return warn(
                f"{self.target.user} lacks {', '.join(lacks)}: no comparing with production",
                _RECIPE,
            )
        return ok(f"all on {SCRATCH}, read on {self.indices}")

    def no_more(self) -> Finding:
        more, _ = self._has({self.indices: ["write", "delete_index", "manage"]}, ["manage"])
        if more:
            return warn(
                f"{self.target.user} also has {', '.join(more)}: a lab needs none of it", _RECIPE
            )
        return ok(f"it may not write {self.indices}")

    # room to write -----------------------------------------------------------------------------------

    def blocks(self) -> Finding:
        with self.target.errors("read the cluster's blocks"):
            blocks = self.client.cluster.state(metric="blocks", filter_path="blocks").get(
                "blocks", {}
            )
        cluster_blocks = [block["description"] for block in blocks.get("global", {}).values()]
        if cluster_blocks:
            return fail(
                f"the cluster takes no writes: {', '.join(cluster_blocks)}",
                "set cluster.blocks.read_only to null",
            )
        mine = sorted(name for name in blocks.get("indices", {}) if fnmatch.fnmatch(name, SCRATCH))
        if mine:
            fix = "free disk space; then set index.blocks.read_only_allow_delete to null, or labkit gc"
            return warn(f"scratch indices take no writes: {', '.join(mine[:5])}", fix)
        return ok("writes are taken")

    def disk(self) -> Finding:
        with self.target.errors("read its disks"):
            nodes = self.client.nodes.stats(
                metric="fs", filter_path="nodes.*.name,nodes.*.fs.total"
            )["nodes"]
            settings = self.client.cluster.get_settings(
                include_defaults=True, flat_settings=True, filter_path="*.*disk*"
            )
        rules = _disk_rules(settings)
        free = {
            node["name"]: node["fs"]["total"]
            for node in nodes.values()
            if node.get("fs", {}).get("total")
        }
        least = min((node["available_in_bytes"] for node in free.values()), default=0)
        text = f"{least / 1e9:,.1f} GB free" + (" on the fullest node" if len(free) > 1 else "")
        if rules.get("threshold_enabled") == "false":
            return ok(f"{text}; watermarks are off")
        over = {stage: _over(free, rules, stage) for stage in ("flood_stage", "high", "low")}
        fix = "free disk space on Elasticsearch, or add a node"
        if over["flood_stage"] or (over["high"] and len(over["high"]) == len(free)):
            return fail(f"{text}: above the high watermark, no new index gets room", fix)
        if over["low"]:
            return warn(f"{text}: above the low watermark on {', '.join(over['low'])}", fix)
        return ok(text)

    def clock(self) -> Finding:
        with self.target.errors("read its clock"):
            before = time.time()
            nodes = self.client.nodes.stats(
                node_id="_local", metric="process", filter_path="nodes.*.timestamp"
            )
            after = time.time()
        stamp = next(iter(nodes["nodes"].values()))["timestamp"] / 1000
        off_s, give_s = stamp - (before + after) / 2, (after - before) / 2
        if abs(off_s) > CLOCK_S + give_s:
            text = (
                f"its clock is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this one"
            )
            return warn(text, "is NTP on, here and there?")
        return ok(f"within {max(abs(off_s), give_s):.1f} s of this one")


def _disk_rules(found: Mapping[str, Any]) -> dict[str, str]:
    prefix = "cluster.routing.allocation.disk."
    rules: dict[str, str] = {}
    for part in ("defaults", "persistent", "transient"):  # the later ones win
        rules |= {
            key.removeprefix(prefix): str(value) for key, value in found.get(part, {}).items()
        }
    return rules


def _over(free: Mapping[str, Mapping[str, int]], rules: Mapping[str, str], stage: str) -> list[str]:
    """Return the nodes with less free space than the watermark `stage` asks for."""
    mark = rules.get(f"watermark.{stage}", "")
    headroom = rules.get(f"watermark.{stage}.max_headroom", "-1")
    return [
        name
        for name, node in free.items()
        if node["available_in_bytes"] < least_free(mark, headroom, node)
    ]


def least_free(mark: str, headroom: str, disk: Mapping[str, int]) -> float:
    """Return the bytes that must be free: of ``85%`` or ``0.85`` used, at most `headroom`.

    Or of ``10gb`` free.
    """
    share = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", mark)
    if share is None:
        return _bytes(mark)
    used_share = float(share[1]) / (100 if share[2] else 1)
    free = disk["total_in_bytes"] * (1 - used_share)
    return free if headroom in ("-1", "") else min(free, _bytes(headroom))


def _bytes(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgtp]?b)", text.lower())
    return float(match[1]) * _UNITS[match[2]] if match else 0.0
