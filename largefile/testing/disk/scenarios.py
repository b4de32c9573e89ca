"""What is done with files in this library, as scenarios: together they reach every call of `FileOps`."""

from __future__ import annotations

import errno

from largefile.testing.disk import caches, endings, verbs
from largefile.testing.disk.stage import Scenario

__all__ = ["SCENARIOS"]

KEPT = frozenset({"kept/x.part", "kept/x.part.idx"})
NO_LOCKS = {"fcntl": errno.ENOSYS, "flock": errno.ENOSYS}
NO_LINKS = {"link": errno.EPERM}
NO_ROOM = {"fallocate": errno.ENOSPC}

SCENARIOS = (
    Scenario("create", caches.create),
    Scenario("create in the place of a cache", caches.create, caches.half, loses=True),
    Scenario("create without room", caches.create, lacks=NO_ROOM, fails=True),
    Scenario("create without room for the data", caches.create_without_room_for_data, fails=True),
    Scenario("create where the disk does not say its kind", caches.create_where_nothing_is_known, fails=True),
    Scenario("create where a cache is", caches.create_beside, caches.half, fails=True),
    Scenario("open", caches.reopen, caches.half),
    Scenario(
        "open a pipe",
        caches.reopen,
        caches.a_pipe,
        caches.without_the_pipe,
        fails=True,
        loses=True,
        begins_anew=True,
    ),
    Scenario("open after another boot", caches.reopen, caches.half_of_another_boot),
    Scenario(
        "open where files have no owners", caches.reopen, caches.half, owner=4242, may_stay=".largefile-"
    ),
    Scenario(
        "open where nothing locks", caches.own, caches.half_of_a_dead_owner, caches.own_later, lacks=NO_LOCKS
    ),
    Scenario(
        "open where nothing locks, without room",
        caches.own_without_room,
        caches.half,
        caches.own_later,
        lacks=NO_LOCKS,
        fails=True,
        may_stay="x.part.idx.owner",
    ),
    Scenario("open while another writes", caches.compete, caches.half, fails=True),
    Scenario("open where only flock locks", caches.reopen, caches.half, lacks={"fcntl": errno.ENOSYS}),
    Scenario("write through a buffer", caches.write, caches.empty),
    Scenario("write through the map", caches.write_by_map, caches.empty),
    Scenario("write where nothing may be mapped", caches.write, caches.half, mappable=False),
    Scenario(
        "write and read blocks where nothing may be mapped",
        caches.write_blocks,
        caches.half,
        loses=True,
        mappable=False,
    ),
    Scenario("poison where nothing may be mapped", caches.poison, caches.half, mappable=False, durable=False),
    Scenario(
        "open after another boot where nothing may be mapped",
        caches.reopen,
        caches.half_of_another_boot,
        mappable=False,
    ),
    Scenario(
        "write where nothing is reserved", caches.write, caches.empty, lacks={"fallocate": errno.EOPNOTSUPP}
    ),
    Scenario("write and read blocks", caches.write_blocks, caches.half, loses=True),
    Scenario("poison", caches.poison, caches.half, durable=False),
    Scenario("follow", caches.follow, caches.half),
    Scenario("publish", endings.give_name, endings.full),
    Scenario("publish over a file", endings.replace_old, endings.full_and_old),
    Scenario("publish without links", endings.give_name, endings.full, lacks=NO_LINKS),
    Scenario(
        "publish where a name can not be kept",
        endings.give_name,
        endings.full,
        lacks={**NO_LINKS, "rename_noreplace": errno.ENOSYS},
    ),
    Scenario("publish, and lose the name", endings.lose_the_name, endings.full, fails=True),
    Scenario("set aside", endings.put_aside, endings.full, leaves=frozenset({"x", "x.bad"}), loses=True),
    Scenario("clean up", endings.tidy, endings.full_and_linked),
    Scenario("remove what was never finished", endings.bury, endings.unborn),
    Scenario("a file without an index", endings.loose),
    Scenario("a file without an index, in the place of a cache", endings.loose, caches.half, loses=True),
    Scenario("a file without an index, over another", endings.loose_over, endings.old),
    Scenario("a file without an index, without /proc", endings.loose, lacks={"lexists": errno.ENOENT}),
    Scenario("a file without an index, of no known kind", endings.loose_where_nothing_is_known, fails=True),
    Scenario("a file without an index, put aside", endings.loose_aside, leaves=frozenset({"x", "x.bad"})),
    Scenario("a named file, put aside", endings.loose_named_aside, leaves=frozenset({"x", "x.bad"})),
    Scenario("reserve", endings.room, leaves=frozenset({"x", "room"})),
    Scenario(
        "reserve without room", endings.room, lacks=NO_ROOM, fails=True, leaves=frozenset({"x", "room"})
    ),
    Scenario("download", verbs.download),
    Scenario("download, resumed", verbs.download, caches.half),
    Scenario("download, complete and not published", verbs.download, endings.full),
    Scenario("download where nothing may be mapped", verbs.download, caches.half, mappable=False),
    Scenario("download, with a digest", verbs.download_with_digest, caches.half),
    Scenario("download over a file", verbs.download_over, endings.old),
    Scenario("download that is there", verbs.download_with_digest, verbs.right_beside_an_index),
    Scenario("download of another version", verbs.download, verbs.of_another_version),
    Scenario("download of unknown size", verbs.download, behave=verbs.unsized),
    Scenario("download of unknown size over a file", verbs.download_over, endings.old, behave=verbs.unsized),
    Scenario(
        "download, repaired",
        verbs.download_with_digest,
        finish=verbs.download_with_digest,
        behave=verbs.wrong_once,
        loses=True,
        begins_anew=True,
    ),
    Scenario("stream into a cache", verbs.stream),
    Scenario("fill a cache", verbs.fill, caches.half),
    # What is kept of a file that was read is no more than a cache: that it is not durable is logged.
    Scenario("open and read", verbs.read_kept, finish=verbs.read_kept, leaves=KEPT, durable=False),
    Scenario(
        "open and read again",
        verbs.read_kept,
        verbs.some_kept,
        finish=verbs.read_kept,
        leaves=KEPT,
        durable=False,
    ),
    Scenario("open and keep nothing", verbs.read_once, durable=False),
)
