"""Crash points: one around every commit and every request that the code of the two programs makes.

They are read from the code, not listed: a new ``db.write(...)`` or ``http.request(...)`` is a new point. A point is
``commit MODULE.FUNCTION`` or ``METHOD /path/with/{}``, plus the phase at which the program dies:

- ``inside``: in the transaction, all its rows written, before COMMIT
- ``after``: committed, and nothing of what follows has happened
- ``before``: the request is made up and not sent
- ``body``: the server has answered; its words are not read yet
- ``answered``: the answer is read, and nothing has been done with it
- ``popup``: ``before`` and ``after`` a notification is put on the screen
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tandem_core.http import CLIENT_PREFIX

COMMIT_PHASES = ("inside", "after")
REQUEST_PHASES = ("before", "body", "answered")
POPUP_PHASES = ("before", "after")
POPUP = "popup"
SEND_TO_DEVICE = "PUT /_matrix/client/v3/sendToDevice/{}/{}"

PROGRAMS = {
    "notifier": ("tandem_core", "tandem_notifier"),
    "app": ("tandem_core", "tandem_app"),
}
_WRITES = frozenset({"write", "write_now"})
_ASKS = frozenset({"request", "retry", "request_now", "send_file", "fetch_file"})
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})
# Used by tandemctl and the command line alone, or the door itself.
_NOT_IN_PROGRAMS = (
    "tandem_core.ctl",
    "tandem_core.key_files",
    "tandem_core.store.database",
    "tandem_core.http",
    "tandem_core.http_stream",
)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A step of the code, and the line that makes it."""

    name: str
    module: str
    line: int

    @property
    def phases(self) -> tuple[str, ...]:
        if self.name == POPUP:
            return POPUP_PHASES
        return COMMIT_PHASES if self.name.startswith("commit ") else REQUEST_PHASES


def points(program: str) -> list[Point]:
    """All points in the code of ``app`` or ``notifier``, by name; several lines may make the same step."""
    found: set[Point] = set()
    for package in PROGRAMS[program]:
        for module in _modules(package):
            found |= set(_points_of(module))
    if program == "notifier":
        found.add(Point(POPUP, "tandem_notifier.popups", 0))
    return sorted(found)


def template(method: str, path: str, known: Iterable[str]) -> str:
    """The known request that this one is an instance of; its own words if it is of none."""
    asked = f"{method} {path.split('?', maxsplit=1)[0]}"
    for name in known:
        if re.fullmatch(re.escape(name).replace(r"\{\}", "[^/]*"), asked):
            return name
    return asked


def function_name(work: Any) -> str:
    """The name of a function that is run in a transaction."""
    return f"{work.__module__}.{work.__qualname__}"


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not info.name.startswith(_NOT_IN_PROGRAMS) and not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def _points_of(module: ModuleType) -> Iterator[Point]:
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    yield from _Reader(module, tree).walk(tree, [], tree)


class _Reader:
    """Finds the calls in one module and gives them their names."""

    def __init__(self, module: ModuleType, tree: ast.Module) -> None:
        self._module = module
        self._names = {**_imported(tree, module), **vars(module)}

    def walk(self, node: ast.AST, scope: list[str], body: ast.AST) -> Iterator[Point]:
        """All points below a node; ``body`` is the function it stands in."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from self.walk(child, [*scope, child.name], body)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self.walk(child, [*scope, child.name, "<locals>"], child)
            else:
                if isinstance(child, ast.Call):
                    yield from self._call(child, scope, body)
                yield from self.walk(child, scope, body)

    def _call(self, call: ast.Call, scope: list[str], body: ast.AST) -> Iterator[Point]:
        words = ast.unparse(call.func)
        owner, _, verb = words.rpartition(".")
        if verb in _WRITES and call.args and ("db" in owner or "opened" in owner):
            yield self._point(f"commit {self._function(call.args[0], scope)}", call)
        if verb in _ASKS:
            texts = [self._text(arg, body) for arg in call.args]
            method = next((number for number, text in enumerate(texts) if text in _METHODS), None)
            if method is not None:
                path = re.sub(r"\?.*", "", texts[method + 1])
                yield self._point(f"{texts[method]} {path}", call)

    def _point(self, name: str, call: ast.Call) -> Point:
        return Point(name, self._module.__name__, call.lineno)

    def _function(self, work: ast.expr, scope: list[str]) -> str:
        words = "<lambda>" if isinstance(work, ast.Lambda) else ast.unparse(work)
        found = self._value(words)
        # What has no value here is a function made where it is used.
        return ".".join([self._module.__name__, *scope, words]) if found is None else function_name(found)

    def _text(self, node: ast.expr, body: ast.AST) -> str:
        """What a piece of code says, ``{}`` for what changes."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Call(func=ast.Name(id="path"), args=args):
                return CLIENT_PREFIX + "/".join(self._text(arg, body) for arg in args)
            case ast.JoinedStr(values=parts):
                return "".join(self._text(part, body) for part in parts)
            case ast.FormattedValue(value=value):
                return self._text(value, body)
            case ast.Name() | ast.Attribute():
                found = self._value(ast.unparse(node))
                if isinstance(found, str):
                    return found
                made = _assigned(body, ast.unparse(node))
                return "{}" if made is None else self._text(made, body)
        return "{}"

    def _value(self, words: str) -> Any:
        found: Any = self._names.get(words.split(".", maxsplit=1)[0])
        for part in words.split(".")[1:]:
            found = getattr(found, part, None)
        return found


def _imported(tree: ast.Module, module: ModuleType) -> dict[str, Any]:
    """What the module's functions import for themselves."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tandem_"):
            home = importlib.import_module(str(node.module))
            for name in node.names:
                value = getattr(home, name.name, None)
                if value is None:
                    value = importlib.import_module(f"{node.module}.{name.name}")
                found[name.asname or name.name] = value
    return found


def _assigned(body: ast.AST, name: str) -> ast.expr | None:
    """What a local name was set to, where that is said once."""
    for node in ast.walk(body):
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return node.value
    return None
