"""librdmafs against a real server: the examples, and memory whose mapping changes under it."""
import os
import re

from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run
from harness.programs import environment

suite = Suite("library", needs_product=True)
SUITES = [suite]
MIB = 1 << 20


def program(site, name, *arguments, timeout=100):
    argv = [site.where.build.program(name), site.source(), str(site.port), site.where.transport]
    return run([*argv, *map(str, arguments)], timeout=timeout * site.where.slow,
               env=environment(site.logs)).stdout


def pattern(size):
    """Byte i is (i * 0x9E3779B97F4A7C15) >> 56, modulo 2**64."""
    return bytes((i * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 56 for i in range(size))


@suite.check("the example fetch reads a file into registered memory")
def fetch(site):
    data = os.urandom(9 * MIB + 321)
    (site.export / "f").write_bytes(data)
    local = site.base / "fetched"
    program(site, "example_fetch", "f", local)
    equal("the copy", local.read_bytes() == data, True)


@suite.check("the example duplicate copies a file through pool buffers without a copy of its own")
def duplicate(site):
    data = os.urandom(23 * MIB)
    (site.export / "from").write_bytes(data)
    said = program(site, "example_duplicate", "from", "to")
    equal("the copy", (site.export / "to").read_bytes() == data, True)
    equal("said", said.strip(), "0 bytes copied by the program")


@suite.check("the example tree lists what is there")
def tree(site):
    (site.export / "a/b").mkdir(parents=True)
    (site.export / "a/b/f").write_bytes(b"12345")
    said = program(site, "example_tree").splitlines()
    equal("the file", "./a/b/f 5" in said, True)


@suite.check("the fio engine verifies what it wrote, in each of its modes", 300)
def fio_engine(site):
    try:
        engine = site.where.build.program("librdmafs_fio.so")
    except Failed:
        raise NotHere("no fio engine was built: it needs fio's sources (docs/library.md)") from None
    for mode, rw, more in (("readto", "randrw", ["--verify=crc32c"]), ("plain", "randrw", ["--verify=crc32c"]),
                           ("pool", "randrw", []), ("readto", "write", ["--verify=md5", "--bs=1m"])):
        run(["fio", "--name=job", f"--ioengine=external:{engine}", f"--source={site.source()}", "--thread",
             f"--rdmafs_port={site.port}", f"--rdmafs_transport={site.where.transport}", f"--rdmafs_mode={mode}",
             "--filename=fio", f"--rw={rw}", "--bs=64k", "--iodepth=8", "--size=32m", "--verify_state_save=0",
             "--verify_fatal=1", *more], timeout=60 * site.where.slow, env=environment(site.logs))


@suite.check("no read is stale or goes astray, whatever becomes of the mapping", 900)
def abuse(site):
    abused(site, "off")


@suite.check("nor where registrations are kept while the kernel says that they stand (mr_cache=uffd)", 900)
def abuse_kept(site):
    said = abused(site, "uffd")
    if site.where.transport == "rdma":
        changes = int(re.search(r"(\d+) changes told of", said)[1])
        if changes < 50:
            raise Failed(f"nothing was kept: {said}")


def abused(site, mr_cache):
    (site.export / "pattern").write_bytes(pattern(8 * MIB))
    rounds = 300 if site.where.slow == 1 else 40
    said = program(site, "library_abuse", "pattern", rounds, mr_cache, timeout=800)
    found = re.search(r"(\d+) reads, 0 faults", said)
    if not found:
        raise Failed(said)
    print(f"      {said.strip().splitlines()[-1]}")
    return said
