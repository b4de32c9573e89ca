"""What passes between a caller's process and that of its isolated download: data, and nothing else.

All of it goes through one socket pair that has no name, as pickles of the classes below; nothing of it is
ever an argument or an environment variable of the process, where others could read it. Of the caller's own
classes none passes, as the other process does not have his modules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from largefile.engine.options import DeliveryOptions, SessionOptions
from largefile.errors import InternalError, LargeFileError
from largefile.stats import DownloadStatus

__all__ = [
    "Cancel",
    "Ended",
    "Expired",
    "Failed",
    "Limits",
    "Logged",
    "Order",
    "RenewError",
    "Renewed",
    "Waits",
    "as_data",
    "pack",
    "plain",
    "unpack",
]

Options = TypeVar("Options", DeliveryOptions, SessionOptions)

#: Causes of causes of an error that are told.
MOST_CAUSES = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a RateController allows; None: all."""

    bytes_per_second: float | None
    requests_per_second: float | None


# --- to the child --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """A download, as `largefile.download` was asked for it."""

    url: str = field(repr=False)
    #: Of `HTTPReader`.
    reader: dict[str, Any] = field(repr=False)
    dest: str
    options: DeliveryOptions
    #: Without its rate, which is no data.
    session: SessionOptions
    limits: Limits | None
    #: On the clock of `time.monotonic`, which all processes share.
    deadline: float
    renews: bool
    log_level: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop; `reason` is the error that says why."""

    reason: LargeFileError


@dataclass(frozen=True, slots=True)
class Renewed:
    """What the caller's `renew` gave; or None, as it raised, and what."""

    url: str | None = field(repr=False)
    failure: str = ""


# --- to the parent -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """It is complete."""

    status: DownloadStatus


@dataclass(frozen=True, slots=True)
class Failed:
    """It is not; `errors` is for `unpack`."""

    errors: list[bytes]


@dataclass(frozen=True, slots=True)
class Logged:
    """The attributes of a LogRecord."""

    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Waits:
    """It waits for its turn at the destination; for whom, in words."""

    rival: str


@dataclass(frozen=True, slots=True)
class Expired:
    """This URL has expired: the caller's `renew` is asked for another one."""

    url: str = field(repr=False)


class RenewError(Exception):
    """The caller's `renew` raised, in his own process."""


# --- arguments -----------------------------------------------------------------------------------


def as_data(name: str, value: Any) -> Any:
    """`value` made of Python's own types only, as the other process has no others; else ValueError.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> as_data("ca_file", PurePosixPath("/etc/ca.pem")), as_data("auth", ("me", "secret"))
    ('/etc/ca.pem', ('me', 'secret'))
    """
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str.__str__(value)
        case Mapping():
            return {as_data(name, key): as_data(name, part) for key, part in value.items()}
        case tuple() | list():
            return tuple(as_data(name, part) for part in value)
        case os.PathLike():
            return os.fspath(value)
    raise ValueError(
        f"{name} is a {type(value).__name__}, which can not go to another process (isolate=True)"
    )


def plain(options: Options) -> Options:
    """The same options, as data; what is none is left as it is."""
    names = (name for name in options._fields if name not in ("clock", "rate"))
    data: dict[str, Any] = {name: as_data(name, getattr(options, name)) for name in names}
    return options._replace(**data)


# --- errors --------------------------------------------------------------------------------------


def pack(error: BaseException) -> list[bytes]:
    """`error` and its causes as data, which `pickle` alone would leave out.

    Examples
    --------
    >>> error = LargeFileError("outer")
    >>> error.__cause__ = KeyError("inner")
    >>> copy = unpack(pack(error))
    >>> copy, copy.__cause__
    (LargeFileError('outer'), KeyError('inner'))
    """
    packed: list[bytes] = []
    cause: BaseException | None = error
    while cause is not None and len(packed) < MOST_CAUSES:
        packed.append(_pickled(cause))
        cause = cause.__cause__
    return packed


def _pickled(error: BaseException) -> bytes:
    import pickle  # where it is needed: see `isolated`

    if not isinstance(error, LargeFileError):
        import traceback

        # It may be a bug, and its traceback ends with the process.
        error.add_note("".join(traceback.format_exception(error, chain=False)))
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - a class that can not be rebuilt may raise anything
        return pickle.dumps(InternalError(f"{type(error).__name__}: {error}"))
    return data


def unpack(packed: list[bytes]) -> BaseException:
    """The error that was packed, with its causes."""
    import pickle

    errors: list[BaseException] = [pickle.loads(data) for data in packed]
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]
