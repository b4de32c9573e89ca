"""The digest of the whole content, on its own thread, behind the contiguous head."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from largefile.core.byteranges import ByteRanges

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Digester"]

PIECE = 1 << 20


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
