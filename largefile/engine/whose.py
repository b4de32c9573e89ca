"""Whose bytes somebody else's cache holds, as far as this process has put them there.

A `DownloadCache` has no place for an identity. So it is remembered here, for as long as the cache object
lives; of one that can not be referenced weakly nothing is remembered.
"""

from __future__ import annotations

import contextlib
import weakref

from largefile.rules.identity import Identity

__all__ = ["recall", "remember"]

# By id, and not by value: a cache may compare equal to another one, and need not be hashable. An entry goes
# when its object does, before that id can be another one's; who asks compares the object all the same.
_known: dict[int, tuple[weakref.ref[object], Identity]] = {}


def remember(cache: object, identity: Identity) -> None:
    """From now on the blocks that come into `cache` are of this version.

    Examples
    --------
    >>> class Cache:
    ...     pass
    >>> cache = Cache()
    >>> remember(cache, Identity('"v1"', None, 9))
    >>> recall(cache).etag, recall(Cache())
    ('"v1"', None)
    """
    number = id(cache)
    with contextlib.suppress(TypeError):
        _known[number] = (weakref.ref(cache, lambda gone: _forget(number, gone)), identity)


def recall(cache: object) -> Identity | None:
    """What was remembered of this very object."""
    reference, identity = _known.get(id(cache), (None, None))
    return identity if reference is not None and reference() is cache else None


def _forget(number: int, gone: weakref.ref[object]) -> None:
    found = _known.get(number)
    if found is not None and found[0] is gone:
        del _known[number]
