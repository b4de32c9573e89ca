"""A body whose end nobody told beforehand: one stream into a file, complete only if its framing says so."""

from __future__ import annotations

from collections.abc import Callable

from largefile.core.ranges import MAX_SIZE
from largefile.core.sink import STEP, BlockSink
from largefile.disk.loose import LooseFile
from largefile.engine.job import Control
from largefile.errors import InternalError
from largefile.wire.exchange import check_whole, receive
from largefile.wire.http import HTTPReader
from largefile.wire.readers import Probe

__all__ = ["fetch_unsized"]


class _Appender:
    """A lane that writes what came to the end of a file, a MiB at a time."""

    def __init__(self, file: LooseFile) -> None:
        self._file = file
        self._buffer = bytearray(STEP)
        self._written = 0

    def settle(self, sink: BlockSink) -> None:
        self.flush(sink)
        sink.place(self._buffer, 0, sink.at + STEP)

    def flush(self, sink: BlockSink) -> None:
        with memoryview(self._buffer)[: sink.at - self._written] as piece:
            self._file.write_at(piece, self._written)
        self._written = sink.at

    def aim(self, sink: BlockSink) -> None:
        sink.aim(self, 0, MAX_SIZE, STEP, MAX_SIZE)
        sink.place(self._buffer, 0, STEP)


def fetch_unsized(
    source: HTTPReader,
    probe: Probe,
    file: LooseFile,
    control: Control,
    timeout: float,
    watch: Callable[[BlockSink], object],
    *,
    any_end: bool = False,
) -> int:
    """Write the body of an answered request to `file`; its size in bytes.

    What is whole, and what `any_end` means, is said at `largefile.wire.exchange.check_whole`.

    Raises
    ------
    NetworkError, StalledError
        The end did not come.
    TooLargeError
        More came than may come.
    """
    if probe.fetch is None or probe.sink is None:
        raise InternalError("an unsized answer without a body")
    sink, lane = probe.sink, _Appender(file)
    try:
        lane.aim(sink)
        sink.limit = sink.stop if probe.most is None else probe.most
        watch(sink)

        def check() -> None:
            control.check()
            watch(sink)

        ended = receive(source.transport(), probe.fetch, sink, timeout, check)
        check_whole(source.name, ended, sink, any_end)
        lane.flush(sink)
        return sink.at
    finally:
        sink.release()
