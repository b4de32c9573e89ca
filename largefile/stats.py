"""What a download has done so far, and how it ended: the same words for callers and for ``--json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["DownloadStats", "DownloadStatus", "StreamingStatus"]


@dataclass(frozen=True, slots=True)
class DownloadStats:
    """One moment of a download. Every byte and every block is counted once.

    Go: ``largefile.DownloadStats``, and more.

    Examples
    --------
    >>> DownloadStats(download_size=100, cached_or_streamed_bytes=25).fraction
    0.25
    """

    #: Bytes and blocks in place now, resumed ones included.
    cached_or_streamed_bytes: int = 0
    cached_or_streamed_blocks: int = 0
    #: Failures of the cache or the disk.
    cache_errors: int = 0
    #: Body bytes that came over the wire, wanted or not, and blocks put in place by this run.
    downloaded_bytes: int = 0
    downloaded_blocks: int = 0
    #: The whole content, in bytes and in blocks.
    download_size: int = 0
    download_blocks: int = 0
    #: Requests made again after a failure, and failures seen.
    download_retries: int = 0
    download_errors: int = 0
    #: Passes over the outstanding blocks.
    iterations: int = 0
    #: Bytes that an earlier run had left in place.
    resumed_bytes: int = 0
    #: Bytes per second over the last few seconds.
    rate: float = 0.0
    #: Transfers under way now.
    connections: int = 0
    #: ``"waiting"`` (for another process), ``"probing"``, ``"reserving"``, ``"downloading"``,
    #: ``"verifying"``, ``"done"`` or ``"stopped"``.
    phase: str = "downloading"
    #: Seconds since the start.
    elapsed: float = 0.0

    @property
    def fraction(self) -> float:
        """How much is in place, from 0.0 to 1.0."""
        return self.cached_or_streamed_bytes / self.download_size if self.download_size else 0.0


@dataclass(frozen=True, slots=True)
class DownloadStatus(DownloadStats):
    """How a download ended. Go: ``largefile.DownloadStatus``, and more."""

    complete: bool = False
    #: Whether the same call goes on from here.
    resumable: bool = False
    #: Seconds.
    duration: float = 0.0
    #: Where the bytes are.
    path: str | None = None
    #: The validators that the server gave: ``{"etag": …, "last_modified": …, "size": …}``.
    identity: dict[str, Any] = field(default_factory=dict)
    #: What vouches for the bytes: ``"digest"`` (the caller's), ``"server-digest"`` (one that
    #: the server's header fields had), ``"strong-etag"``, ``"last-modified"`` or ``"size"``.
    verified_by: str | None = None
    #: ``"sha256:…"``, of the content, if it was compared with one.
    digest: str | None = None
    block_size: int = 0
    #: Remarks that a person should see: why it restarted, that the server has no ranges, …
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stats: DownloadStats, **more: Any) -> Self:
        """The counts of `stats`, and how it ended."""
        counts = {name: getattr(stats, name) for name in DownloadStats.__slots__}
        return cls(**(counts | more))

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, ready for ``json.dumps``."""
        return asdict(self)

    def __fspath__(self) -> str:
        if self.path is None:
            raise TypeError("this download has no path")
        return self.path


@dataclass(frozen=True, slots=True)
class StreamingStatus(DownloadStatus):
    """How a stream ended. Go: ``largefile.StreamingStatus``."""

    #: Blocks that came before the block in front of them, and the most that waited at once.
    out_of_order: int = 0
    max_out_of_order: int = 0
