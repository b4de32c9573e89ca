"""What `download` says that it takes is what it takes."""

from __future__ import annotations

import inspect

from largefile.caching import DownloadOptions, start_download


def test_the_typed_options_are_those_of_the_function():
    takes = set(inspect.signature(start_download).parameters) - {"url", "dest", "into"}
    assert set(DownloadOptions.__annotations__) == takes
