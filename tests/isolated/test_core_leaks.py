"""What the compiled code takes, it gives back: every class and every function, each in a fresh process."""

from __future__ import annotations

import gc
import importlib.util
import pkgutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import CodeType

import block_uses  # noqa: F401 - it fills the table
import byte_uses
import pytest
import use_table

import largefile
from largefile.core.bitmap import Bitmap
from largefile.core.entries import EntryTable
from largefile.core.sink import BlockSink

FOLDER = Path(__file__).parent


def compiled():
    """Every class and function of the compiled modules, by full name."""
    found = {}
    for each in pkgutil.walk_packages(largefile.__path__, "largefile."):
        spec = importlib.util.find_spec(each.name)
        if spec.origin is not None and spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            names = vars(importlib.import_module(each.name)).items()
            found |= {
                f"{each.name}.{name}": it
                for name, it in names
                if getattr(it, "__module__", None) == each.name
            }
    return found


COMPILED = compiled()


def test_there_is_a_use_of_every_compiled_class_and_function():
    assert {"largefile.core.bitmap.Bitmap", "largefile.disk.sysfile.fallocate"} <= set(COMPILED)
    assert set(use_table.USES) == set(COMPILED)


def names_in(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return {*code.co_names, *(name for each in inner for name in names_in(each))}


@pytest.mark.parametrize("name", [name for name, it in COMPILED.items() if isinstance(it, type)])
def test_a_use_of_a_class_uses_all_of_its_public_names(name):
    public = {each for each in vars(COMPILED[name]) if not each.startswith("_")}
    used = names_in(use_table.USES[name].__code__)
    if name == "largefile.core.sink.BlockSink":
        used |= names_in(byte_uses.Lane.__init__.__code__)
    assert public - used == set()


#: One name for each use; several subjects may have one in common.
USES = {use: name for name, use in use_table.USES.items()}


@pytest.mark.parametrize("name", USES.values())
def test_it_gives_back_what_it_takes(name):
    # The importing rules of this process are handed on: it may run from a clone or beside a built wheel.
    code = (
        f"import runpy, sys; sys.path[:] = {sys.path!r}; sys.argv[1:] = [{name!r}]; "
        f"runpy.run_path({str(FOLDER / 'core_leaks.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cls", [Bitmap, EntryTable, BlockSink])
def test_a_cycle_that_was_collected_lets_go_of_the_buffer(cls):
    class Node:
        def settle(self, sink): ...

    target = bytearray(64)
    node = Node()
    node.me = node
    if cls is BlockSink:
        node.held = BlockSink()
        node.held.aim(node, 0, 64, 8, 64)
        node.held.place(target, 0, 64)
    else:
        node.held = Bitmap(64, target) if cls is Bitmap else EntryTable(target, 0, 8, bytes(16))
    with pytest.raises(BufferError):
        target.append(1)
    del node
    gc.collect()
    target.append(1)
