"""The parameters a notebook declares, and values for them.

A text gets the type of its parameter's default.
"""

from __future__ import annotations

import ast
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from labkit.checks.suggest import did_you_mean
from labkit.checks.validation import read_json
from labkit.decode.merge import as_json
from labkit.errors import UsageError
from labkit.window import Window

_TYPES = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": list,
    "None": None,
}
# a text is tried as the first of them that it may be
_ORDER: tuple[type | None, ...] = (None, bool, int, float, list, dict, str)
_CALLED: dict[type | None, str] = {
    None: "None", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "an object",
    str: "a text",
}  # fmt: skip
_DEEPEST = 100  # Python's own recursion ends some times deeper
_DIGITS = 4_000  # Python turns no longer number into text
_LARGEST = 10**_DIGITS
_IN_A_FILE = "parameters are written into the notebook: give a path or a window, and read it there"
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Declared:
    """One parameter.

    Attributes
    ----------
    types : tuple
        What it may be, by its annotation or its default; empty: anything, as for a default of None.
    source : str
        Its line in the notebook.
    """

    types: tuple[type | None, ...]
    source: str


def read_declared(content: Any, name: str) -> dict[str, Declared]:
    """Return what the cell tagged ``parameters`` sets, by name, in its order.

    Raises
    ------
    UsageError
        When that cell is no Python.
    """
    cell = next(
        (cell.source for cell in content.cells if "parameters" in cell.metadata.get("tags", [])), ""
    )
    lines = ["" if line.startswith(("%", "!")) else line for line in cell.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise UsageError(
            f"the parameters cell of {name} cannot be read: {error.msg}, line {error.lineno}",
            hint="write one NAME = DEFAULT a line",
        ) from error
    parameters: dict[str, Declared] = {}
    for node in tree.body:
        line = lines[node.lineno - 1].strip()
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            parameters[node.target.id] = Declared(_annotated_types(node.annotation), line)
        elif isinstance(node, ast.Assign):
            for target, value in _pairs(node):
                parameters[target] = Declared(_of_default(value), line)
        else:  # an if, a with: it sets names too, whose type depends
            stored = (
                part
                for part in ast.walk(node)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            )
            parameters |= {variable.id: Declared((), line) for variable in stored}
    return parameters


def _pairs(node: ast.Assign) -> Iterable[tuple[str, ast.expr]]:
    """Yield each name of an assignment with what it is set to."""
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value
        elif isinstance(target, ast.Tuple | ast.List):
            values = node.value.elts if isinstance(node.value, ast.Tuple | ast.List) else []
            same = len(values) == len(target.elts)
            for place, element in enumerate(target.elts):
                if isinstance(element, ast.Name):
                    yield element.id, values[place] if same else node.value


def _of_default(value: ast.expr) -> tuple[type | None, ...]:
    """Return the type of a default; none where only running the cell could tell it."""
    if isinstance(value, ast.JoinedStr):
        return (str,)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return (_TYPES[value.func.id],) if value.func.id in _TYPES else ()
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Sub | ast.Mult):
        left, right = _of_default(value.left), _of_default(value.right)
        return left if left == right else ()
    try:
        default = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError):
        return ()
    kind = list if isinstance(default, tuple) else type(default)
    return (kind,) if kind in _ORDER else ()


def _annotated_types(node: ast.expr) -> tuple[type | None, ...]:
    """Return the types of ``int``, ``int | None``, ``list[str]``.

    None where it says something else.
    """
    parts = _alternatives(node)
    names = [ast.unparse(part.value if isinstance(part, ast.Subscript) else part) for part in parts]
    if not all(name in _TYPES for name in names):
        return ()
    return tuple(sorted((_TYPES[name] for name in names), key=_ORDER.index))


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """Return the parts of ``a | b | c``."""
    if isinstance(node, ast.BinOp):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def check_names(known: Mapping[str, Declared], given: Iterable[str], notebook: str) -> None:
    """Refuse parameters that a notebook does not have.

    papermill would run it with its own values all the same.
    """
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    if not known:
        raise UsageError(
            f"{notebook} has no parameters, so {unknown[0]!r} would change nothing",
            hint="tag a cell `parameters` that sets them to their defaults",
        )
    raise UsageError(
        f"{notebook} has no parameter {unknown[0]!r}",
        hint=f"{did_you_mean(unknown[0], known)}its cell of parameters sets {', '.join(known)}",
    )


def from_texts(
    known: Mapping[str, Declared], runs: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return the parameters of each run, given as texts.

    Each has the type of its default, and one type in all runs. Of a parameter without a type (its
    default is None) a text that is a number, true, false or null in JSON becomes such, where that
    makes all runs alike; an object or a list stays text, as a window's JSON does.
    """
    typed_runs: list[dict[str, Any]] = [dict(run) for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run):
        texts = [run[name] for run in runs if name in run]
        types = known[name].types if name in known else ()
        values = [_type_text(name, text, known[name]) for text in texts] if types else _alike(texts)
        for run, value in zip(
            (typed for typed in typed_runs if name in typed), values, strict=True
        ):
            run[name] = value
    return typed_runs


def _type_text(name: str, text: str, parameter: Declared) -> Any:
    for kind in sorted(parameter.types, key=_ORDER.index):
        try:
            return _read(kind, text)
        except ValueError:
            continue
    word = next(word for word, kind in _TYPES.items() if kind is parameter.types[0])
    kinds = " or ".join(_CALLED[kind] for kind in parameter.types)
    raise UsageError(
        f"parameter {name!r} must be {kinds}, as in `{parameter.source}`, not {text!r}",
        hint=f"a parameter has its default's type; `{name}: {word} | str = …` in the notebook allows more",
    )


def _read(kind: type | None, text: str) -> Any:
    """Return `text` as a `kind`, or raise ValueError."""
    if kind is None:
        if text not in ("None", "null"):
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    if kind in (list, dict):
        value = _literal(text)
        if type(value) is not kind:
            raise ValueError(text)
        return value
    return text if kind is str else int(text) if kind is int else _finite(float(text))


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _literal(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(text) from error
        return list(value) if isinstance(value, tuple) else value


def _alike(texts: list[str]) -> list[Any]:
    values = [_guess_value(text) for text in texts]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else list(texts)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON: a nick, more likely")


def _guess_value(text: str) -> Any:
    """Return a text as the JSON number, boolean or null it reads as."""
    if text == "None":
        return None
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    huge = isinstance(value, float) and not math.isfinite(value)  # "12e4567" may be a commit's name
    return text if huge or isinstance(value, dict | list | str) else value


def plain(name: str, value: Any, depth: int = 0) -> Any:
    """Return what a Python caller gives as what a notebook can hold; its type stays.

    Paths, times and lengths of time are texts, a Window is its JSON, numpy's numbers and arrays are
    Python's. What JSON lacks is refused: a notebook is a file of it.
    """
    if depth > _DEEPEST:
        raise UsageError(f"parameter {name!r} is nested deeper than {_DEEPEST}", hint=_IN_A_FILE)
    if isinstance(value, Mapping):
        return {
            _json_text(name, str(key)): plain(name, item, depth + 1) for key, item in value.items()
        }
    dtype = getattr(value, "dtype", None)
    letter = getattr(dtype, "char", "")
    if letter in ("M", "m") and str(dtype).endswith("[ns]"):
        value = value.astype(f"{letter}8[us]")  # of nanoseconds `tolist` makes whole numbers
    if hasattr(value, "tolist"):  # numpy's, pandas' columns
        return plain(name, value.tolist(), depth)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(
        value, str | bytes | bytearray | memoryview
    ):
        return [plain(name, item, depth + 1) for item in value]
    for kind, convert in _PLAIN:
        if isinstance(value, kind):
            return _in_json(name, convert(value))
    raise UsageError(
        f"parameter {name!r} must be text, number, boolean, None, time, path, Window, list or dict, "
        f"not {type(value).__name__}",
        hint=_IN_A_FILE,
    )


def _in_json(name: str, value: Any) -> Any:
    """Return a value that JSON has; refuse others."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"parameter {name!r} must be a finite number, not {value}",
            hint="None says that there is no value",
        )
    if isinstance(value, int) and abs(value) >= _LARGEST:
        raise UsageError(
            f"parameter {name!r} is a number of more than {_DIGITS:,} digits", hint=_IN_A_FILE
        )
    return _json_text(name, value) if isinstance(value, str) else value


def _json_text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"parameter {name!r} must be text in UTF-8, not {value!a}", hint=_IN_A_FILE
        ) from error
    return value


def _moment(value: date) -> str | None:
    # pandas' missing time is a datetime, too
    return None if repr(value) == "NaT" else value.isoformat()


def _length(value: timedelta) -> str | None:
    return None if repr(value) == "NaT" else str(as_json(value))


_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (type(None), lambda value: None),
    (bool, bool),
    (int, int),
    (float, float),
    (str, str),
    (os.PathLike, os.fspath),
    (date, _moment),
    (timedelta, _length),
    (Window, Window.to_json),
)


def read_notebook(notebook: Path) -> Any:
    """Return the notebook's content, checked.

    Raises
    ------
    UsageError
        For a file that is not a notebook.
    """
    import nbformat

    if not notebook.is_file() or notebook.suffix != ".ipynb":
        raise UsageError(f"{notebook} is not a notebook", hint="give the path of an .ipynb file")
    try:
        content = nbformat.read(notebook, as_version=4)
        nbformat.validate(content)
    except Exception as error:  # nbformat passes on whatever the content makes it stumble over
        raise UsageError(
            f"{notebook} is not a notebook: {type(error).__name__}",
            hint="open it in JupyterLab",
        ) from error
    return content
