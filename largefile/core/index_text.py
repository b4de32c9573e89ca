"""The Go package's index text: the sizes, and the bits as hexadecimal 64-bit words.

``{"content_size":"1010","block_size":250,"ranges":["b"]}``: bit `i` of word `w` is block ``64 * w + i``.
What is read is checked whole. The Go package takes a bitmap that is too short, and then calls the download
complete; it writes none of what is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from largefile.core.ranges import num_blocks

__all__ = ["parse_index_text", "write_index_text"]

DECIMAL = "[0-9]{1,19}"
HEXADECIMAL = "0*[0-9a-fA-F]{1,16}"


def write_index_text(content_size: int, block_size: int, words: Iterable[int]) -> str:
    """Write the text as Go's ``MarshalJSON`` does, byte for byte.

    Examples
    --------
    >>> write_index_text(1010, 250, [0b1011])
    '{"content_size":"1010","block_size":250,"ranges":["b"]}'
    """
    ranges = ",".join(f'"{word:x}"' for word in words)
    return f'{{"content_size":"{content_size}","block_size":{block_size},"ranges":[{ranges}]}}'


def parse_index_text(text: str | bytes) -> tuple[int, int, list[int]]:
    """Read a text, giving the content size and block size in bytes, and the words.

    Raises
    ------
    ValueError
        If it is not JSON, a field is missing, twice there or of another type, a size out of range, there
        are more or fewer words than the sizes need, or a bit is set past the last block.

    Examples
    --------
    >>> parse_index_text('{"content_size":"1010","block_size":250,"ranges":["b"]}')
    (1010, 250, [11])
    """
    import json  # no index of ours is a text

    try:
        fields = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("the index is nested too deeply to be one") from None
    if not isinstance(fields, dict):
        raise ValueError(f"the index is {_shown(fields)}, needed an object")
    size, block_size = _field(fields, "content_size"), _field(fields, "block_size")
    if not isinstance(size, str) or not re.fullmatch(DECIMAL, size):
        raise ValueError(f"content_size is {_shown(size)}, needed a string of up to 19 digits")
    if type(block_size) is not int:
        raise ValueError(f"block_size is {_shown(block_size)}, needed a whole number")
    # The sizes are checked first: nothing is made whose size only the text vouches for.
    blocks = num_blocks(int(size), block_size)
    return int(size), block_size, _words(_field(fields, "ranges"), blocks)


def _words(words: object, blocks: int) -> list[int]:
    needed = -(-blocks // 64)
    if not isinstance(words, list):
        raise ValueError(f"ranges is {_shown(words)}, needed a list")
    if len(words) != needed:
        raise ValueError(f"ranges has {len(words)} words, needed {needed} for {blocks} blocks")
    parsed = [_word(word) for word in words]
    if blocks % 64 and parsed[-1] >> blocks % 64:
        raise ValueError(f"ranges ends in {_shown(words[-1])}, with a bit past the last of {blocks} blocks")
    return parsed


def _word(word: object) -> int:
    if not isinstance(word, str) or not re.fullmatch(HEXADECIMAL, word):
        raise ValueError(f"ranges holds {_shown(word)}, needed strings of up to 16 hexadecimal digits")
    return int(word, 16)


def _field(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"the index has no {name}")
    return fields[name]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of `pairs`; of two values for one name it is not clear which was meant."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError(f"the index has a name twice: {_shown([name for name, _ in pairs])}")
    return fields


def _shown(value: object) -> str:
    """What was found, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
