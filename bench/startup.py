"""What starts: 1 KiB by the command and by the library, and imports, beside what Python and others take.

    python bench/startup.py [--rounds 21] [--json FILE]

Interleaved rounds after one that warms up; whole processes, from start to end. nginx on loopback serves.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measure import facts, keep_bytecode, run
from report_startup import startup_section
from web import Nginx, make_random

SIZE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    data: dict[str, Any] = {"kind": "startup", "facts": facts(), "rounds": asked.rounds, "runs": []}
    python = [sys.executable, "-P"]
    with tempfile.TemporaryDirectory(prefix="largefile-bench-") as base:
        keep_bytecode(Path(base) / "bytecode")
        with Nginx(Path(base)) as server:
            make_random(server.files / "small", SIZE)
            dest = Path(base) / "output"
            to = ["-o", str(dest)]
            call = f"largefile.download({server.url('small')!r}, {str(dest)!r}, durable=False)"
            commands = {
                "pass": [*python, "-c", "pass"],
                "import largefile": [*python, "-c", "import largefile"],
                "import pycurl": [*python, "-c", "import pycurl"],
                "largefile.download": [*python, "-c", f"import largefile; {call}"],
                "import pycurl, click": [*python, "-c", "import pycurl, click"],
                "largefile get": [*python, "-m", "largefile", "get", "-q", *to, server.url("small")],
                "curl": ["curl", "-q", "-s", "-f", *to, server.url("small")],
            }
            names = list(commands)
            for number in range(asked.rounds + 1):
                for at in range(len(names)):
                    name = names[(number + at) % len(names)]
                    used = run(commands[name])
                    if dest.exists():
                        assert dest.read_bytes() == (server.files / "small").read_bytes()
                        dest.unlink()
                    if number:
                        data["runs"].append({"contender": name, "round": number, **asdict(used)})
    data["runs"].sort(key=lambda each: names.index(each["contender"]))
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(startup_section(data)))


if __name__ == "__main__":
    main()
