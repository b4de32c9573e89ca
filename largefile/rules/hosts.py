"""What one process remembers of the hosts that it talks to, shared by all of its downloads.

`now` and all other times are seconds on one clock that does not go back.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from threading import Lock

from largefile.errors import ThrottledError
from largefile.rules.redirects import origin

__all__ = ["Host", "HostTable", "too_long"]

#: Seconds for which a limit that was found out is believed.
BELIEVED = 600.0
#: Hosts that are remembered; of more, the one that was not asked for longest is forgotten.
MOST_HOSTS = 1024

_key = lru_cache(128)(origin)


class Host:
    """One host: when it may be asked again, how many transfers it lets be, how many have paid.

    Examples
    --------
    >>> host = Host()
    >>> host.close(30.0), host.close(20.0), host.opens_at
    (None, None, 30.0)
    >>> host.learn(3, now=5.0), host.limit(600.0), host.limit(605.0)
    (None, 3, None)
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._opens_at = float("-inf")
        self._limit: tuple[int, float] | None = None  # and when it was learned
        self.is_known = False  #: its limit was told to the user
        #: Transfers at once that made good use of the network; None: nobody has tried.
        self.concurrency: int | None = None

    @property
    def opens_at(self) -> float:
        """Nothing may be asked before this time."""
        return self._opens_at

    def close(self, until: float) -> None:
        """The host wants no request before `until`. What it said before still holds."""
        with self._lock:
            self._opens_at = max(self._opens_at, until)

    def limit(self, now: float) -> int | None:
        """Transfers at once above which it refuses; None: not known, or not for sure any more."""
        found = self._limit
        return None if found is None or now >= found[1] + BELIEVED else found[0]

    def learn(self, limit: int, now: float) -> None:
        """It lets no more than `limit` transfers be."""
        self._limit = limit, now

    def renew_lock(self) -> None:
        """In a fork's child, where nobody is left to release it."""
        self._lock = Lock()


class HostTable:
    """Hosts by scheme, name and port.

    Examples
    --------
    >>> table = HostTable()
    >>> table.of("http://a.org/x") is table.of("http://A.org:80/y?z"), len(table)
    (True, 1)
    """

    def __init__(self, most: int = MOST_HOSTS) -> None:
        self._most = most
        self._lock = Lock()
        self._hosts: OrderedDict[tuple[str, str, int], Host] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def of(self, url: str) -> Host:
        """The host of `url`. ValueError as for `check_url`."""
        key = _key(url)
        with self._lock:
            host = self._hosts.setdefault(key, Host())
            self._hosts.move_to_end(key)
            if len(self._hosts) > self._most:
                self._hosts.popitem(last=False)
        return host

    def forget(self, url: str) -> None:
        """Another server is at this address now. Downloads under way keep what they know."""
        with self._lock:
            self._hosts.pop(_key(url), None)

    def renew_locks(self) -> None:
        """In a fork's child: what is known still holds; whoever held a lock is not there."""
        self._lock = Lock()
        for host in self._hosts.values():
            host.renew_lock()


def too_long(name: str, seconds: float) -> ThrottledError:
    """Why a host that wants no request for so many seconds is not waited for."""
    return ThrottledError(f"{name} wants no request for {seconds:.0f} s, which is beyond the deadline")
