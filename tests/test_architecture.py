"""The floors of the house: a module imports only from its own floor and the ones above it in the list."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import largefile

#: From the top of the list down. What stands together in a line is one floor.
FLOORS = [
    ["errors", "stats", "events", "log"],
    ["core"],
    ["rules"],
    ["disk", "wire"],
    ["engine"],
    ["progress", "livebar"],
    ["caching", "streaming", "remote"],
    ["aio"],
    ["testing"],
    ["cli", "__main__"],
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
#: Floors that never import each other although they are level.
STRANGERS = {("disk", "wire"), ("wire", "disk")}
#: Modules of the standard library that decide or do I/O by themselves, and have no place in pure rules.
IMPURE = {"asyncio", "io", "os", "pathlib", "select", "socket", "ssl", "subprocess", "threading"}

SOURCE = Path(__file__).parent.parent / "largefile"


def modules():
    found = [p for pattern in ("*.py", "*.pyx") for p in sorted(SOURCE.rglob(pattern))]
    return [p for p in found if p != SOURCE / "__init__.py"]


def floor_of(path):
    first = path.relative_to(SOURCE).parts[0]
    return first.partition(".")[0]


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def python_imports(tree):
    """(module, only for annotations) of every import, wherever it stands."""

    def visit(node, annotations):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, annotations) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative imports hide which floor they reach"
                yield child.module, annotations
                yield from ((f"{child.module}.{alias.name}", annotations) for alias in child.names)
            else:
                yield from visit(child, annotations or is_type_checking(child))

    yield from visit(tree, annotations=False)


def cython_imports(text):
    pattern = re.compile(r"^(?:from\s+(largefile[\w.]*)\s+c?import|c?import\s+(largefile[\w.]*))", re.M)
    return [(a or b, False) for a, b in pattern.findall(text)]


def imports(path):
    text = path.read_text()
    return cython_imports(text) if path.suffix == ".pyx" else list(python_imports(ast.parse(text)))


def largefile_imports(path):
    for name, hint in imports(path):
        parts = name.split(".")
        if parts[0] == "largefile" and len(parts) > 1 and parts[1] in LEVEL:
            yield parts[1], hint


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_from_above(path):
    mine = floor_of(path)
    assert mine in LEVEL, f"{path.name} stands on no floor"
    for other, hint in largefile_imports(path):
        if hint and LEVEL[mine] == 0:
            continue  # words that every floor uses may name ranges in annotations
        assert LEVEL[other] <= LEVEL[mine], f"{mine} imports {other}, which stands below it"
        assert (mine, other) not in STRANGERS, f"{mine} and {other} never import each other"


@pytest.mark.parametrize("path", sorted((SOURCE / "rules").glob("*.py")), ids=lambda p: p.name)
def test_rules_do_no_io(path):
    used = {name.partition(".")[0] for name, annotations in imports(path) if not annotations}
    shared = {"rate.py", "hosts.py"}  # between threads
    allowed = {"threading"} if path.name in shared else set()
    assert not used & (IMPURE - allowed)


def test_schedule_and_transport_meet_only_in_the_loop():
    both = []
    for path in modules():
        names = {name for name, _ in imports(path)}
        if any("rules.schedule" in n for n in names) and any("wire.transport" in n for n in names):
            both.append(str(path.relative_to(SOURCE)))
    assert [path for path in both if not path.startswith("testing")] == ["engine/crew.py", "engine/pump.py"]


DEPENDENCIES = {"certifi", "click", "pycurl", "rich", "xxhash"}
#: Of the extra `test`: what needs them says so where they are missing.
TEST_DEPENDENCIES = {"h2", "trustme"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_only_declared_dependencies_are_imported(path):
    if path.suffix == ".pyx":
        pytest.skip("the compiled modules import C and each other")
    used = {name.partition(".")[0] for name, annotations in imports(path) if not annotations}
    allowed = DEPENDENCIES | (TEST_DEPENDENCIES if "testing" in path.parts else set())
    assert used <= allowed | {"largefile"} | set(sys.stdlib_module_names)


def run(code):
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("name", sorted(largefile.__all__))
def test_every_public_name_exists(name):
    assert getattr(largefile, name) is not None


def test_import_largefile_imports_next_to_nothing():
    code = "import sys, largefile; print(*sys.modules)"
    heavy = {"asyncio", "click", "pycurl", "rich", "xxhash", "largefile.core.ranges"}
    assert not heavy & set(run(code).split())


@pytest.mark.parametrize("name", ["download", "stream", "open"])
def test_no_verb_needs_rich_or_click_or_asyncio(name):
    code = f"import sys, largefile; largefile.{name}; print(*sys.modules)"
    assert not {"asyncio", "click", "rich"} & set(run(code).split())


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_can_be_imported_first(path):
    # A cycle shows only when its modules are entered from one certain side.
    name = ".".join(("largefile", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    if name.endswith("__main__"):
        pytest.skip("runs the command")
    run(f"import {name}")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = largefile.nothing


def test_what_listens_listens_on_loopback_only():
    """The demonstration's server and those of the tests: nobody else's business."""
    text = "\n".join(path.read_text() for path in modules())
    listening = re.findall(
        r"create_server\(([^)]*\))|start_server\(([^)]*)|((?<!signature)\.bind\(|\.listen\()", text
    )
    assert listening
    assert {places for places in listening if any(places)} == {('("127.0.0.1", 0)', "", "")}
