"""What `download` says that it takes is what it takes."""

from __future__ import annotations

import inspect

import pytest

from largefile.caching import DownloadOptions, start_download
from largefile.engine.options import engine_threads


def test_the_typed_options_are_those_of_the_function():
    takes = set(inspect.signature(start_download).parameters) - {"url", "dest", "into"}
    assert set(DownloadOptions.__annotations__) == takes


@pytest.mark.parametrize(("processors", "threads"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_a_second_thread_is_for_machines_with_processors_to_spare(monkeypatch, processors, threads):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(processors), raising=False)
    assert engine_threads() == threads
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert engine_threads() == threads
