"""A download beside one busy Python thread: in the same process, in a process of its own, and by curl.

    python bench/company.py [--size 512M] [--rounds 7] [--folder DIR] [--json FILE]

Each runs alone, beside a thread that computes in the process that started it, and beside a process that
computes. The thread takes from a download in the same process both the interpreter and a processor, the
process only a processor: what is between these two is the interpreter's lock (GIL), and the rest is cores.
curl has no Python in it, so what it loses is what this machine takes from anybody. Every round runs each case
once, beginning with another one; a round before the first warms up. The case that is starved takes half a
minute and more, and its turn in every third round only. The time is the one that the caller
waits, with the start of the process where one is started, and without the imports of the caller. Every
output is compared by SHA-256.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from children import measured
from measure import facts, filesystem, keep_bytecode
from report_company import COMPANY, WAYS, case, company_section
from tables import Run
from transfers import NAME, check_space
from web import Nginx, make_random, parse_size, read_through, sha256

PROGRAM = """
import subprocess, threading, time
from largefile import download

spinning = True

def spin():
    count = 0
    while spinning:
        count += 1

how, url, dest = words["how"], words["url"], words["dest"]
company = None
if words["company"] == "thread":
    threading.Thread(target=spin, daemon=True).start()
elif words["company"] == "process":
    company = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
try:
    began = time.perf_counter()
    if how == "curl":
        subprocess.run(["curl", "-q", "-s", "-S", "-f", "-o", dest, url], check=True)
    else:
        download(url, dest, durable=False, proxy="", isolate=how == "isolated")
    took = time.perf_counter() - began
finally:
    spinning = False
    if company is not None:
        company.kill()
        company.wait()
found(took=took)
"""

STARVED = "in-process", "thread"


def run_all(url: str, dest: Path, digest: str, rounds: int) -> list[Run]:
    cases = [(how, company) for how in WAYS for company in COMPANY]
    runs: list[Run] = []
    for number in range(rounds + 1):
        start = number % len(cases)
        for how, company in cases[start:] + cases[:start]:
            if (how, company) == STARVED and number % 3 != 1:
                continue
            subprocess.run(["sync"], check=True)  # what the one before still owed the disk
            _, said = measured(PROGRAM, how=how, company=company, url=url, dest=str(dest))
            if sha256(dest) != digest:
                raise RuntimeError(f"{case(how, company)} made other bytes")
            dest.unlink()
            if number:
                runs.append({"contender": case(how, company), "round": number, "took": said["took"]})
        print(f"  round {number} of {rounds}" if number else "  warm", flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_size, default=512 << 20, help="bytes, or 512M, 1G; default 512M")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to use")
    parser.add_argument("--json", type=Path, help="write the data for report.py here")
    asked = parser.parse_args()
    check_space(asked.folder, 3 * asked.size)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="largefile-bench-") as name:
        base = Path(name)
        keep_bytecode(base / "bytecode")
        with Nginx(base) as server:
            digest = make_random(server.files / NAME, asked.size)
            read_through(server.files / NAME)
            print(filesystem(base), flush=True)
            runs = run_all(server.url(NAME), base / "output.bin", digest, asked.rounds)
    data = {"kind": "company", "facts": facts(), "size": asked.size, "rounds": asked.rounds, "runs": runs}
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(company_section(data)))


if __name__ == "__main__":
    main()
