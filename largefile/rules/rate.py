"""How fast: limits on bytes and on requests a second that may change while they are in use."""

from __future__ import annotations

import re
from collections.abc import Hashable
from threading import Lock

__all__ = ["RateController", "parse_rate"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MAX = 2**63 - 1


class RateController:
    """Limits that one download, or several that share this object, keep together.

    It holds no clock: `now` is seconds on any monotonic clock, the same one for all who share it. Every
    method may be called from any thread.

    Parameters
    ----------
    bytes_per_second : int or float, optional
        Body bytes a second, over all transfers together; at least 1. None: no limit.
    requests_per_second : int or float, optional
        Requests begun a second, over all; more than 0. ``0.1`` is one in ten seconds. None: no limit.

    Raises
    ------
    ValueError
        If a limit is zero, negative, or not a finite number.

    Examples
    --------
    >>> rate = RateController(bytes_per_second=1000, requests_per_second=4)
    >>> rate.share(3)
    333
    >>> rate.took_request(10.0)
    >>> rate.request_at(10.0)
    10.25
    >>> rate.bytes_per_second = None
    >>> rate.share(3)
    0

    Notes
    -----
    Go: ``ratecontrol.Limiter`` and ``largefile.WithDownloadRateController``.
    """

    def __init__(
        self, *, bytes_per_second: float | None = None, requests_per_second: float | None = None
    ) -> None:
        self._lock = Lock()
        self._bytes = _checked("bytes_per_second", bytes_per_second, least=1)
        self._requests = _checked("requests_per_second", requests_per_second)
        self._version = 0
        # Requests owed at the moment `_taken_at`. A count and not a time, so that a changed limit also
        # holds for what is already owed.
        self._owed = 0.0
        self._taken_at = 0.0
        self._transfers: dict[Hashable, int] = {}

    @property
    def bytes_per_second(self) -> float | None:
        """Body bytes a second over all transfers; None for no limit. May be set at any time."""
        return self._bytes

    @bytes_per_second.setter
    def bytes_per_second(self, limit: float | None) -> None:
        checked = _checked("bytes_per_second", limit, least=1)
        with self._lock:
            self._bytes = checked
            self._version += 1

    @property
    def requests_per_second(self) -> float | None:
        """Requests begun a second over all; None for no limit. May be set at any time."""
        return self._requests

    @requests_per_second.setter
    def requests_per_second(self, limit: float | None) -> None:
        checked = _checked("requests_per_second", limit)
        with self._lock:
            self._requests = checked
            self._version += 1

    @property
    def version(self) -> int:
        """Grows whenever a share or a waiting time worked out before may be wrong now."""
        return self._version

    def request_at(self, now: float) -> float:
        """The earliest time, in seconds on the clock of `now`, at which the next request may begin."""
        with self._lock:
            if self._requests is None:
                return now
            return max(now, self._taken_at + self._owed / self._requests)

    def took_request(self, now: float) -> None:
        """A request begins now. One that begins too early makes the next ones wait longer."""
        with self._lock:
            passed = (now - self._taken_at) * (self._requests or 0.0)
            self._owed = 1.0 + (max(0.0, self._owed - passed) if self._requests else 0.0)
            self._taken_at = now

    def register(self, owner: Hashable, transfers: int) -> None:
        """Say how many transfers `owner`, one of several that share this object, has under way.

        ``0`` forgets the owner: a download says it when it ends, however it ends.
        """
        with self._lock:
            if transfers == self._transfers.get(owner, 0):
                return
            self._transfers[owner] = transfers
            if transfers <= 0:
                del self._transfers[owner]
            self._version += 1

    def share(self, transfers: int) -> int:
        """Bytes a second for each of the caller's `transfers`; 0 for no limit.

        Where owners have registered more transfers than the caller has, all of them count. The shares of
        all together never exceed the limit, unless it is less than one byte a second for each.
        """
        with self._lock:
            if self._bytes is None:
                return 0
            # 0 would mean "no limit", the opposite of a very small share.
            return max(1, int(self._bytes // max(1, transfers, sum(self._transfers.values()))))


def parse_rate(text: str) -> int:
    """Read a rate as people write it: a number of bytes a second, or of K, M, G or T (powers of 1024).

    Returns
    -------
    int
        Bytes a second, at least 1.

    Raises
    ------
    ValueError
        If it is anything else, zero included.

    Examples
    --------
    >>> parse_rate("10M"), parse_rate("1.5k"), parse_rate("200")
    (10485760, 1536, 200)

    Notes
    -----
    The units of curl's ``--limit-rate``.
    """
    parts = re.fullmatch(r"([0-9]{1,19})(\.[0-9]{1,9})?([kmgt]?)", text.strip().lower(), re.ASCII)
    rate = 0
    if parts is not None:
        unit = _UNITS[parts[3]]
        rate = int(parts[1]) * unit + int(float(parts[2] or 0) * unit)
    if not 1 <= rate <= _MAX:
        raise ValueError(f"rate {text!r} must be a number of bytes a second, 1 or more, such as 500K or 10M")
    return rate


def _checked(name: str, limit: float | None, least: float = 0.0) -> float | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        raise TypeError(f"{name} must be a number or None, not {type(limit).__name__}")
    if not least <= limit <= _MAX or limit == 0:
        raise ValueError(
            f"{name} {limit!r} must be {'1 or more' if least else 'more than 0'}; None is no limit"
        )
    return limit
