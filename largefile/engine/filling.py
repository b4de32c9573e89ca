"""From a URL into a caller's buffer: a download without a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from largefile.disk.buffers import BufferStore, check_fillable
from largefile.engine.job import Control
from largefile.engine.options import SessionOptions
from largefile.engine.session import Session
from largefile.errors import DigestMismatchError, LargeFileError, UnsizedSourceError
from largefile.rules.digests import parse_digest
from largefile.rules.identity import describe, vouched_by
from largefile.rules.sizing import auto_block_size
from largefile.stats import DownloadStats, DownloadStatus
from largefile.wire.http import HTTPReader
from largefile.wire.readers import MIB

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Filling"]


class ReadableBuffer(BufferStore):
    """A buffer whose finished blocks can be hashed while others come."""

    def readinto(self, buffer: Buffer, offset: int) -> int:
        """Fill `buffer` from position `offset`; its size."""
        with memoryview(buffer).cast("B") as to, memoryview(self._buffer).cast("B") as found:
            to[:] = found[offset : offset + len(to)]
            return len(to)


class Filling:
    """Fills `target` with the content of `source`. `run` once; `stats` from any thread."""

    def __init__(
        self,
        source: HTTPReader,
        target: Buffer,
        control: Control,
        options: SessionOptions,
        digest: str | None,
    ) -> None:
        self._source = source
        self._target = target
        self._control = control
        self._options = options
        self._digest = ":".join(parse_digest(digest)) if digest is not None else None
        self._session: Session | None = None
        check_fillable(target)

    def run(self) -> DownloadStatus:
        """Fill; the errors of `largefile.download`, each with the `status` reached."""
        try:
            # The view keeps a bytearray from being resized, and a map from being closed, under the transfers.
            with self._source, memoryview(self._target):
                return self._fill()
        except LargeFileError as error:
            error.status = DownloadStatus.of(self.stats(), resumable=False)
            raise

    def _fill(self) -> DownloadStatus:
        probe = self._source.probe(0, MIB - 1, self._control.check, self._control.deadline)
        size = probe.identity.size
        if size is None:
            raise UnsizedSourceError(f"{self._source.name} does not say how large it is")
        store = ReadableBuffer(self._target, size, self._source.block_size or auto_block_size(size))
        self._session = session = Session(self._source, store, self._control, self._options)
        said = probe.identity.said if self._digest is None else None
        wanted = said.digest if said is not None else self._digest
        found = session.run(digest_by=wanted.partition(":")[0] if wanted else None, probe=probe)
        if found != wanted:
            raise DigestMismatchError(self._source.name, str(found), str(wanted), said and said.field)
        stats = replace(session.stats(), phase="done")
        return DownloadStatus.of(
            stats,
            complete=True,
            duration=stats.elapsed,
            identity=describe(probe.identity),
            verified_by=vouched_by(probe.identity, found, said),
            digest=found,
            block_size=store.block_size,
            notes=session.notes,
        )

    def stats(self) -> DownloadStats:
        """A snapshot, from any thread."""
        return self._session.stats() if self._session is not None else DownloadStats(phase="probing")
