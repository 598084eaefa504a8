"""Examine Kafka, each Elasticsearch and this machine side by side, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

from labkit.checks.suggest import for_the_doctor
from labkit.config.profiles import Profile
from labkit.doctor import elasticsearch, kafka, local_machine
from labkit.doctor.check_runner import Examination, all_within
from labkit.doctor.diagnosis import Check, Diagnosis, Finding, Status, ok, warn
from labkit.elastic import Target
from labkit.errors import LabkitError
from labkit.kafka.cluster import Cluster

WHOLE_S = 13.0


def examine(profile: Profile, *, topic: str | None = None, indices: str = "irc*") -> Diagnosis:
    """Look at everything a lab with this profile needs; takes 13 seconds at most.

    Parameters
    ----------
    topic : str, optional
        The topic to try reading; left out: the first that has records and may be read.
    indices : str
        The Elasticsearch indices the lab reads.
    """
    deadline = time.monotonic() + WHOLE_S
    areas: dict[str, Callable[[], Examination]] = {
        "kafka": lambda: kafka.examine(
            Cluster(profile.kafka, role=profile.granted_role), topic, deadline
        )
    }
    for name, settings in profile.elasticsearch.items():
        areas[f"elasticsearch {name}"] = _target(
            Target(name, settings, role=profile.granted_role), indices, deadline
        )
    areas["here"] = lambda: local_machine.examine(deadline)
    first = Examination("profile", deadline)
    first.look("settings", lambda: _profile(profile))
    if not profile.elasticsearch:
        first.look("elasticsearch", lambda: _no_elasticsearch(profile))
    checks = list(first.checks)
    with for_the_doctor():
        results = all_within(WHOLE_S + 1, areas)
    for area, result in results.items():
        checks += result.checks if isinstance(result, Examination) else [_broken(area, result)]
    return Diagnosis(profile.name, tuple(checks))


def _target(target: Target, indices: str, deadline: float) -> Callable[[], Examination]:
    return lambda: elasticsearch.examine(target, indices, deadline)


def without_profile(name: str, error: LabkitError) -> Diagnosis:
    """Return what can be reported when the profile itself is wrong."""
    first = Examination("profile", time.monotonic() + WHOLE_S)

    def raised() -> Finding:
        raise error

    first.look("settings", raised)
    return Diagnosis(
        name, (*first.checks, *local_machine.examine(time.monotonic() + WHOLE_S).checks)
    )


def _profile(profile: Profile) -> Finding:
    text = (
        f"{profile.name} as role {profile.role}"
        if profile.role
        else f"{profile.name} of {profile.source or 'code'}"
    )
    if profile.warnings:
        return warn(profile.warnings[0].text, profile.warnings[0].fix)
    return ok(text)


def _no_elasticsearch(profile: Profile) -> Finding:
    return warn(
        "the profile has no Elasticsearch: no scratch indices",
        f"add [profiles.{profile.name}.elasticsearch.default] with hosts and basic_auth or api_key",
    )


def _broken(area: str, error: Exception) -> Check:
    return Check(
        area,
        "examination",
        Status.FAIL,
        f"{type(error).__name__}: {error}",
        "please report it",
        0.0,
    )
