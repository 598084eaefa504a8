"""A Kafka cluster asked by one principal, patiently.

A broker that dies takes up to ten seconds to be missed. librdkafka's answers of that time are
of three kinds, all of them seen on three brokers: an error that passes, no answer, and an
offset of -1001 without an error. The last two may last as long as the client lives, so it is
thrown away and a new one is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from labkit import acl
from labkit.checks import names
from labkit.checks.user_line import warn
from labkit.config.oauth_token import mechanism_of
from labkit.errors import (
    AccessError,
    DeadlineError,
    LabkitError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from labkit.kafka.client import Clients
from labkit.kafka.errors import (
    LOGIN,
    Operation,
    map_error,
    passes,
    quote_principal,
    rank,
)
from labkit.waiting.interrupt import show_interrupts
from labkit.waiting.notice import WaitNotice

TIMEOUT_S = 10.0
# for the first answer of several brokers, one of which may be dead; each further attempt takes
# longer, for the network may be slow, but not much: a new leader is only seen by the next one
ATTEMPT_S = 3.0
LONGER = 1.25
# until leaders and coordinators have moved: Kafka misses a broker after 9 s, then others load
MOVING_S = 25.0
AWAY_TIMEOUT_S = 3.0  # when no broker at all can be reached
AGAIN_S = 0.2
NOTICE_S = 2.5  # a wait that is shorter is not told
IN_FLIGHT = 500  # requests about many things: enough for a full pipe, each well within its own time

_REFUSALS = (AccessError, NotFoundError, ServerError, UnavailableError, DeadlineError)

Answer = TypeVar("Answer")


class Connection(Clients):
    """How one principal asks a Kafka cluster."""

    def __init__(self, settings: Mapping[str, Any], *, role: str = "lab") -> None:
        super().__init__(settings, role=role)
        self._brokers = self.address.count(",") + 1  # until one has answered
        self._asking = threading.local()

    @property
    def request_timeout_s(self) -> float:
        """How long one answer may take: shorter with several brokers, for one may be dead."""
        return TIMEOUT_S if self._brokers < 2 else ATTEMPT_S

    def limit_s(self, attempt_s: float) -> float:
        """Return how long an attempt may take: one broker alone has all the time."""
        return attempt_s if self._brokers > 1 else TIMEOUT_S + 1

    def ask(
        self, call: Callable[[AdminClient], Any], *, what: str, done_already: int | None = None
    ) -> Any:
        """Run an admin call and return its result.

        After an error that passes it is called again, for `MOVING_S` at most.

        Parameters
        ----------
        call : callable
            Takes the admin client; returns a value, a future, or a dict of futures.
        what : str
            What was asked, for the message of an error.
        done_already : int, optional
            The error code that tells, when a change is asked for again, that an earlier attempt
            made it though its answer did not come.
        """
        self.cluster_id  # noqa: B018  first contact fails within seconds, and says why
        attempts = 0

        def attempt(attempt_s: float) -> Any:
            nonlocal attempts
            attempts += 1
            try:
                return self._ask(call, what, attempt_s)
            except LabkitError as error:
                if attempts > 1 and error.facts.get("number") == done_already is not None:
                    return None
                raise

        return self._patiently(attempt)

    def ask_blocking(self, call: Callable[[AdminClient, float], Answer], *, what: str) -> Answer:
        """Run an admin call that blocks, see `ask`; it gets the client and how long it may take."""
        self.cluster_id  # noqa: B018  first contact fails within seconds, and says why

        def attempt(attempt_s: float) -> Answer:
            with self.errors(what):
                return call(self.admin, self.limit_s(attempt_s))

        return self._patiently(attempt)

    def ask_each(
        self,
        call: Callable[[AdminClient, list[Any]], dict[Any, Any]],
        items: Iterable[Any],
        *,
        what: str,
        in_flight: int = IN_FLIGHT,
        check: Callable[[Any, Any], None] = lambda _item, _result: None,
        settle: Callable[[list[Any]], Mapping[Any, LabkitError]] = lambda _items: {},
        patience_s: float = MOVING_S,
    ) -> dict[Any, Any]:
        """Run an admin call for many things, `in_flight` at once.

        What is refused for one of them is its value, not an error.

        Parameters
        ----------
        call : callable
            Takes the admin client and some of the items; returns a future for each.
        check : callable
            Takes an item and its result; raises what is wrong with it.
        settle : callable
            Takes the items that are to be asked again; returns those of which it is known why that
            is useless.
        patience_s : float
            How long what passes is asked again.

        Returns
        -------
        dict
            Item to result, or to the LabkitError that stands for it. That no broker at all answers
            is raised.
        """
        return self.ask_in_turn(
            lambda some, attempt_s: self._answers(call, some, what, attempt_s, check),
            items,
            in_flight=in_flight,
            settle=settle,
            patience_s=patience_s,
        )

    def ask_in_turn(
        self,
        ask: Callable[[list[Any], float], dict[Any, Any]],
        items: Iterable[Any],
        *,
        in_flight: int = IN_FLIGHT,
        settle: Callable[[list[Any]], Mapping[Any, LabkitError]] = lambda _items: {},
        patience_s: float = MOVING_S,
    ) -> dict[Any, Any]:
        """Ask for many things, see `ask_each`.

        `ask` takes some of them and how long it may take.
        """
        self.cluster_id  # noqa: B018  first contact fails within seconds, and says why
        results: dict[Any, Any] = {}
        waiting, deadline, attempt_s = list(items), time.monotonic() + patience_s, ATTEMPT_S
        notice = WaitNotice(warn, quiet_s=NOTICE_S)
        while waiting:
            now, waiting = waiting[:in_flight], waiting[in_flight:]
            answers = ask(now, attempt_s)
            failed = [
                item
                for item, answer in answers.items()
                if isinstance(answer, LabkitError) and passes(answer)
            ]
            if failed and self._all_away:
                raise answers[failed[0]]
            results |= answers
            again = failed if time.monotonic() < deadline else []
            settled = settle(again) if again else {}
            results |= settled
            again = [item for item in again if item not in settled]
            unsettled = [answers[item] for item in failed if item not in settled]
            if any(error.facts.get("number") is None for error in unsettled):
                self.renew()
                attempt_s *= LONGER
            if again:
                notice.wait("Kafka", results[again[0]].message)
                waiting += again
                time.sleep(AGAIN_S)
        return results

    def _answers(
        self,
        call: Callable[[AdminClient, list[Any]], dict[Any, Any]],
        items: list[Any],
        what: str,
        attempt_s: float,
        check: Callable[[Any, Any], None],
    ) -> dict[Any, Any]:
        """Return what each of the items was answered, or the error."""
        answers: dict[Any, Any] = {}
        with self.errors(what):
            futures = call(self.admin, items)
        began = time.monotonic()
        for item, future in futures.items():
            try:
                with self._map_errors(what):
                    answers[item] = self._await(future, began, attempt_s)
                    check(item, answers[item])
            except _REFUSALS as error:
                if isinstance(error, AccessError) and error.facts.get("login"):
                    raise
                answers[item] = error
        return answers

    def ask_again(self, call: Callable[[], Answer], *, what: str) -> Answer:
        """Return what a call of another client returns.

        What passes is asked again, for `MOVING_S` at most.
        """

        def attempt(_attempt_s: float) -> Answer:
            with self.errors(what):
                return call()

        return self._patiently(attempt)

    def _patiently(self, attempt: Callable[[float], Answer]) -> Answer:
        """Return what `attempt` returns, given how long it may take."""
        deadline, attempt_s = time.monotonic() + MOVING_S, ATTEMPT_S
        notice = WaitNotice(warn, quiet_s=NOTICE_S)
        while True:
            try:
                return attempt(attempt_s)
            except (UnavailableError, DeadlineError) as error:
                self.renew()
                attempt_s *= LONGER
                if self._all_away or not passes(error) or time.monotonic() > deadline:
                    raise
                notice.wait("Kafka", error.message)
            # a coordinator or leader that moves is there again in a moment
            except ServerError as error:
                if not passes(error) or time.monotonic() > deadline:
                    raise
                notice.wait("Kafka", error.message)
            time.sleep(AGAIN_S)

    def _ask(
        self, call: Callable[[AdminClient], Any], what: str, attempt_s: float = TIMEOUT_S
    ) -> Any:
        with self.errors(what):
            began, answer = time.monotonic(), call(self.admin)
            if isinstance(answer, dict):
                return {key: self._await(item, began, attempt_s) for key, item in answer.items()}
            return self._await(answer, began, attempt_s)

    def _await(self, answer: Any, began: float, attempt_s: float) -> Any:
        """Return the future's result.

        Give up early when the login is refused or a broker is away.
        """
        if not hasattr(answer, "result"):
            return answer
        while True:
            waited_s = time.monotonic() - began
            limit_s = self.limit_s(attempt_s)
            try:
                return answer.result(max(0.0, min(0.1, limit_s - waited_s)))
            except TimeoutError:
                if self.is_hopeless(waited_s, limit_s):
                    raise

    def is_hopeless(self, waited_s: float, timeout_s: float) -> bool:
        """Tell whether waiting is useless: too late, the login refused, or no broker in reach."""
        # only the error callback hears of a refused login, and it is called here
        self.admin.poll(0)
        refused = any(error.code() in LOGIN for error in self._told_now)
        # by an old token: a new one may be under way
        if refused and mechanism_of(self._settings) == "OAUTHBEARER":
            refused = waited_s > AWAY_TIMEOUT_S and "cluster_id" not in vars(self)
        return waited_s >= timeout_s or refused or (self._all_away and waited_s > AWAY_TIMEOUT_S)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn confluent_kafka's errors into labkit's while `what` is done."""
        self._asking.since = time.monotonic()
        with self._map_errors(what):
            yield

    @property
    def _told_now(self) -> list[KafkaError]:
        """What clients told of their connections since this thread began to ask, the worst last."""
        since = getattr(self._asking, "since", 0.0)
        return sorted((error for at, error in list(self._told) if at >= since), key=rank)

    @property
    def _all_away(self) -> bool:
        return any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in self._told_now)

    @contextmanager
    def _map_errors(self, what: str) -> Iterator[None]:
        try:
            with show_interrupts():
                yield
        except KafkaException as error:
            self.admin.poll(0)
            raise self.error(error.args[0], what) from error
        except TimeoutError as error:
            if isinstance(error, LabkitError):
                raise
            raise self.error(KafkaError(KafkaError._TIMED_OUT), what) from error

    def error(self, error: KafkaError, what: str) -> LabkitError:
        """Return labkit's error for a Kafka error."""
        return map_error(
            error, next(reversed(self._told_now), None), what,
            principal=self.principal, settings=self._settings, token=self.token, role=self.role,
        )  # fmt: skip

    def warn_of_missing(
        self, noun: str, listed: Iterable[str], patterns: Iterable[str], near: Callable[[str], str]
    ) -> None:
        """Warn when a list of topics or groups lacks some that were asked for, or all.

        See `labkit.checks.names.why_missing`.
        """
        if text := self.why_missing(noun, listed, patterns, near):
            warn(text)

    def why_missing(
        self,
        noun: str,
        listed: Iterable[str] = (),
        patterns: Iterable[str] = (),
        near: Callable[[str], str] = lambda _: "",
    ) -> str:
        """Return what a list of topics or groups lacks, and which right may be missing."""
        kind = "topic" if noun == "topic" else "group"
        describe = acl.Right(kind, "", Operation.DESCRIBE.name)
        grant = acl.way_to_grant(quote_principal(self.principal), describe, self.role)
        return names.why_missing(
            noun, listed, patterns,
            who=self.principal, right=Operation.DESCRIBE, grant=grant, near=near,
        )  # fmt: skip

    def require_token(self, what: str) -> None:
        """Raise the login's error when the last token that was asked for could not be had."""
        if self.token is not None and self.token.problem:
            raise self.error(KafkaError(KafkaError._AUTHENTICATION), what)

    # the cluster itself ------------------------------------------------------------------------------

    @cached_property
    def cluster_id(self) -> str:
        """The cluster's own id."""
        description = self._first_answer()
        self._brokers = len(description.nodes)
        return str(description.cluster_id)

    def _first_answer(self) -> Any:
        """Return the cluster's description; of several bootstrap servers another is asked too."""
        deadline, attempt_s = time.monotonic() + TIMEOUT_S, ATTEMPT_S
        while True:
            try:
                return self._ask(
                    lambda admin: admin.describe_cluster(request_timeout=TIMEOUT_S),
                    Operation.DESCRIBE.to("describe the cluster"),
                    attempt_s,
                )
            except (UnavailableError, DeadlineError):
                alone = "," not in self.address
                if alone or self._all_away or time.monotonic() > deadline:
                    raise
            self.renew()  # a new client chooses anew whom it asks
            attempt_s *= LONGER

    def metadata(self, timeout_s: float = TIMEOUT_S) -> ClusterMetadata:
        """Return what a bootstrap server tells of brokers and topics.

        No advertised address is used.
        """
        start = time.monotonic()
        with self.errors("log in"):
            while True:
                self.admin.poll(0.05)  # an OAUTHBEARER token is fetched here
                try:
                    return self.admin.list_topics(timeout=0.5)
                except KafkaException:
                    if self.is_hopeless(time.monotonic() - start, timeout_s):
                        raise


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Return what independent calls return, in their order; they run at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
