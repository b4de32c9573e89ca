"""The pycurl driver: many transfers on one CurlMulti, driven by `socket_action` and epoll.

Traps that shape this file:

* A header callback may answer WRITEFUNC_PAUSE at the blank line, which holds the transfer before its
  first body byte. The blank line is delivered once more after `admit`; lines after it are trailers.
* A sink's PAUSE does the same within a body. What libcurl has read by then it keeps (up to BUFFER_SIZE a
  transfer), and delivers from the paused chunk's begin, cut anew, inside of the call that lifts the pause.
* Nothing may be added to, removed from or performed on the multi inside a callback, so callbacks only
  collect news; `poll` hands it out.
* A callback that raises is printed and swallowed. These can not raise: they append to lists.
* `CurlMulti.select` breaks above 1,024 descriptors and there is no wakeup: hence epoll and a socketpair.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pycurl

from largefile.core.sink import BlockSink
from largefile.events import Answered, Ended, Fetch, Outcome, Response
from largefile.rules.content_range import content_length
from largefile.wire.contention import Contention
from largefile.wire.door import Door
from largefile.wire.proxies import without_proxy
from largefile.wire.transport import Accept

__all__ = ["CurlSettings", "CurlTransport"]

#: Body bytes of a refused response that are read and dropped to keep its connection.
DRAIN_LIMIT = 16 * 1024
#: libcurl's receive buffer. Measured: 64 KiB costs 1.7 times the wall time of 2 MiB.
BUFFER_SIZE = 2 * 1024 * 1024

#: Seconds. After a round that took longer, the loop looks at one socket at a time, until one takes less than
#: the other: libcurl reads ten buffers from a socket that never runs dry, and a round of eight such sockets
#: would keep everybody else waiting for 300 ms.
LONG, SHORT = 0.01, 0.0005
ALL = -1  # epoll's word for it

#: CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl has no name for. Without it a proxy's answer to CONNECT
#: comes to the header callback, and would be judged as the server's.
SUPPRESS_CONNECT_HEADERS = 265

OUTCOMES = {
    pycurl.E_OK: Outcome.DONE,
    pycurl.E_PARTIAL_FILE: Outcome.CUT,
    pycurl.E_GOT_NOTHING: Outcome.CUT,
    pycurl.E_WRITE_ERROR: Outcome.HALTED,
    pycurl.E_COULDNT_RESOLVE_HOST: Outcome.RESOLVE,
    pycurl.E_COULDNT_RESOLVE_PROXY: Outcome.RESOLVE,
    pycurl.E_COULDNT_CONNECT: Outcome.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Outcome.TIMEOUT,
    pycurl.E_PEER_FAILED_VERIFICATION: Outcome.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Outcome.TLS,
    pycurl.E_SSL_CERTPROBLEM: Outcome.TLS,
    pycurl.E_SSL_ISSUER_ERROR: Outcome.TLS,
    pycurl.E_SSL_CIPHER: Outcome.TLS,
    pycurl.E_UNSUPPORTED_PROTOCOL: Outcome.PROTOCOL,
    pycurl.E_URL_MALFORMAT: Outcome.PROTOCOL,
    pycurl.E_HTTP2: Outcome.NETWORK,
    92: Outcome.NETWORK,  # CURLE_HTTP2_STREAM, which pycurl has no name for: one transfer was reset
    8: Outcome.PROTOCOL,  # CURLE_WEIRD_SERVER_REPLY: named after FTP in pycurl
}


@dataclass(frozen=True, slots=True)
class CurlSettings:
    """What every transfer of a driver has in common.

    Times are seconds. `ca_file` None leaves the choice to libcurl's own search. Without `allow_private` there
    must be no proxy: it is the proxy that would be judged.
    """

    ca_file: str | None = None
    #: None: by the environment; "": none. Not shown, as it may hold a password.
    proxy: str | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    max_connections: int = 32
    buffer_size: int = BUFFER_SIZE
    user_agent: str = "largefile"
    allow_private: bool = True
    http2: bool = False  # over TLS as agreed on, else by prior knowledge


class _Drain:
    """A write callback that drops a small error body so that its connection can serve again."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def __call__(self, chunk: bytes) -> int:
        self.left -= len(chunk)
        return len(chunk) if self.left >= 0 else 0


class _Transfer:
    """One easy handle at work: collects the head, and knows what its end will mean."""

    __slots__ = (
        "accept",
        "admitted",
        "answered",
        "curl",
        "door",
        "fetch",
        "lines",
        "news",
        "refused",
        "response",
        "sink",
    )

    def __init__(
        self, fetch: Fetch, sink: BlockSink, accept: Accept | None, curl: Any, news: list[Answered | Ended]
    ) -> None:
        self.fetch = fetch
        self.accept = accept
        self.sink = sink
        self.curl = curl
        self.news = news
        self.lines: list[bytes] = []
        self.answered = self.admitted = self.refused = False
        self.response: Response | None = None
        self.door: Door | None = None

    def on_header(self, line: bytes) -> int | None:
        """Called by libcurl for each line of the head, the blank one at its end included."""
        if self.answered:
            return None  # the blank line once more, or a trailer
        if line not in (b"\r\n", b"\n"):
            self.lines.append(line)
            return None
        response = parse_head(self.lines)
        self.lines = []
        if 100 <= response.status < 200 and response.status != 101:
            return None
        self.response = response
        self.answered = True
        if self.is_accepted(response):
            self.admitted = True
            return None
        self.news.append(Answered(self.fetch, response))
        return int(pycurl.WRITEFUNC_PAUSE)

    @property
    def is_paused(self) -> bool:
        """Whether libcurl waits for us: for the verdict on the head, or for a place for more bytes."""
        return self.answered and (not self.admitted or self.sink.held)

    def is_accepted(self, response: Response) -> bool:
        """Whether its body may flow at once. A pause makes libcurl copy what it has read of it: with requests
        of 4 MiB that was a third of everything."""
        try:
            return self.accept is not None and self.accept(self.fetch, response)
        except Exception:  # noqa: BLE001 - asked once more outside of the callback, where it may raise
            return False

    def outcome(self, code: int) -> Outcome:
        if self.refused:
            return Outcome.REFUSED
        if code == pycurl.E_COULDNT_CONNECT and self.door is not None and self.door.is_shut:
            return Outcome.PRIVATE
        outcome = OUTCOMES.get(code, Outcome.NETWORK)
        if outcome is Outcome.DONE and self.response is not None and not is_framed(self.response):
            return Outcome.UNFRAMED
        return outcome


def parse_head(lines: Sequence[bytes]) -> Response:
    """The lines of a head, as libcurl hands them over, as a `Response`."""
    start = lines[0].decode("latin-1").split(None, 2) if lines else []
    version = start[0].partition("/")[2] if start else ""
    status = int(start[1]) if len(start) > 1 and re.fullmatch("[0-9]{3}", start[1]) else 0
    headers: dict[str, str] = {}
    for raw in lines[1:]:
        name, colon, value = raw.decode("latin-1").partition(":")
        if not colon:
            continue
        key, value = name.strip().lower(), value.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Response(status, headers, version)


def is_framed(response: Response) -> bool:
    """Whether the end of the body is told by the message itself (RFC 9112 section 6.3)."""
    return (
        not response.version.startswith("1")
        or "content-length" in response.headers
        or "chunked" in response.headers.get("transfer-encoding", "").lower()
        or response.status in (204, 304)
    )


def is_small(response: Response) -> bool:
    """Whether reading the body and dropping it costs less than another connection."""
    try:
        length = content_length(response.headers)
    except ValueError:
        return False
    return length is not None and length <= DRAIN_LIMIT


class CurlTransport:
    """A `Transport` over libcurl. Handles and connections are reused; one thread owns it."""

    direct = False  # the bytes come in libcurl's own buffer

    def __init__(self, settings: CurlSettings | None = None) -> None:
        self._settings = settings or CurlSettings()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._settings.max_connections)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._timer: float | None = None  # when libcurl wants to be called without an event
        self._idle: list[Any] = []
        self._by_curl: dict[Any, _Transfer] = {}
        self._by_fetch: dict[Fetch, _Transfer] = {}
        self._news: list[Answered | Ended] = []
        self._speed = 0
        self._poller = select.epoll() if hasattr(select, "epoll") else _Poll()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._poller.register(self._wake_r.fileno(), select.POLLIN)
        self._closed = False
        self.waited = 0.0
        self._at_once = 1  # sockets a round
        self._contention = Contention(time.monotonic())
        _transports.add(self)

    @property
    def is_abandoned(self) -> bool:
        """Whether this process is a child of the one whose connections these are."""
        return self in _abandoned

    # --- the contract ----------------------------------------------------------------------------

    def start(self, fetch: Fetch, sink: BlockSink, accept: Accept | None = None) -> None:
        curl = self._idle.pop() if self._idle else self._new_handle()
        transfer = _Transfer(fetch, sink, accept, curl, self._news)
        curl.setopt(pycurl.URL, fetch.url)
        if self._settings.http2:
            plain = fetch.url.lower().startswith("http:")
            how = pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if plain else pycurl.CURL_HTTP_VERSION_2TLS
            curl.setopt(pycurl.HTTP_VERSION, how)
        if fetch.first is None:
            curl.unsetopt(pycurl.RANGE)
        else:
            curl.setopt(pycurl.RANGE, f"{fetch.first}-{'' if fetch.last is None else fetch.last}")
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in fetch.headers])
        curl.setopt(pycurl.HEADERFUNCTION, transfer.on_header)
        curl.setopt(pycurl.WRITEFUNCTION, sink, use_memoryview=True)
        curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, self._speed)
        if not self._settings.allow_private:
            transfer.door = Door()
            transfer.door.watch(curl)
        self._by_curl[curl] = self._by_fetch[fetch] = transfer
        self._multi.add_handle(curl)

    def admit(self, fetch: Fetch) -> None:
        transfer = self._by_fetch.get(fetch)
        if transfer is not None and transfer.answered and not transfer.admitted:
            transfer.admitted = True
            self._unpause(transfer)

    def refuse(self, fetch: Fetch) -> None:
        transfer = self._by_fetch.get(fetch)
        if transfer is None or transfer.admitted:
            return
        transfer.refused = transfer.admitted = True
        if transfer.response is not None and is_small(transfer.response):
            transfer.curl.setopt(pycurl.WRITEFUNCTION, _Drain(DRAIN_LIMIT))
            self._unpause(transfer)
        else:
            self._end(transfer, Outcome.REFUSED)

    def stop(self, fetch: Fetch) -> None:
        transfer = self._by_fetch.get(fetch)
        if transfer is not None:
            self._end(transfer, Outcome.REFUSED if transfer.refused else Outcome.HALTED)

    def resume(self, fetch: Fetch) -> None:
        transfer = self._by_fetch.get(fetch)
        # A sink may be held since another transfer: that must not lift the pause before the verdict.
        if transfer is not None and transfer.admitted and not transfer.refused and transfer.sink.held:
            self._unpause(transfer)

    def throttle(self, bytes_per_second: int) -> None:
        if bytes_per_second != self._speed:
            self._speed = bytes_per_second
            for curl, transfer in self._by_curl.items():
                curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, bytes_per_second)
                if transfer.is_paused:
                    # libcurl (8.23) keeps the pause with the speed, forgets it, and would never go on.
                    curl.pause(pycurl.PAUSE_RECV)

    def poll(self, timeout: float) -> Sequence[Answered | Ended]:
        deadline = time.monotonic() + timeout
        while not self._news:
            now = time.monotonic()
            due = deadline if self._timer is None else min(deadline, self._timer)
            ready = self._poller.poll(max(0.0, due - now), self._at_once)
            self._contention.polled(now, began := time.monotonic())
            self.waited += began - now
            woken = self._act(ready)
            now = time.monotonic()
            if now - began > LONG:
                self._at_once = 1  # epoll hands them out in turn
            elif now - began < SHORT:
                self._at_once = ALL
            if self._timer is not None and now >= self._timer:
                self._timer = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            if woken or time.monotonic() >= deadline:
                break
        news, self._news[:] = list(self._news), []
        return news

    def wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except (BlockingIOError, OSError):
            return  # it is awake enough, or closed

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for transfer in list(self._by_fetch.values()):
            self._multi.remove_handle(transfer.curl)
            transfer.curl.close()
        for curl in self._idle:
            curl.close()
        self._by_curl.clear()
        self._by_fetch.clear()
        self._idle.clear()
        self._multi.close()
        self._poller.close()
        self._wake_r.close()
        self._wake_w.close()

    # --- how -------------------------------------------------------------------------------------

    def _new_handle(self) -> Any:
        settings = self._settings
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        curl.setopt(pycurl.HTTP09_ALLOWED, 0)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(settings.connect_timeout * 1000))
        curl.setopt(pycurl.BUFFERSIZE, settings.buffer_size)
        curl.setopt(pycurl.TCP_KEEPALIVE, 1)
        curl.setopt(pycurl.USERAGENT, settings.user_agent)
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        if settings.ca_file is not None:
            curl.setopt(pycurl.CAINFO, settings.ca_file)
        if settings.proxy is not None:
            curl.setopt(pycurl.PROXY, settings.proxy)
        return curl

    def _unpause(self, transfer: _Transfer) -> None:
        # The pause was asked for in a callback that has returned since, so the handle is paused now.
        # What libcurl has already read of the body goes to the sink inside this call: if the sink takes no
        # more of it (it was halted a moment ago), the transfer ends here.
        try:
            transfer.curl.pause(pycurl.PAUSE_CONT)
        except pycurl.error as error:
            code, text = error.args
            self._end(transfer, transfer.outcome(code), code, text)
        self._timer = time.monotonic()

    def _on_socket(self, event: int, fd: int, multi: Any, data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            self._unregister(fd)
            return
        mask = (select.POLLIN if event & pycurl.POLL_IN else 0) | (
            select.POLLOUT if event & pycurl.POLL_OUT else 0
        )
        try:
            self._poller.modify(fd, mask)
        except (FileNotFoundError, KeyError):
            self._poller.register(fd, mask)

    def _unregister(self, fd: int) -> None:
        try:
            self._poller.unregister(fd)
        except (OSError, KeyError):
            return  # closed before it was taken out

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _act(self, ready: Sequence[tuple[int, int]]) -> bool:
        """Tell libcurl which sockets are ready; True if somebody woke us."""
        woken = False
        for fd, mask in ready:
            if fd == self._wake_r.fileno():
                woken = True
                self._drain_wake()
                continue
            what = 0
            if mask & (select.POLLIN | select.POLLHUP):
                what |= pycurl.CSELECT_IN
            if mask & select.POLLOUT:
                what |= pycurl.CSELECT_OUT
            if mask & select.POLLERR:
                what |= pycurl.CSELECT_ERR
            self._multi.socket_action(fd, what)
        return woken

    def _drain_wake(self) -> None:
        try:
            while self._wake_r.recv(4096):
                pass
        except BlockingIOError:
            return

    def _collect(self) -> None:
        """Turn libcurl's finished transfers into news."""
        more = 1
        while more:
            more, done, failed = self._multi.info_read()
            for curl in done:
                self._finish(curl, pycurl.E_OK, "")
            for curl, code, text in failed:
                self._finish(curl, code, text)

    def _finish(self, curl: Any, code: int, text: str) -> None:
        transfer = self._by_curl.get(curl)
        if transfer is not None:
            outcome = transfer.outcome(code)
            if outcome is Outcome.PRIVATE and transfer.door is not None:
                text = transfer.door.refused or ""
            self._end(transfer, outcome, code, text)

    def _end(self, transfer: _Transfer, outcome: Outcome, code: int = 0, detail: str = "") -> None:
        curl = transfer.curl
        del self._by_curl[curl], self._by_fetch[transfer.fetch]
        # HTTP/2 would keep the connection of a transfer that ends early, however bad it is.
        curl.setopt(pycurl.FORBID_REUSE, outcome not in (Outcome.DONE, Outcome.REFUSED))
        self._multi.remove_handle(curl)
        curl.setopt(pycurl.FORBID_REUSE, 0)
        curl.unsetopt(pycurl.WRITEFUNCTION)
        curl.unsetopt(pycurl.HEADERFUNCTION)
        if transfer.door is not None:
            transfer.door.leave(curl)
        self._idle.append(curl)
        # An answer that nobody has seen yet is void now.
        self._news[:] = [n for n in self._news if n.fetch is not transfer.fetch]
        self._news.append(Ended(transfer.fetch, outcome, without_proxy(detail), code))


#: After a fork the child must neither use nor close what it shares with its parent: closing a TLS connection
#: says so to the server. What is in this list is never freed.
_transports: weakref.WeakSet[CurlTransport] = weakref.WeakSet()
_abandoned: list[CurlTransport] = []


def _after_fork_in_child() -> None:
    _abandoned.extend(_transports)
    for transport in _abandoned:
        transport._closed = True
    _transports.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


class _Poll:
    """`select.poll` with epoll's manners, for systems without epoll."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout: float, maxevents: int = ALL) -> list[tuple[int, int]]:
        return self._poll.poll(timeout * 1000)  # it knows no turns

    def close(self) -> None:
        return None
