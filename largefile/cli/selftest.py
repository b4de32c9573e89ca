"""``largefile selftest``: the proofs behind the promises, run on your machine."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from largefile.cli.report import Report, printable

if TYPE_CHECKING:
    from largefile.testing.disk.kills import History
    from largefile.testing.disk.torture import Result as DiskResult
    from largefile.testing.hostile.runner import Result

__all__ = ["selftest"]


@click.group(short_help="Prove the promises on this machine.")
def selftest() -> None:
    """Run the proofs behind the promises, on loopback and in folders of their own."""


@selftest.command(short_help="A server that does wrong in every way that was ever met.")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="Only cases with this in their names.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N", help="So many at once."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def hostile(report: Report, /, wanted: str, jobs: int, as_json: bool) -> int:
    """Download from a server that lies, stalls, cuts, changes its mind and leads astray.

    Each case is judged by the bytes that came of it. "undecidable" is a wrong file that nothing in the
    answers could have told from the right one: only a digest can. Exits with 0 if no file was wrong and
    nothing hung.
    """
    from largefile.testing.hostile.catalogue import cases
    from largefile.testing.hostile.runner import Ours, Summary, play_all

    chosen = cases(wanted)
    if not chosen:
        raise click.UsageError(f"no case has {wanted!r} in its name")
    logging.getLogger("largefile").addHandler(logging.NullHandler())  # what goes wrong is in the table
    results: list[Result] = []
    for result in play_all(chosen, jobs, Ours()):
        results.append(result)
        if not as_json:
            click.echo(printable(line(result)))
    summary = Summary.of(results)
    if as_json:
        report.json({"results": [result.as_dict() for result in results], "summary": summary.as_dict()})
    else:
        click.echo(str(summary))
    return 0 if summary.is_good else 1


@selftest.command(short_help="The power goes, at every moment of a download.")
@click.option(
    "--states",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="So many states of the disk.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Other states for another.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=os.cpu_count() or 1,
    show_default=True,
    metavar="N",
    help="So many processes at once.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def power(report: Report, /, states: int, seed: int, jobs: int, as_json: bool) -> int:
    """Lose the power at every moment of some downloads, in every way that a disk may keep what it was told.

    Sectors that were not synced are old, new, torn or garbage, and names may be missing, in any mixture. Each
    state is recovered; each block that is believed is compared, and now and then the whole download is
    finished. Exits with 0 if nothing wrong was believed, nothing promised was lost, and nobody was stuck.
    """
    from largefile.testing.disk.power import Tally, lose_power

    logging.getLogger("largefile").addHandler(logging.NullHandler())
    tallies: dict[str, Tally] = {}
    with click.progressbar(length=states, label="states", file=sys.stderr) as bar:
        for result in lose_power(states, seed=seed, jobs=jobs):
            tallies[result.story] = tallies.get(result.story, Tally()) + result.tally
            bar.update(result.tally.states)
    total = sum(tallies.values(), Tally())
    for story, tally in tallies.items() if not as_json else ():
        click.echo(f"{story:<32}{tally}")
    for verdict in total.bad if not as_json else ():
        click.echo(printable(str(verdict)))
    if as_json:
        report.json({**total.as_dict(), "bad": [str(verdict) for verdict in total.bad]})
    else:
        click.echo(str(total))
    return 0 if total.is_good else 1


@selftest.command(short_help="A disk that fails at each call, one by one, in every way.")
@click.option(
    "--filter", "wanted", default="", metavar="TEXT", help="Only scenarios with this in their names."
)
@click.option("--all", "every", is_flag=True, help="Every call, and not only the first of each call site.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def disk(report: Report, /, wanted: str, every: bool, as_json: bool) -> int:
    """Have each call about files that the library makes fail once: EIO, ENOSPC, EDQUOT, EINTR, ENOMEM, short.

    Each time it has to end with an error of the library or to go on rightly, to leave nothing open, and to
    be gone on with by the same call on a healthy disk. Exits with 0 if all of them did, and if every call
    site in the source was tried.
    """
    from largefile.testing.disk.scenarios import SCENARIOS
    from largefile.testing.disk.torture import Summary, plan, play

    chosen = [scenario for scenario in SCENARIOS if wanted in scenario.name]
    if not chosen:
        raise click.UsageError(f"no scenario has {wanted!r} in its name")
    logging.getLogger("largefile").addHandler(logging.NullHandler())  # what goes wrong is in the table
    planned = plan(chosen, every=every)
    unreached = [str(site) for site in planned.unreached] if not wanted else []
    results: list[DiskResult] = []
    for case in planned.cases:
        result = play(case)
        results.append(result)
        if not as_json and result.is_bad:
            click.echo(printable(f"{result.outcome.value:<11} {case.name}  {result.cause}"))
    summary = Summary.of(results)
    if as_json:
        found = [result.as_dict() for result in results]
        report.json({"results": found, "unreached": unreached, "summary": summary.as_dict()})
    else:
        for site in unreached:
            click.echo(f"not tried   {site}")
        click.echo(str(summary))
    return 0 if summary.is_good and not unreached else 1


@selftest.command(short_help="Processes that are killed at every step.")
@click.option(
    "--kills",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="So many at random moments, beside those at each file operation.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the random moments.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def kill(report: Report, /, kills: int, seed: int, as_json: bool) -> int:
    """Kill processes that download, stream or read, and see what is there after, and after the next run.

    One process dies in the place of each file operation that a run makes, others at random moments, some
    over the same files; then one may come to its end. No byte may be wrong at any time, no block that was
    in place may be fetched again, and of what was under way no more than what the sockets and buffers hold.
    Files are made in the folder for temporary ones. Exits with 0 if that was so.
    """
    from largefile.testing.disk.campaign import Tally, every_point, random_kills
    from largefile.testing.disk.nursery import Nursery
    from largefile.testing.disk.scenes import SCENES

    rounds: dict[str, list[History]] = {}
    with Nursery() as nursery:
        parts = [(f"each operation, {scene.name}", every_point(scene, nursery)) for scene in SCENES]
        for name, histories in [*parts, ("at random moments", random_kills(kills, seed, nursery))]:
            rounds[name] = list(histories)
            if not as_json:
                click.echo(f"{name + ':':<29} {Tally.of(rounds[name])}")
    total = Tally.of(history for histories in rounds.values() for history in histories)
    wrong = [
        {"scene": history.scene, "wrong": history.wrong, "lost": history.lost}
        for histories in rounds.values()
        for history in histories
        if not history.is_right
    ]
    if as_json:
        tallies = {name: Tally.of(histories).as_dict() for name, histories in rounds.items()}
        report.json({"rounds": tallies, "summary": total.as_dict(), "wrong": wrong})
    else:
        for found in wrong:
            click.echo(printable(f"{found['scene']}: {found['wrong']}, {found['lost']} blocks lost"))
        click.echo(str(total))
    return 0 if total.is_good else 1


def line(result: Result) -> str:
    """One row of the table."""
    cause = f"  {result.cause}" if result.cause else ""
    return f"{result.outcome.value:<11} {result.seconds:5.1f} s  {result.case.name}{cause}"
