"""File operations that are watched: each one passes through a single method, which may do something else."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from largefile.disk.fileops import REAL, FileOps

__all__ = ["FACTS", "OPERATIONS", "Call", "Watched", "everywhere"]

#: What FileOps says of the machine and of a file's age; none of it touches bytes, and none may fail.
FACTS = frozenset({"birth", "boot_id", "host", "memory", "process_start", "umask"})
#: Every operation on a file, by its name.
OPERATIONS = (
    frozenset(name for name, _ in inspect.getmembers(FileOps, inspect.isfunction) if not name.startswith("_"))
    - FACTS
)


class Call:
    """One operation as it was asked for; to call it is to do it.

    Attributes
    ----------
    name : str
        Of the operation, as FileOps has it.
    path : str or int
        Of the file; "" where the caller did not say it, and a descriptor where it gave nothing else.
    arguments : dict
        What was given, by the parameters' names.
    """

    __slots__ = ("_act", "arguments", "name", "path")

    def __init__(self, name: str, path: str | int, arguments: dict[str, Any], act: Callable[[], Any]) -> None:
        self.name = name
        self.path = path
        self.arguments = arguments
        self._act = act

    def __call__(self) -> Any:
        return self._act()


class Watched(FileOps):
    """FileOps whose every operation on a file goes through `perform`.

    Examples
    --------
    >>> class Log(Watched):
    ...     def perform(self, call):
    ...         print(call.name, call.path)
    ...         return call()
    >>> Log().exists("/nowhere/x")
    exists /nowhere/x
    False
    """

    def perform(self, call: Call) -> Any:
        """Do `call`, or something else in its place; the answer is its caller's."""
        return call()


def _watched(name: str) -> Callable[..., Any]:
    plain = getattr(FileOps, name)
    signature = inspect.signature(plain)
    of_path = next(key for key in ("path", "target", "folder", "fd") if key in signature.parameters)

    @functools.wraps(plain)
    def operation(self: Watched, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        act = functools.partial(plain, self, *args, **kwargs)
        return self.perform(Call(name, given.get(of_path, ""), given, act))

    return operation


for _name in OPERATIONS:
    setattr(Watched, _name, _watched(_name))


@contextlib.contextmanager
def everywhere(ops: FileOps) -> Iterator[None]:
    """Put `ops` in the place of the operations that all of largefile uses by default, in this process."""
    before, state = type(REAL), REAL.__dict__
    REAL.__class__ = type(ops)
    REAL.__dict__ = ops.__dict__  # shared, so that `ops` sees what was counted
    try:
        yield
    finally:
        REAL.__class__ = before
        REAL.__dict__ = state
