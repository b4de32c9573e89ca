"""The digest of a content, on a thread of its own: behind the contiguous head, or of what a reader takes."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from largefile.core.byteranges import ByteRanges

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Digester", "Hasher", "digest_of"]

PIECE = 1 << 20
#: Most blocks that are fed and wait: of a cache each is a map, and a process may have some ten thousand.
AHEAD = 256


@runtime_checkable
class Readable(Protocol):
    """What is hashed: places that can be read once their blocks are in place."""

    @property
    def byte_ranges(self) -> ByteRanges: ...
    def readinto(self, buffer: Buffer, offset: int) -> int: ...


class Digester:
    """Hashes a store's bytes in order, as they arrive, from the page cache.

    hashlib's state can not be saved, so after a resume it begins at 0 again, beside the transfer.

    Parameters
    ----------
    algorithm
        A name that hashlib knows.
    store
        Whose bytes.
    """

    def __init__(self, algorithm: str, store: Readable) -> None:
        self.algorithm = algorithm
        self.position = 0  #: bytes hashed so far
        self._hash = hashlib.new(algorithm)
        self._store = store
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="largefile-digest", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the result
            self._error = error

    def _follow(self) -> None:
        ranges, buffer = self._store.byte_ranges, bytearray(PIECE)
        size = ranges.content_length
        with memoryview(buffer) as view:
            while self.position < size and not self._stopped:
                tail = ranges.wait_tail(self.position - 1, timeout=0.25)
                while tail is not None and self.position <= tail.last and not self._stopped:
                    piece = view[: min(PIECE, tail.last + 1 - self.position)]
                    self._store.readinto(piece, self.position)
                    self._hash.update(piece)
                    self.position += len(piece)

    def result(self, check: Callable[[], object]) -> str:
        """Wait until all is hashed; ``"sha256:…"``. Only when every block is in place.

        `check` is called now and then, and raises to end it.
        """
        while self._thread.is_alive():
            self._thread.join(0.1)
            check()
        if self._error is not None:
            raise self._error
        return f"{self.algorithm}:{self._hash.hexdigest()}"

    def stop(self) -> None:
        """End early."""
        self._stopped = True
        self._thread.join()


def digest_of(store: Readable, algorithm: str, check: Callable[[], object]) -> str:
    """The digest of a content that is all in place; as `Digester.result`."""
    digester = Digester(algorithm, store)
    try:
        return digester.result(check)
    finally:
        digester.stop()


class Hasher:
    """Hashes blocks in the order they are fed. What is fed is held, as a view, until it is hashed.

    Blocks are numbered, and one that is fed again is hashed once: who was interrupted feeds it again.

    Parameters
    ----------
    algorithm
        A name that hashlib knows.
    hashed
        Called on the hashing thread whenever a view was let go of.

    Examples
    --------
    >>> hasher = Hasher("sha256")
    >>> hasher.feed(0, b"ab")
    >>> hasher.feed(0, b"ab")
    >>> hasher.feed(1, b"c")
    >>> hasher.result(lambda: None)[:8]
    'ba7816bf'
    """

    def __init__(self, algorithm: str, hashed: Callable[[], object] = lambda: None) -> None:
        self._hash = hashlib.new(algorithm)
        self._hashed = hashed
        # Its put is one step: a signal's handler that raises can not leave a lock of it held.
        self._queue: queue.SimpleQueue[tuple[int, memoryview] | None] = queue.SimpleQueue()
        self._next = 0  # blocks before this one are hashed
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._over = False
        self._working = threading.Lock()  # held by the thread until it is over
        self._working.acquire()
        self._thread = threading.Thread(target=self._run, name="largefile-digest", daemon=True)
        self._thread.start()

    def feed(self, number: int, block: Buffer) -> None:
        """Hash block `number` next. Waits while too much is not yet hashed; raises what ended the hashing."""
        while self._queue.qsize() >= AHEAD and self._error is None:
            time.sleep(0.002)
        if self._error is not None:
            raise self._error
        self._queue.put((number, memoryview(block)))

    def _run(self) -> None:
        try:
            while (fed := self._queue.get()) is not None:
                number, view = fed
                with view:
                    if number == self._next:
                        self._update(view)
                        self._next += 1
                del fed, view
                self._hashed()
        except BaseException as error:  # noqa: BLE001 - told to whoever feeds, or waits for the result
            self._error = error
        finally:
            self._over = True
            self._working.release()

    def _update(self, view: memoryview) -> None:
        # By the piece: a block may have a GiB, and `stop` does not wait for it.
        for at in range(0, len(view), PIECE):
            if not self._stopped:
                self._hash.update(view[at : at + PIECE])

    def result(self, check: Callable[[], object]) -> str:
        """Wait until all is hashed; the digest in hexadecimal. `check` is called meanwhile and at the end."""
        self._end()
        # Not by the thread's `join`: one that is interrupted takes a thread for dead that is not.
        while not self._over:
            check()
            if self._working.acquire(timeout=0.1):
                self._working.release()
        check()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End, at once."""
        self._stopped = True
        self._end()
        self._thread.join()

    def _end(self) -> None:
        if not self._ended:
            self._queue.put(None)
            self._ended = True
