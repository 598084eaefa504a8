"""One sentence: where the record is, or why it is not there."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.trace.places import Question
from labkit.trace.result import Code, Step


def verdict(question: Question, steps: Sequence[Step]) -> str:
    """Return where the record is; else the first reason, nearest to the index, why it is not."""
    code = {step.place: step.code for step in steps}
    text = {step.place: step.text for step in steps}
    index = "the index" if question.index is None else f"index {question.index.name}"
    if sentence := _in_index(index, code):
        return sentence
    unseen_index = code.get("index") == Code.NOT_SEEN
    absent = f"It is not in {index}: " if "index" in code else ""
    if unseen_index:
        absent = f"It is not known whether it is in {index}; "
    place, reason = _reason(question, code, text)
    if reason:
        in_topic = place in ("condition", "group") and code["topic"] == Code.FOUND
        return f"{absent or ('It is in the topic; ' if in_topic else 'Not to be had: ')}{reason}."
    if unseen_index:
        return f"It is in the topic; {index} could not be looked at."
    group, unseen = code.get("group"), f"{question.group} could not be looked at"
    if absent:
        ask = "name a group= to see whether it was read"
        return f"{absent}{text['index']}; {unseen if group == Code.NOT_SEEN else ask}."
    rest = {
        Code.NOT_SEEN: f"; {unseen}",
        Code.PASSED: f", and {question.group} has passed it",
    }
    return f"It is in the topic{rest.get(group, '') if group else ''}."


def _in_index(index: str, code: dict[str, Code]) -> str | None:
    match code.get("index"):
        case Code.FOUND if code["topic"] in (Code.EXPIRED, Code.COMPACTED):
            return f"It is in {index}, under its _id; its record is no longer in the topic."
        case Code.FOUND:
            return f"It is in {index}, under its _id."
        case Code.OVERWRITTEN:
            return f"It is in {index}, and was overwritten by a later record."
        case Code.CHANGED:
            return f"It is in {index}, and was changed since."
    return None


def _reason(question: Question, code: dict[str, Code], text: dict[str, str]) -> tuple[str, str]:
    """Return the place that says why the record is not at the end, and why; else empty texts."""
    group = question.group
    reasons = {
        ("dead letters", Code.REFUSED): f"it was refused ({text.get('dead letters', '')})",
        ("topic", Code.EXPIRED): "its record is deleted from the topic",
        ("topic", Code.FUTURE): "no such record was written yet",
        ("topic", Code.COMPACTED): "its record is not in the topic (compacted, or a marker)",
        ("topic", Code.MARKER): "that offset is no record but a transaction's marker",
        ("topic", Code.OPEN): "its transaction is open",
        ("topic", Code.ABORTED): "its transaction was aborted",
        ("condition", Code.FILTERED): "the condition leaves it out",
        ("group", Code.NOT_REACHED): f"{group} has not come to it yet",
        ("group", Code.NO_GROUP): f"there is no group {group}",
        ("group", Code.NO_COMMIT): f"{group} has committed nothing of its partition",
    }
    if code.get("index", Code.NOT_SEEN) != Code.NOT_SEEN:  # why is it not there?
        reasons["condition", Code.NOT_SEEN] = (
            "the condition could not be asked, since its record is not decoded"
        )
        reasons["group", Code.PASSED] = (
            f"{group} has passed it, so it was written elsewhere, left out, or deleted since"
        )
    seen = set(code.items())
    return next(((step[0], reason) for step, reason in reasons.items() if step in seen), ("", ""))
