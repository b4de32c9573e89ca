"""HTTPReader: one content behind one URL, its identity pinned by the first answer.

The first request is an ordinary ranged GET, never HEAD: its answer says the size, whether there are
ranges, and who vouches for the content, and its body is held back until there is a place for it. Every
later answer is judged against it. The *origin* is the URL that the user gave; the *resolved* URL is
where redirects led, which may expire, and which gets the user's headers only if it has the same origin.
"""

from __future__ import annotations

import io
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from largefile.core.ranges import MAX_SIZE
from largefile.core.sink import BlockSink
from largefile.errors import (
    LargeFileError,
    NetworkError,
    PrivateAddressError,
    ProtocolError,
    ReadError,
    StalledError,
    TooLargeError,
    UnsizedSourceError,
)
from largefile.events import Ended, Fetch, Outcome, Response
from largefile.rules.actions import Fault
from largefile.rules.hosts import Host, too_long
from largefile.rules.identity import Identity
from largefile.rules.redirects import check_url, display_url, origin
from largefile.rules.retry import Backoff, RetryResponse
from largefile.rules.sizing import auto_block_size
from largefile.rules.verdict import BODIES, GOOD, Kind, Verdict
from largefile.wire.address import LATER, Next
from largefile.wire.ca import choose_ca_file
from largefile.wire.curl import CurlSettings, CurlTransport
from largefile.wire.exchange import Whole, first_event, receive
from largefile.wire.fields import check_fields
from largefile.wire.hosts import HOSTS
from largefile.wire.mirrors import Places
from largefile.wire.proxies import direct, without_userinfo
from largefile.wire.readers import MIB, Probe
from largefile.wire.renewal import Renew

__all__ = ["HTTPReader", "check_mirrors"]

IN_USE = "this reader of {} is in use by another stream or download; make one for each"

#: So often the first request may meet nothing but silence, whatever the tries.
MOST_SILENCES = 3

#: What an outcome on the wire means, and whether the same request may succeed later.
FAULTS: dict[Outcome, tuple[str, bool, bool]] = {
    # outcome: what to say, retryable, the host asks for less
    Outcome.RESOLVE: ("no address was found for", True, False),
    Outcome.CONNECT: ("no connection to", True, True),
    Outcome.TIMEOUT: ("no connection in time to", True, False),
    Outcome.TLS: ("no trust in the certificate of", False, False),
    Outcome.NETWORK: ("the connection failed to", True, False),
    Outcome.CUT: ("the transfer was cut short by", True, False),
    Outcome.UNFRAMED: ("the transfer was cut short by", True, False),
    Outcome.PROTOCOL: ("no usable HTTP from", True, False),
    Outcome.HALTED: ("the transfer was stopped to", True, False),
    Outcome.DONE: ("the body was too short from", True, False),
    Outcome.REFUSED: ("the answer was refused from", True, False),
}


class HTTPReader:
    """A very large file behind an http or https URL.

    Parameters
    ----------
    url
        Where it is. No credentials in it: pass `auth`.
    headers
        More request header fields; sent to the URL's own origin only, whatever redirects say.
    auth
        ``(user, password)`` for Basic authentication, or a complete Authorization value.
    ca_file
        Certificate authorities to trust; see `largefile.wire.ca.choose_ca_file` for the default.
    proxy
        A proxy's URL; None: by the environment, ``""``: none. A user and a password in it are not pickled.
    allow_private
        False: connect to addresses of the public internet only, whatever names and redirects say; anything
        else is a `PrivateAddressError`. For URLs that strangers choose. What counts is the address that is
        connected to, so there is no proxy: one that is given is a ValueError, the environment's is not used.
    max_size
        The most bytes that the content may have; more is a `TooLargeError`, before any of it is fetched where
        the server says the size, and else once more has come.
    http2
        Speak HTTP/2: as agreed on with the server over https, and without asking over http. Each transfer has
        a connection of its own all the same, so HTTP/1.1, the default, which every server has, loses nothing.
    timeout
        Seconds without a byte after which a transfer is given up and made again.
    connect_timeout
        Seconds for a connection.
    tries
        How often the first request is made before its error is raised.
    block_size
        Preferred block size in bytes; by default 1 MiB, more for files above 1 TiB.
    mirrors
        More URLs of the same content. All are used, the faster ones more. One whose size differs, or whose
        ETag and Last-Modified both do, is left with a warning; one that fails costs nothing but its own
        bytes. `headers` and `auth` go to those of the origin of `url` only.
    has_digest
        Whether the caller compares a digest in the end: then a mirror of the same size is believed.
    renew
        Called with the URL when that has expired (it answers 400, 401, 403 or 410), to return a new one of
        the same content. Once for all transfers, on a thread of its own, so it may take its time; what it
        raises is the cause of a `RefusedError`. `headers` and `auth` go to the new URL if its origin is the
        same. It is not pickled.
    server_digest
        False: do not hear what the server says of the content's digest, in fields like Repr-Digest.

    Raises
    ------
    ValueError
        For a URL, a header or a number that can not be used; it says which and why.

    Notes
    -----
    Go: ``largefile.Reader`` by ``net/http/httpfs``. Needs one request and no HEAD.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        allow_private: bool = True,
        max_size: int | None = None,
        http2: bool = False,
        timeout: float = 20.0,
        connect_timeout: float = 10.0,
        tries: int = 5,
        block_size: int | None = None,
        pickle_headers: bool = False,
        mirrors: Iterable[str] = (),
        has_digest: bool = False,
        renew: Renew | None = None,
        server_digest: bool = True,
    ) -> None:
        self.url = check_url(url)
        self._options: dict[str, Any] = {
            "ca_file": ca_file,
            "proxy": proxy if allow_private else direct(proxy),
            "allow_private": allow_private,
            "max_size": check_max_size(max_size),
            "http2": bool(http2),
            "timeout": positive("timeout", timeout),
            "connect_timeout": positive("connect_timeout", connect_timeout),
            "tries": tries,
            "block_size": block_size,
            "pickle_headers": pickle_headers,
            "mirrors": check_mirrors(mirrors),
            "has_digest": has_digest,
            "server_digest": server_digest,
        }
        if block_size is not None and block_size < 1:
            raise ValueError(f"block_size is {block_size}, needed is at least 1 byte")
        if tries < 1:
            raise ValueError(f"tries is {tries}, needed is at least 1")
        self._pickled_headers = dict(headers or {}) if pickle_headers else None
        self._settings = CurlSettings(
            ca_file=choose_ca_file(ca_file),
            proxy=self._options["proxy"],
            connect_timeout=connect_timeout,
            allow_private=bool(allow_private),
            http2=bool(http2),
        )
        self._transport: CurlTransport | None = None
        self._renew = check_renew(renew)
        fields = check_fields(headers, auth)
        self._places = Places(
            self.url, self._options["mirrors"], fields, has_digest, self._renew, server_digest
        )
        #: Whether ETags alone do not tell versions apart any more, as the caller's digest decides.
        self.vouched = False
        self._probe: Probe | None = None
        self._used = threading.Lock()  # while a loop runs over the transport
        self.retries = 0  #: requests that the probe made again

    def __reduce__(self) -> tuple[Any, ...]:
        options = {**self._options, "proxy": without_userinfo(self._options["proxy"])}
        return rebuild, (self.url, self._pickled_headers, options)

    # --- the Reader ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Scheme, host and path; never a query or credentials."""
        return display_url(self.url)

    @property
    def identity(self) -> Identity:
        """Who the server says that the content is; makes the first request if need be."""
        if (known := self._places.identity) is not None:
            return known
        self._probe = self.probe(0, MIB - 1, lambda: None)
        return self._probe.identity

    def content_length_and_block_size(self) -> tuple[int, int]:
        """The content's size and the preferred block size, in bytes.

        Raises
        ------
        TransferError
            If the server does not say; `UnsizedSourceError` if it can not.
        """
        size = self.identity.size
        if size is None:
            raise UnsizedSourceError(f"{self.name} does not say how large it is")
        return size, self._options["block_size"] or auto_block_size(size)

    @property
    def block_size(self) -> int | None:
        """The preferred block size in bytes, if one was given."""
        size: int | None = self._options["block_size"]
        return size

    @property
    def allow_private(self) -> bool:
        """Whether it may connect to addresses that are not of the public internet."""
        return self._settings.allow_private

    def digest(self) -> str | None:
        return None

    def get_reader(self, first: int, last: int) -> BinaryIO:
        """The bytes `first` to `last`, both included, read into memory as a whole."""
        size = last - first + 1
        buffer = bytearray(size)
        with self._clone() as reader:
            probe = reader.probe(first, last, lambda: None)
            got = probe.verdict.last if probe.verdict is not None else None
            if probe.sink is None or probe.fetch is None or got != last:
                raise ReadError(f"{self.name} did not give bytes [{first}:{last}]")
            sink = probe.sink
            sink.aim(Whole(), 0, size, size, size)
            sink.place(buffer, 0, size)
            timeout: float = self._options["timeout"]
            ended = receive(reader.transport(), probe.fetch, sink, timeout, lambda: None)
            sink.release()
        if sink.at < size:
            error = self.fault(ended).error
            raise ReadError(str(error)) from error
        return io.BytesIO(buffer)

    def _clone(self) -> HTTPReader:
        clone = HTTPReader(self.url, renew=self._renew, **self._options)
        clone._places.adopt(self._places)
        return clone

    # --- the Source ------------------------------------------------------------------------------

    def probe(
        self,
        first: int | None,
        last: int | None,
        check: Callable[[], object],
        deadline: float = math.inf,
    ) -> Probe:
        """Ask for the bytes `first` to `last` and hold the answer, for the caller to admit or refuse.

        The answer to an earlier question about size or identity is handed over instead, if there is one.
        `check` is called now and then, and raises to end it. `deadline`: see `Source.probe`.

        Raises
        ------
        TransferError
            What prevents it, after `tries` tries.
        """
        if self._used.locked():
            raise ValueError(IN_USE.format(self.name))
        self.transport()  # a held answer of a parent process is none
        self._places.begin()
        if (held := self._probe) is not None:
            self._probe = None
            return held
        backoff = Backoff(0.5, self._options["tries"] - 1, jitter=0.2)
        silences = 0
        fetch = self.request(first, last)
        while True:
            self._await(0.0, fetch, check, deadline)
            sink = BlockSink()
            verdict = self._ask(fetch, sink, check)
            doubtful = verdict.kind is Kind.EMPTY and verdict.status == 416 and first is not None
            if verdict.kind in GOOD and not doubtful:
                return self._pin(fetch, verdict, sink)
            if (moved := self._moved(fetch, verdict, first, last, check)) is not None:
                fetch = moved
                continue
            if (verdict.plain or doubtful) and first is not None:
                first = last = None  # it may understand a request without Range, and says if it is empty
            elif verdict.status == 416 and first:
                first, last = 0, MIB - 1  # it has become smaller: who is it now?
            else:
                silences += isinstance(verdict.error, StalledError)
                if silences >= MOST_SILENCES and verdict.error is not None:
                    raise verdict.error
                self._await(self._retry_at(verdict, backoff), fetch, check, deadline)
                self.retries += 1
            fetch = self.request(first, last)

    def forget(self) -> None:
        """Pin nothing any more: the next probe finds out anew what is there. Transfers are dropped."""
        self.close()
        self._probe = None
        self._places.forget()

    @property
    def is_anonymous(self) -> bool:
        return False

    @property
    def is_encrypted(self) -> bool:
        return self.url.lower().startswith("https:")  # and https never leads to http

    def begin_use(self) -> None:
        if not self._used.acquire(blocking=False):
            raise ValueError(IN_USE.format(self.name))
        self._places.begin()

    def end_use(self) -> None:
        self._used.release()

    def transport(self) -> CurlTransport:
        if self._transport is not None and self._transport.is_abandoned:
            self._transport = self._probe = None  # they are the parent's, on the other side of a fork
            self._used = threading.Lock()
        if self._transport is None:
            self._transport = CurlTransport(self._settings)
        return self._transport

    def another_transport(self) -> CurlTransport:
        return CurlTransport(self._settings)

    def doubt_caches(self) -> None:
        """Ask past all caches on the way from now on."""
        self._places.doubt_caches()

    def request(self, first: int | None, last: int | None) -> Fetch:
        return self._places.request(first, last)

    def host(self, fetch: Fetch | None = None) -> Host:
        return self._places.host() if fetch is None else HOSTS.of(fetch.url)

    def judge(self, fetch: Fetch, response: Response) -> Verdict:
        return self._places.judge(fetch, response, self.vouched)

    def elsewhere(self, fetch: Fetch, verdict: Verdict | None, first: int | None, last: int | None) -> Next:
        return self._places.elsewhere(fetch, verdict, first, last)

    def leaves(self, fetch: Fetch, size: int, seconds: float) -> bool:
        return self._places.leaves(fetch, size, seconds)

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        self._places.ended(fetch, size, seconds)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._places.notes

    def fault(self, ended: Ended) -> Fault:
        spare = self._places.has_other(ended.fetch)
        if ended.outcome is Outcome.PRIVATE:
            refused = PrivateAddressError(origin(ended.fetch.url)[1], ended.detail)
            return Fault(refused, retryable=spare, fatal=not spare)
        words, retryable, pushback = FAULTS[ended.outcome]
        detail = f": {ended.detail}" if ended.detail else ""
        error = NetworkError(f"{words} {self._places.name(ended.fetch)}{detail}", ended.code)
        if ended.outcome is Outcome.PROTOCOL:
            return Fault(ProtocolError(str(error)))
        retryable = retryable or spare
        return Fault(error, retryable=retryable, pushback=pushback, fatal=not retryable)

    def close(self) -> None:
        """Drop every connection; the next request makes new ones."""
        self._probe = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def __enter__(self) -> HTTPReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- the first request -----------------------------------------------------------------------

    def _ask(self, fetch: Fetch, sink: BlockSink, check: Callable[[], object]) -> Verdict:
        """Make a request and judge its answer; a refused body is let go."""
        transport = self.transport()
        transport.start(fetch, sink)
        try:
            event = first_event(transport, fetch, self._options["timeout"], check)
        except LargeFileError:
            transport.stop(fetch)
            transport.poll(0)
            raise
        if isinstance(event, Ended):
            fault = self.fault(event)
            kind = Kind.RETRY if fault.retryable else Kind.GIVE_UP
            return Verdict(kind, reason=str(fault.error), error=fault.error)  # type: ignore[arg-type]
        if event is None:
            transport.stop(fetch)
            transport.poll(0)
            error = StalledError(f"no answer from {self.name} in {self._options['timeout']:g} s")
            return Verdict(Kind.RETRY, reason=str(error), error=error)
        verdict = self.judge(fetch, event.response)
        if verdict.kind not in BODIES:
            transport.refuse(fetch)
            first_event(transport, fetch, 5.0, check)
        return verdict

    def _moved(
        self,
        fetch: Fetch,
        verdict: Verdict,
        first: int | None,
        last: int | None,
        check: Callable[[], object],
    ) -> Fetch | None:
        """The request that follows this one, if there is one, once it is known."""
        self.ended(fetch, 0, 0.0)
        while (moved := self.elsewhere(fetch, verdict, first, last)) is LATER:
            check()
            self.transport().poll(0.1)
        return moved

    def _pin(self, fetch: Fetch, verdict: Verdict, sink: BlockSink) -> Probe:
        size = verdict.identity.size if verdict.identity is not None else 0
        most: int | None = self._options["max_size"]
        if most is not None and (size or 0) > most:
            self.close()  # and with it the body that is held
            raise TooLargeError(self.name, most, size)
        found = self._places.pin(fetch, verdict)
        held = verdict.kind is not Kind.EMPTY
        return Probe(found, fetch, verdict, sink, most) if held else Probe(found)

    def _retry_at(self, verdict: Verdict, backoff: Backoff) -> float:
        """When the first request may be made again; raises if it will not be."""
        error = verdict.error or ProtocolError(verdict.reason)
        if verdict.kind is not Kind.RETRY:
            raise error
        delay = backoff.next_delay(RetryResponse(True, verdict.retry_after))
        if delay is None:
            raise error
        return time.monotonic() + delay

    def _await(self, until: float, fetch: Fetch, check: Callable[[], object], deadline: float) -> None:
        """Wait for the time `until`, and as long as the host of `fetch` has told any download to."""
        while True:
            now, opens_at = time.monotonic(), self.host(fetch).opens_at
            left = max(until, opens_at) - now
            if left <= 0:
                return
            if opens_at > deadline:
                raise too_long(self.name, opens_at - now)
            check()
            self.transport().poll(min(left, 0.1))


def positive(name: str, seconds: float) -> float:
    """A number of seconds above 0, or ValueError."""
    if not 0 < seconds < 1e9:
        raise ValueError(f"{name} is {seconds}, needed is a number of seconds above 0")
    return seconds


def check_renew(renew: Renew | None) -> Renew | None:
    """Something to call, or None; else TypeError."""
    if renew is not None and not callable(renew):
        raise TypeError(f"renew is {renew!r}, needed is a function that makes a new URL of an expired one")
    return renew


def check_mirrors(mirrors: Iterable[str]) -> tuple[str, ...]:
    """URLs, as they are sent; else ValueError, or TypeError for one alone."""
    if isinstance(mirrors, str):
        raise TypeError(f"mirrors is {display_url(mirrors)!r}, needed is a sequence of URLs")
    return tuple(check_url(mirror) for mirror in mirrors)


def check_max_size(size: int | None) -> int | None:
    """A number of bytes, or None for any; else ValueError."""
    if size is not None and (
        isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE
    ):
        raise ValueError(f"max_size is {size!r}, needed is a number of bytes")
    return size


def rebuild(url: str, headers: dict[str, str] | None, options: dict[str, Any]) -> HTTPReader:
    """Unpickle: URL and options, never credentials, and headers only where that was asked for."""
    return HTTPReader(url, headers=headers, **options)
