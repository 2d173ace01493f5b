"""Read-ahead: what it fetches is used, and nobody ever sees that it did: every read is what the file has."""
import mmap
import os
import random
import threading
import time

from harness.checks import NotHere, Suite, equal
from harness.distance import distant
from harness.processes import Failed, run, wait_until

SUITES = []
BLOCK = 64 << 10
MIB = 1 << 20


def counters(site, mount=None):
    return {name.removeprefix("read_ahead."): value
            for name, value in site.document("stats", mount)["counters"].items() if name != "shards"}


def roots(site):
    """The same new directory through both mounts and at the server."""
    one, backing = site.case_directories()[0], None
    backing = site.export / one.name
    return one, list(site.mounts)[1] / one.name, backing


def content(size, seed=None):
    return os.urandom(size)


def read_on(fd, offset, size, block=BLOCK):
    """A stretch in reads of one size, one after the other."""
    return b"".join(os.pread(fd, min(block, offset + size - at), at)
                    for at in range(offset, offset + size, block))


def opened(path, flags=os.O_RDONLY):
    """A descriptor that is closed with the block; buffered by nobody here."""
    return os.fdopen(os.open(path, flags), "rb", buffering=0)


# --- what it is for ---

def sequential(site):
    directory, _, backing = roots(site)
    data = content(48 * MIB)
    (backing / "f").write_bytes(data)
    before = counters(site)
    with opened(directory / "f") as file:
        equal("the content", read_on(file.fileno(), 0, len(data)) == data, True)
    after = counters(site)
    moved = {name: after[name] - before[name] for name in after}
    if moved["hits"] < 20 or moved["hit_bytes"] < len(data) // 2:
        raise Failed(f"what was fetched ahead was not used: {moved}")
    if moved["wasted_bytes"] * 50 > len(data):
        raise Failed(f"more than 2 % was fetched in vain: {moved}")


def orders(site):
    """Backward, strided, interleaved and odd reads."""
    directory, _, backing = roots(site)
    data = content(12 * MIB)
    (backing / "f").write_bytes(data)
    with opened(directory / "f") as file:
        fd = file.fileno()
        for at in reversed(range(0, len(data), BLOCK)):
            equal(f"backward at {at}", os.pread(fd, BLOCK, at) == data[at:at + BLOCK], True)
        for at in range(0, len(data), 5 * BLOCK):
            equal(f"strided at {at}", os.pread(fd, BLOCK, at) == data[at:at + BLOCK], True)
        for at in range(0, len(data) // 4, BLOCK):
            for stream in range(4):
                where = stream * len(data) // 4 + at
                equal(f"stream at {where}", os.pread(fd, BLOCK, where) == data[where:where + BLOCK], True)
        at, size = 0, 1
        while at < len(data):
            equal(f"{size} bytes at {at}", os.pread(fd, size, at) == data[at:at + size], True)
            at, size = at + size, size * 7 % 200_003 + 1


def random_reads(site):
    directory, _, backing = roots(site)
    data = content(32 * MIB)
    (backing / "f").write_bytes(data)
    before, draw, asked = counters(site), random.Random(5), 0
    with opened(directory / "f") as file:
        for _ in range(4000):
            at = draw.randrange(len(data) // 4096) * 4096
            for step in range(draw.choice((1, 1, 1, 2, 3))):  # with short runs
                piece = os.pread(file.fileno(), 4096, at + step * 4096)
                equal(f"at {at}", piece == data[at + step * 4096:at + step * 4096 + 4096], True)
                asked += len(piece)
    after = counters(site)
    wasted = after["wasted_bytes"] - before["wasted_bytes"]
    if wasted * 50 > asked:
        raise Failed(f"{wasted} bytes were fetched in vain for {asked} that were read")


# --- changes ---

def own_writes(site):
    """A write is seen by the next read of every open file of this mount."""
    directory, _, backing = roots(site)
    data = bytearray(content(8 * MIB))
    (backing / "f").write_bytes(data)
    draw = random.Random(7)
    with opened(directory / "f", os.O_RDWR) as writer, opened(directory / "f") as one, \
            opened(directory / "f") as two:
        for turn in range(60):
            at = draw.randrange(100) * BLOCK
            for reader in (one, two):
                part = read_on(reader.fileno(), at, 6 * BLOCK)
                equal(f"turn {turn}: before", part == data[at:at + 6 * BLOCK], True)
            change = at + 5 * BLOCK + draw.randrange(4 * BLOCK)
            fresh = draw.randbytes(1 + draw.randrange(2 * BLOCK))
            os.pwrite(writer.fileno(), fresh, change)
            data[change:change + len(fresh)] = fresh
            for reader in (one, two, writer):
                part = read_on(reader.fileno(), at + 6 * BLOCK, 6 * BLOCK)
                equal(f"turn {turn}: after", part == data[at + 6 * BLOCK:at + 12 * BLOCK], True)
    equal("the file at the server", (backing / "f").read_bytes() == data, True)


def own_truncates(site):
    directory, _, backing = roots(site)
    data = content(4 * MIB)
    for how in ("ftruncate", "truncate", "O_TRUNC", "punch"):
        (backing / how).write_bytes(data)
        with opened(directory / how, os.O_RDWR) as file:
            read_on(file.fileno(), 0, 8 * BLOCK)
            cut = 9 * BLOCK + 123
            expected = data[8 * BLOCK:cut]
            if how == "ftruncate":
                os.ftruncate(file.fileno(), cut)
            elif how == "truncate":
                os.truncate(directory / how, cut)
            elif how == "O_TRUNC":
                os.close(os.open(directory / how, os.O_WRONLY | os.O_TRUNC))
                expected = b""
            else:
                run(["fallocate", "-p", "-o", str(8 * BLOCK), "-l", str(4 * BLOCK), str(directory / how)])
                expected = bytes(4 * BLOCK)
            equal(how, read_on(file.fileno(), 8 * BLOCK, 4 * BLOCK) == expected, True)


def others_changes(site):
    """What another client wrote and closed is read by who opens afterwards, and by who has seen its times."""
    one, two, backing = roots(site)
    (backing / "f").write_bytes(content(4 * MIB, 0))
    with opened(one / "f") as old:
        for turn in range(1, 20):
            equal("read ahead of", len(read_on(old.fileno(), 0, 8 * BLOCK)), 8 * BLOCK)
            data = content(4 * MIB, turn)
            (two / "f").write_bytes(data)
            with opened(one / "f") as new:
                equal(f"opened at turn {turn}", read_on(new.fileno(), 0, 4 * MIB) == data, True)
            equal(f"open before turn {turn}", read_on(old.fileno(), 8 * BLOCK, 8 * BLOCK) ==
                  data[8 * BLOCK:16 * BLOCK], True)


def appended(site):
    """tail -f: whoever follows a file gets every byte that another client appends, in order."""
    directory, _, backing = roots(site)
    whole, stop = bytearray(content(3 * BLOCK + 77, 0)), threading.Event()
    (backing / "log").write_bytes(whole)

    def append():
        with open(backing / "log", "ab", buffering=0) as log:
            for turn in range(1, 120):
                piece = content(1 + turn * 7919 % 90_000, turn)
                log.write(piece)
                whole.extend(piece)
                time.sleep(0.01)
        stop.set()
    writer, got = threading.Thread(target=append), bytearray()
    writer.start()
    deadline = time.monotonic() + 60
    try:
        with opened(directory / "log") as log:
            while time.monotonic() < deadline:
                done = stop.is_set()
                piece = os.pread(log.fileno(), BLOCK, len(got))
                got += piece
                if not piece and done:
                    os.stat(directory / "log")
                    if len(got) == len(whole):
                        break
    finally:
        writer.join()
    equal("bytes", len(got), len(whole))
    equal("the bytes", bytes(got) == bytes(whole), True)


def direct(site):
    """O_DIRECT asks the server each time, whatever was fetched for others."""
    directory, _, backing = roots(site)
    (backing / "f").write_bytes(content(8 * MIB))
    with opened(directory / "f") as file:
        read_on(file.fileno(), 0, 16 * BLOCK)
        time.sleep(0.05)  # the last fetches come in
        before = counters(site)
        data = content(8 * MIB, 2)
        with open(backing / "f", "r+b") as other:
            other.write(data)
        memory = mmap.mmap(-1, BLOCK)
        fd = os.open(directory / "f", os.O_RDONLY | os.O_DIRECT)
        try:
            for at in range(0, 8 * MIB, BLOCK):
                equal("bytes", os.preadv(fd, [memory], at), BLOCK)
                equal(f"at {at}", memory[:] == data[at:at + BLOCK], True)
        finally:
            os.close(fd)
            memory.close()
        after = counters(site)
    equal("hits of O_DIRECT reads", after["hits"] - before["hits"], 0)
    equal("bytes fetched for them", after["fetched_bytes"] - before["fetched_bytes"], 0)


# --- ends and bounds ---

def closed_in_flight(site):
    """A file may be closed with fetches in flight: they leave nothing behind, and harm no one."""
    directory, _, backing = roots(site)
    data = content(16 * MIB)
    (backing / "f").write_bytes(data)

    def readers():
        for turn in range(60):
            with opened(directory / "f") as file:
                at = turn % 16 * MIB // 2
                equal("a part", read_on(file.fileno(), at, 6 * BLOCK) == data[at:at + 6 * BLOCK], True)
    errors = []

    def guarded():
        try:
            readers()
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=guarded) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal("errors", errors, [])
    wait_until(lambda: counters(site)["in_flight"] == 0, 5, "nothing is in flight any more")
    shards = counters(site)["shards"]
    if counters(site)["memory_bytes"] > 2 * shards * MIB:
        raise Failed(f"memory stayed behind: {counters(site)}")


def removed(site):
    directory, _, backing = roots(site)
    data = content(4 * MIB)
    (backing / "f").write_bytes(data)
    with opened(directory / "f") as file:
        read_on(file.fileno(), 0, 4 * BLOCK)
        os.unlink(directory / "f")
        equal("the rest", read_on(file.fileno(), 4 * BLOCK, 4 * MIB - 4 * BLOCK) == data[4 * BLOCK:], True)


def together(site):
    """Readers of one open file at once, some of them in sequence, while another writes elsewhere."""
    directory, _, backing = roots(site)
    data = content(24 * MIB)
    (backing / "f").write_bytes(data)
    errors, stop = [], threading.Event()

    def read(file, begin, end):
        try:
            for at in range(begin, end, BLOCK):
                if os.pread(file.fileno(), BLOCK, at) != data[at:at + BLOCK]:
                    raise Failed(f"the bytes at {at} are not those of the file")
        except Exception as error:
            errors.append(error)

    def write(file):
        while not stop.is_set():  # behind what they read
            os.pwrite(file.fileno(), b"x" * 4096, 24 * MIB)
            time.sleep(0.003)
    with opened(directory / "f", os.O_RDWR) as file:
        threads = [threading.Thread(target=read, args=(file, part * 4 * MIB, part * 4 * MIB + 4 * MIB))
                   for part in range(6)]
        writer = threading.Thread(target=write, args=(file,))
        for thread in (*threads, writer):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        writer.join()
    equal("errors", [str(error) for error in errors], [])


# --- auto ---

def automatic(site):
    """auto: on with direct_io and cache=none, and where the server is far away; else off."""
    def shards(name, options):
        point = site.add_mount(name, options)
        found = counters(site, point)
        site.unmount(point)
        return found["shards"], found["round_trip_us"]
    for options, on in (("direct_io", True), ("cache=none", True), ("direct_io,read_ahead=off", False),
                        ("read_ahead=on", True), ("read_ahead=off", False)):
        equal(f"{options}: on", shards("auto", options)[0] > 0, on)
    if site.where.transport != "tcp" or site.where.slow != 1:
        raise NotHere("the distance is made of TCP, and the near server's answers are slow here")
    with distant(site, 2000) as port:
        found, round_trip_us = shards("far", f"port={port}")
        equal("far: on", found > 0, True)
        if not 2000 <= round_trip_us < 20_000:
            raise Failed(f"a round trip of 2000 us was measured as {round_trip_us}")
        equal("far, read_ahead=off: on", shards("far", f"port={port},read_ahead=off")[0] > 0, False)


def far_reader(site):
    """A plain reader far away asks the server itself for next to none of its reads (how fast that is, a busy
    machine cannot tell: tests/bench/read_ahead measures it)."""
    if site.where.transport != "tcp" or site.where.slow != 1:
        raise NotHere("the distance is made of TCP, and there is no time to lose")
    directory, _, backing = roots(site)
    data = content(24 * MIB)
    (backing / "f").write_bytes(data)
    with distant(site, 2000) as port:
        point = site.add_mount("far", f"port={port}")
        with opened(point / directory.name / "f") as file:
            equal("the content", read_on(file.fileno(), 0, len(data)) == data, True)
        found = counters(site, point)
        site.unmount(point)
    reads = len(data) // BLOCK
    if found["hits"] + found["misses"] < reads or found["misses"] * 20 > reads:
        raise Failed(f"{found} of {reads} reads")


for _name, _options in (("read_ahead direct_io", "direct_io,read_ahead=on"),
                        ("read_ahead cached", "read_ahead=on"),
                        ("read_ahead three shards", "cache=none,shards=3,ra_max=1M,ra_total=4M")):
    _suite = Suite(_name, options=_options, mounts=2, needs_product=True)
    SUITES.append(_suite)
    _suite.check("a sequential reader is served from what was fetched, next to nothing in vain")(sequential)
    _suite.check("reads in any order and of any size give what the file has")(orders)
    _suite.check("a write is seen by the next read of every open file")(own_writes)
    _suite.check("truncation and holes are seen by the next read")(own_truncates)
    if _options.startswith(("direct_io", "cache=none")):
        _suite.check("random reads with short runs waste 2 % at most")(random_reads)
        _suite.check("another client's change is seen by the next open, and with new attributes")(others_changes)
        _suite.check("who follows a growing file gets every byte")(appended)
    _suite.check("O_DIRECT readers are never served from it")(direct)
    _suite.check("files closed with fetches in flight leave nothing behind")(closed_in_flight)
    _suite.check("a removed file is read to its end")(removed)
    _suite.check("readers of one open file do not disturb each other")(together)
    if _options.startswith("direct_io"):
        _suite.check("auto is on where the kernel does not read ahead, and far away")(automatic)
        _suite.check("a reader far away does not wait a round trip for each read")(far_reader)
