"""The thread driver: any `Reader`'s ranges, each read by a thread, as a `Transport`.

A Reader's call can not be interrupted. So that a stop is answered at once and a place still never has
two writers, a stopped thread is disowned: private memory takes the place of the file's under its view
(`BlockSink.revoke`), and it never touches the sink again, whenever its read returns.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import BinaryIO

from largefile.core.sink import PAUSE, BlockSink
from largefile.errors import IncompleteError, ReadError
from largefile.events import Answered, Ended, Fetch, Outcome, Response
from largefile.rules.actions import Fault
from largefile.rules.hosts import Host
from largefile.rules.identity import Identity
from largefile.rules.verdict import Kind, Verdict
from largefile.wire.readers import Probe, Reader
from largefile.wire.transport import Accept

__all__ = ["ReaderSource", "ThreadTransport"]

#: Bytes asked of a reader at a time where its bytes can not go straight to their place.
PIECE = 256 * 1024


class _Job:
    """One range being read by one thread."""

    __slots__ = ("again", "disowned", "ended", "fetch", "go", "lock", "reading", "sink")

    def __init__(self, fetch: Fetch, sink: BlockSink) -> None:
        self.fetch = fetch
        self.sink = sink
        self.lock = threading.Lock()  # held while the sink is touched: disowned, it may be aimed elsewhere
        self.go = threading.Event()  # judged
        self.again = threading.Event()  # a sink that held may be asked again
        self.reading = False  # inside the reader, maybe with a view of the sink's place
        self.disowned = False
        self.ended = False


class ThreadTransport:
    """A `Transport` over a `Reader`; one thread for each fetch under way."""

    direct = True

    def __init__(self, reader: Reader) -> None:
        self.waited = 0.0
        self._reader = reader
        self._jobs: dict[Fetch, _Job] = {}
        self._news: deque[Answered | Ended] = deque()
        self._bell = threading.Condition()
        self._woken = False
        self._closed = False

    def start(self, fetch: Fetch, sink: BlockSink, accept: Accept | None = None) -> None:
        job = self._jobs[fetch] = _Job(fetch, sink)
        threading.Thread(target=self._run, args=(job,), name="largefile-reader", daemon=True).start()

    def admit(self, fetch: Fetch) -> None:
        if (job := self._jobs.get(fetch)) is not None:
            job.go.set()

    def refuse(self, fetch: Fetch) -> None:
        if (job := self._jobs.get(fetch)) is not None:
            self._disown(job, Outcome.REFUSED)

    def stop(self, fetch: Fetch) -> None:
        if (job := self._jobs.get(fetch)) is not None:
            self._disown(job, Outcome.HALTED)

    def resume(self, fetch: Fetch) -> None:
        if (job := self._jobs.get(fetch)) is not None:
            job.again.set()  # whether it is held is its thread's to know: it may be about to be

    def throttle(self, bytes_per_second: int) -> None:
        return None  # a Reader reads at its own speed

    def poll(self, timeout: float) -> Sequence[Answered | Ended]:
        began = time.monotonic()
        with self._bell:
            self._bell.wait_for(lambda: self._news or self._woken, timeout)
            self.waited += time.monotonic() - began
            self._woken = False
            news = list(self._news)
            self._news.clear()
        for event in news:
            if isinstance(event, Ended):
                self._jobs.pop(event.fetch, None)
        return news

    def wake(self) -> None:
        with self._bell:
            self._woken = True
            self._bell.notify_all()

    def close(self) -> None:
        self._closed = True
        for job in list(self._jobs.values()):
            self._disown(job, Outcome.HALTED)
        self._jobs.clear()

    # --- ends ------------------------------------------------------------------------------------

    def _disown(self, job: _Job, outcome: Outcome) -> None:
        with job.lock:
            job.disowned = True
            job.sink.halt()
            if job.reading:
                job.sink.revoke()
        job.go.set()
        job.again.set()
        self._tell(job, Ended(job.fetch, outcome))

    def _tell(self, job: _Job, event: Answered | Ended) -> None:
        with self._bell:
            if job.ended:
                return  # of two ends the first counts
            job.ended = isinstance(event, Ended)
            self._news.append(event)
            self._bell.notify_all()

    # --- in the job's own thread -----------------------------------------------------------------

    def _run(self, job: _Job) -> None:
        try:
            self._read(job)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the result
            self._tell(job, Ended(job.fetch, Outcome.READER, str(error), error=error))

    def _read(self, job: _Job) -> None:
        first, last = job.fetch.first or 0, job.fetch.last or 0
        with self._reader.get_reader(first, last) as stream:
            self._tell(job, Answered(job.fetch, Response(206)))
            job.go.wait()
            while not job.disowned:
                if not self._step(job, stream):
                    break
        with job.lock:
            if job.disowned:
                return
            short = job.sink.at < job.sink.limit
            halted = job.sink.halted or job.sink.error is not None
        outcome = Outcome.HALTED if halted else Outcome.CUT if short else Outcome.DONE
        self._tell(job, Ended(job.fetch, outcome))

    def _step(self, job: _Job, stream: BinaryIO) -> bool:
        """Read once; False when nothing more is to come."""
        sink = job.sink
        with job.lock:
            if job.disowned or sink.halted or sink.error is not None or sink.at >= sink.limit:
                return False
            room, left = sink.room(), sink.limit - sink.at
            job.reading = True
        data = b"" if room is not None else stream.read(min(PIECE, left))
        size = read_into(stream, room) if room is not None else len(data)
        with job.lock:
            job.reading = False
            if job.disowned or not size:
                return False
            if room is not None:
                return sink.advance(size)
        return self._deliver(job, data[:left])

    def _deliver(self, job: _Job, data: bytes) -> bool:
        """Put `data` into the sink, as often as that answers PAUSE; False when it takes no more."""
        while True:
            with job.lock:
                if job.disowned:
                    return False
                # Before the sink is asked: a `resume` between its answer and the wait below must count.
                job.again.clear()
                taken = job.sink(data)
            if taken != PAUSE:
                return taken > 0
            job.again.wait()


def read_into(stream: BinaryIO, room: memoryview) -> int:
    """Fill some of `room`; 0 at the end. For streams with and without ``readinto``."""
    if hasattr(stream, "readinto"):
        return stream.readinto(room) or 0
    data = stream.read(len(room))
    room[: len(data)] = data
    return len(data)


class ReaderSource:
    """Any `Reader` as a source for the engine.

    There is nothing to judge in what a Reader gives but its length, and nothing to tell whether it is the
    same content as last time but its size, and its digest if it names one.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._transport: ThreadTransport | None = None
        self._host = Host()

    @property
    def name(self) -> str:
        return self._reader.name

    @property
    def is_anonymous(self) -> bool:
        return True

    @property
    def is_encrypted(self) -> bool:
        return False  # that is the Reader's business

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def probe(
        self, first: int, last: int | None, check: Callable[[], object], deadline: float = math.inf
    ) -> Probe:
        size, _ = self._reader.content_length_and_block_size()
        if not isinstance(size, int) or size < 0:
            raise ReadError(f"{self.name} says that it has {size!r} bytes", retryable=False)
        return Probe(Identity(None, None, size, self._reader.digest()))

    def begin_use(self) -> None:
        return None  # whoever runs it has made it

    def end_use(self) -> None:
        return None

    def transport(self) -> ThreadTransport:
        if self._transport is None:
            self._transport = ThreadTransport(self._reader)
        return self._transport

    def another_transport(self) -> None:
        return None  # its threads are many already

    def request(self, first: int, last: int) -> Fetch:
        return Fetch(first, last, self.name)

    def host(self, fetch: Fetch | None = None) -> Host:
        return self._host

    def judge(self, fetch: Fetch, response: Response) -> Verdict:
        return Verdict(Kind.ACCEPT, last=fetch.last)

    def elsewhere(self, fetch: Fetch, verdict: Verdict | None, first: int, last: int) -> Fetch | None:
        return None

    def leaves(self, fetch: Fetch, size: int, seconds: float) -> bool:
        return False

    def ended(self, fetch: Fetch, size: int, seconds: float) -> None:
        return None  # nobody waits for it

    def fault(self, ended: Ended) -> Fault:
        error = ended.error
        if isinstance(error, ReadError):
            return Fault(error, retryable=error.retryable, retry_after=error.retry_after)
        if isinstance(error, (OSError, EOFError)):
            return Fault(ReadError(f"{self.name}: {error}"))
        if error is not None:
            # Not a failure to read but a bug of the reader's: no second call will mend it.
            fault = ReadError(f"{self.name}: {type(error).__name__}: {error}", retryable=False)
            fault.__cause__ = error
            return Fault(fault, retryable=False)
        return Fault(IncompleteError(f"{self.name} gave fewer bytes than it was asked for"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
