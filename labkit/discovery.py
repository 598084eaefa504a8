"""What a window shows at a glance, before anybody knows what to ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from labkit.groups.guard import watched
from labkit.replay import read_log
from labkit.replay.plan import Plan
from labkit.times import length_ms
from labkit.validation import whole

if TYPE_CHECKING:
    from labkit.decode import Spec
    from labkit.lab import Lab
    from labkit.profile.result import Profile
    from labkit.window import Window

AUTO_SAMPLE = 200_000  # offsets that `Lab.profile` looks at of a window with more than `MOST_READ`
MOST_READ = 2_000_000


class WindowDiscovery:
    """The part of `Window` that looks at what is in it."""

    plan: Plan
    lab: Lab

    def profile(
        self,
        *,
        sample: int | None = None,
        decode: Spec = "json",
        key_decode: Spec = "raw",
        where: str | None = None,
        isolation: str = "read_committed",
        on_expired: str = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
    ) -> Profile:
        """Return what is in the window: every field, its types, values and shares; keys, headers, sizes, volume.

        The records are read once, in constant memory. Shown in a notebook it is a table with bars, printed it is text
        of 80 columns, ``.to_pandas()`` has one row per field.

        Parameters
        ----------
        sample : int, optional
            Look at so many records only, taken from 20 places spread evenly over the window; the profile says so.
        decode, key_decode, where, isolation, on_expired, deadline, guard, progress
            As in `read`.

        Returns
        -------
        Profile

        Examples
        --------
        >>> lab.window("irc", last="7d").profile()  # doctest: +SKIP
        """
        from labkit.profile.collect import How, of_window, sample_plans
        from labkit.progress import bar

        if sample is not None:
            sample = whole(sample, "sample", "how many records to look at, such as sample=100_000", low=1)
        sampled = sample is not None and sample < self.plan.size
        plans = sample_plans(self.plan, sample) if sampled and sample else [self.plan]
        deadline_s = None if deadline is None else length_ms(deadline) / 1000
        how = How(decode, key_decode, where, self.lab.registry)
        with (
            bar(self.plan.topic, sum(plan.size for plan in plans), progress) as advance,
            watched(self.lab.cluster, guard) as seen,
        ):
            found = of_window(
                self.lab.cluster, self.plan, plans, how, isolation=isolation, on_expired=on_expired,
                deadline_s=deadline_s, advance=advance,
            )  # fmt: skip
        if found.receipt is not None:
            receipt = replace(found.receipt, guard=seen())
            found = replace(found, receipt=receipt)
            read_log.record(self.plan, receipt, "profile")
        return found


class LabDiscovery:
    """The part of `Lab` that looks at what is in a topic."""

    window: Callable[..., Window]

    def profile(
        self,
        topic: str,
        *,
        start: Any = None,
        end: Any = None,
        last: Any = None,
        sample: int | str | None = "auto",
        **options: Any,
    ) -> Profile:
        """Return what is in a topic: every field, its types, values and shares; keys, headers, sizes, volume.

        Parameters
        ----------
        topic : str
        start, end, last
            The window, as in `window`; by default all of the topic.
        sample : int, "auto" or None
            Look at so many records only; "auto": at 200,000 of a window with more than 2,000,000, which the profile
            says; None: at all.
        **options
            Those of `Window.profile`.

        Examples
        --------
        >>> lab.profile("irc", last="1d")  # doctest: +SKIP
        """
        window = self.window(topic, start=start, end=end, last=last)
        if sample == "auto":
            sample = AUTO_SAMPLE if len(window) > MOST_READ else None
        return window.profile(sample=sample, **options)  # type: ignore[arg-type]
