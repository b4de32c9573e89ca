"""A file name out of a URL that no server can use to reach another place."""

from __future__ import annotations

import re

__all__ = ["basename_from_url"]

#: NAME_MAX of the usual filesystems, less the suffix of the index that stands beside the file.
_LONGEST = 255 - len(".part.idx")
_NOT_IN_WINDOWS_NAMES = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL
)
#: Control, format (direction overrides), surrogate; line and paragraph separators.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def basename_from_url(url: str, fallback: str = "download") -> str:
    """Choose a file name for what `url` points at.

    The last part of the path, percent-decoded, without directories, control characters, leading dots and
    blanks, trailing dots and blanks, names and characters that Windows reserves; cut at a whole character
    so that it and its index fit into a folder: at most 246 bytes of UTF-8.

    Parameters
    ----------
    url : str
        Any text; query and fragment are not looked at.
    fallback : str
        The name where nothing is left; returned as it is.

    Examples
    --------
    >>> basename_from_url("https://example.org/a/model.bin?sig=1")
    'model.bin'
    >>> basename_from_url("https://example.org/..%2F..%2F.ssh%2F")
    'download'
    """
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:", "", re.split("[?#]", url, maxsplit=1)[0])
    if path.startswith("//"):
        path = path[2:].partition("/")[2]
    raw = path.rpartition("/")[2].encode("utf-8", "replace")
    if b"%" in raw:
        from urllib.parse import unquote_to_bytes  # slow to import, and most names need none of it

        raw = unquote_to_bytes(raw)
    text = raw.decode("utf-8", "replace")
    return _cleaned(re.split(r"[/\\]", text)[-1]) or fallback


def _cleaned(name: str) -> str:
    if not (name.isascii() and name.isprintable()):
        import unicodedata  # as above

        name = "".join(c for c in name if unicodedata.category(c) not in _INVISIBLE)
    name = _cut(name.translate(_NOT_IN_WINDOWS_NAMES).lstrip(". "), _LONGEST).rstrip(". ")
    return "_" + _cut(name, _LONGEST - 1) if _RESERVED.fullmatch(name) else name


def _cut(name: str, size: int) -> str:
    """At most `size` bytes of `name`, ending with a whole character."""
    return name.encode()[:size].decode("utf-8", "ignore")
