"""How far what comes may be ahead of the disk, and which contents are too large to be kept in memory.

What has landed and is not on the disk is lost with the power, takes memory that nobody else can have, and is
what the last sync waits for. Above a share of the memory (Linux: about a seventh) the system itself lets a
writer wait, within a write, for seconds; so the limit is below that. And it is what the disk does in a few
seconds, as nobody reads from the servers while it catches up: most of them hang up after 60.
"""

from __future__ import annotations

__all__ = ["backlog_limit", "is_too_large"]

MIB = 1 << 20
#: The limit before anything is known of the disk, and what it never is below or above.
FIRST, LEAST, MOST = 256 * MIB, 16 * MIB, 1024 * MIB
#: The part of the memory that it never is above.
SHARE = 8
#: Seconds that the disk may need for it.
SECONDS = 4.0


def backlog_limit(memory: int, speed: float | None = None) -> int:
    """Bytes that may have landed and not be on the disk.

    Parameters
    ----------
    memory : int
        Of the machine, in bytes; 0: not known.
    speed : float or None
        Bytes a second that the disk takes; None: not known. Infinite: nobody minds how long it takes.

    Examples
    --------
    >>> [backlog_limit(16 << 30, speed) // MIB for speed in (None, 1e6, 100e6, float("inf"))]
    [256, 16, 381, 1024]
    >>> backlog_limit(512 * MIB, 2e9) // MIB
    64
    """
    most = min(MOST, memory // SHARE) if memory else MOST
    return int(min(most, FIRST if speed is None else max(LEAST, SECONDS * speed)))


def is_too_large(content_size: int, memory: int) -> bool:
    """Whether a content in memory would push out much of what others have there.

    Examples
    --------
    >>> is_too_large(100 << 30, 64 << 30), is_too_large(1 << 30, 64 << 30), is_too_large(1 << 30, 0)
    (True, False, False)
    """
    return 0 < memory < 2 * content_size
