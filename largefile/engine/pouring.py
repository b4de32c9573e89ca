"""From a source to a reader, in order: what `Delivery` is for a file, for a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from largefile.core.ranges import num_blocks
from largefile.core.reorder import Block
from largefile.engine.flow import Feed, Flow
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.passage import Passage
from largefile.engine.reporter import reporting
from largefile.engine.ring import Ring, RingStore
from largefile.engine.session import Session, Shape
from largefile.engine.store import Store
from largefile.errors import LargeFileError, ProtocolError, UnsizedSourceError
from largefile.rules.digests import parse_digest
from largefile.rules.identity import Identity, describe, vouched_by
from largefile.rules.sizing import auto_block_size, stream_window
from largefile.stats import DownloadStats, StreamingStatus
from largefile.wire.readers import MIB, Probe, Source

if TYPE_CHECKING:
    from largefile.disk.cache import LocalDownloadCache

__all__ = ["Pouring", "PouringOptions"]

#: Most bytes of one request, so that the head of a stream does not wait for one long transfer.
MAX_SPAN = 8 * MIB
#: A window of so many blocks does not run full while a reader naps.
ROOM_FOR_NAPS = 8
#: What a server claims must not decide how much memory a stream takes: its largest block, and content.
MAX_BLOCK, MOST = 16 * MIB, 1 << 50


@dataclass(frozen=True, slots=True)
class PouringOptions:
    """What `StreamingDownloader` passes on; see there. Sizes are bytes."""

    cache: LocalDownloadCache | None = None
    offset: int = 0
    window: int | None = None
    block_size: int | None = None
    digest: str | None = None
    background: bool = True
    durable: bool = True


class Pouring:
    """One content on its way to one reader: asks for the first bytes, and sets up what brings the rest.

    Raises
    ------
    ValueError
        For a size that does not fit: of the cache, the window, or the offset.
    TransferError
        If the first request fails.
    """

    def __init__(
        self,
        source: Source,
        control: Control,
        session: SessionOptions,
        options: PouringOptions,
        progress: Callable[[DownloadStats], object] | None = None,
    ) -> None:
        self._source = source
        self._control = control
        self._session = session if options.background else session._replace(threads=1)
        self._options = options
        self._progress = progress
        self._digest = parse_digest(options.digest) if options.digest is not None else None
        if options.window is not None and (not isinstance(options.window, int) or options.window < 1):
            raise ValueError(f"window is {options.window!r}, needed is a number of bytes from 1 on")
        probe = self._ask()
        # The server's word counts where all is read, and the caller says nothing.
        silent = self._digest is None and not options.offset
        self._said = probe.identity.said if silent else None
        self.identity = probe.identity
        self.size = probe.identity.size  #: bytes; None: the source does not say
        self.ring: Ring | None = None
        self.head = 0  #: the first block that is wanted
        self._entered = contextlib.ExitStack()  # left when the engine is over
        self._entered.callback(self._let_go, probe)
        try:
            self.block_size = self._choose_block_size()
            self.flow = self._pass_on(probe) if self.size is None else self._pour(probe, self.size)
        except BaseException:
            self._entered.close()
            raise

    def _ask(self) -> Probe:
        """The first answer: to a request for what is wanted first, and for no more than the window."""
        options, size = self._options, self._options.block_size or MIB
        window = stream_window(options.window, self._session.concurrency, size, None)
        first, last = options.offset // size, options.offset // size + window
        if options.cache is not None:
            first, last = gap(options.cache, first, last)
        # A span does not go round the end of the ring: what is asked for beyond that would be thrown away.
        last = min(last, first - first % window + window)
        stop = min(last * size, first * size + MIB) if first < last else first * size + 1
        return self._source.probe(first * size, stop - 1, self._control.check, self._control.deadline)

    def _choose_block_size(self) -> int:
        cache, offset = self._options.cache, self._options.offset
        if self.size is None:
            if cache is not None or offset:
                raise UnsizedSourceError(f"{self._source.name} does not say how large it is")
        elif offset > self.size:
            raise ValueError(f"offset is {offset}, beyond a content of {self.size} bytes")
        elif cache is not None and cache.content_size != self.size:
            raise ValueError(f"cache size {cache.content_size} does not match file size {self.size}")
        if cache is not None:
            return cache.block_size
        if self.size is not None and self.size > MOST:
            raise ProtocolError(f"{self._source.name} says that it has {self.size} bytes: more than a PiB")
        return self._options.block_size or min(auto_block_size(self.size or 0), MAX_BLOCK)

    def _pour(self, probe: Probe, size: int) -> Flow:
        options, block_size, cache = self._options, self.block_size, self._options.cache
        # Of a last block nothing is wanted where the offset is its end.
        head = options.offset // block_size if options.offset < size else num_blocks(size, block_size)
        self.head = head
        window = stream_window(options.window, self._session.concurrency, block_size, size)
        feed: Feed
        store: Store
        if cache is not None:
            from largefile.engine.cachefeed import CacheFeed  # most streams have no cache

            feed, store, pin = CacheFeed(cache, head), cache, cache.pin
            digest = ":".join(self._digest) if self._digest is not None else None
            expected = cache.identity._replace(digest=digest)
        else:
            feed = store = self.ring = RingStore(size, block_size, window, head)
            expected, pin = Identity(None, None, size), None
        shape = Shape(window=window, head=head, max_span=MAX_SPAN)
        session = Session(self._source, store, self._control, self._session, pin=pin, shape=shape)
        if cache is not None:
            self._entered.enter_context(cache.filling())
        # Here, and not by the engine: what the cache holds must not be read before it is known whose it is.
        session.begin(expected, probe=self._useful(probe, store, shape))
        self._entered.callback(session.end)  # also where no engine comes about

        def begin() -> None:
            if cache is not None:
                from largefile.engine.committer import Committer
                from largefile.engine.digester import AHEAD

                def passed() -> int:
                    """A reader may be within what it took last, and the digest so far behind it."""
                    return max(0, feed.freed - AHEAD) * block_size

                committer = Committer(cache, durable=options.durable, passed=passed)
                self._entered.enter_context(committer)
            self._entered.enter_context(reporting(session.stats, self._progress, self._control))

        return self._flow(session, feed, begin, window)

    def _useful(self, probe: Probe, store: Store, shape: Shape) -> Probe:
        """The answer; without its body, unless that begins with the first byte that may come now."""
        begins = (probe.fetch.first or 0) if probe.fetch is not None else -1
        missing = store.byte_ranges.bitmap.find_clear(shape.head, shape.head + (shape.window or 0))
        if missing is not None and begins == missing * store.block_size:
            return probe
        self._let_go(probe)
        return Probe(probe.identity)

    def _let_go(self, probe: Probe) -> None:
        """End the answered request, if nobody has."""
        if probe.fetch is not None:
            self._source.transport().stop(probe.fetch)

    def _pass_on(self, probe: Probe) -> Flow:
        """Without a size: one body, as it comes."""
        window = stream_window(self._options.window, self._session.concurrency, self.block_size, None)
        self.ring = Ring(window, self.block_size)
        passage = Passage(
            self._source,
            probe,
            self.ring,
            self._control,
            self._session,
            any_end=(self._digest or self._said) is not None,
        )

        def begin() -> None:
            self._entered.enter_context(reporting(passage.stats, self._progress, self._control))
            passage.begin()

        return self._flow(passage, self.ring, begin, window)

    def _flow(self, engine: Session | Passage, feed: Feed, begin: Callable[[], None], window: int) -> Flow:
        return Flow(
            self._source.name,
            engine,
            feed,
            self._control,
            begin,
            self._entered,
            digest=parse_digest(self._said.digest) if self._said is not None else self._digest,
            field=self._said and self._said.field,
            background=self._options.background,
            naps=window >= ROOM_FOR_NAPS,
            settles=self._options.cache is not None,
        )

    # --- what the reader does --------------------------------------------------------------------

    def next_block(self, number: int) -> Block | memoryview | None:
        """See `Flow.next_block`; its errors carry the `status` reached."""
        try:
            return self.flow.next_block(number)
        except LargeFileError as error:
            if error.status is None:
                error.status = self.status()
            raise

    def cancel(self) -> None:
        """Stop the transfers."""
        self._control.cancel()

    def close(self, then: Callable[[], object]) -> None:
        """End everything within a second, and call `then`; see `Flow.close`."""
        self.flow.close(then)

    def status(self) -> StreamingStatus:
        """How far it came, or how it ended."""
        flow, disorder = self.flow, self.ring.disorder if self.ring is not None else (0, 0)
        stats, error = flow.stats(), flow.error
        return StreamingStatus.of(
            stats,
            complete=flow.complete,
            resumable=isinstance(error, LargeFileError) and error.resumable,
            duration=flow.duration,
            path=self._options.cache.path if self._options.cache is not None else None,
            identity=describe(self.identity),
            verified_by=vouched_by(self.identity, flow.digest, self._said) if flow.complete else None,
            digest=flow.digest,
            block_size=self.block_size,
            out_of_order=disorder[0],
            max_out_of_order=disorder[1],
            notes=flow.notes,
        )


def gap(cache: LocalDownloadCache, first: int, stop: int) -> tuple[int, int]:
    """The first run of blocks from `first` on, before `stop`, that `cache` lacks; empty if it lacks none."""
    bitmap = cache.byte_ranges.bitmap
    missing = bitmap.find_clear(first, stop)
    if missing is None:
        return first, first
    found = bitmap.find_set(missing, stop)
    return missing, stop if found is None else found
