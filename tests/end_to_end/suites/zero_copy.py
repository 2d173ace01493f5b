"""What the data path must not do: copy payload, register memory, grow. Read from rdmafsctl's counters."""
import json
import os

from harness.checks import Suite, equal
from harness.processes import Failed, resident_kib, run
from suites.tools import fio

SUITES = []
ALLOWED_BEYOND_POOL_KIB = 32 << 10


def counters(document):
    return {"copied_bytes": document["transport"]["copied_bytes"],
            "registrations": document["memory"]["registrations"],
            # A pool below its cap may still grow when many calls happen to meet: by whole slabs.
            "slabs": document["memory"]["owned_registrations"],
            "pool_bytes": sum(pool["size_bytes"] for pool in document["pool"].values()),
            "misses": document["memory"]["lookups"] - document["memory"]["hits"],
            "lookups": document["memory"]["lookups"],
            "bytes": document["transport"]["bytes_sent"] + document["transport"]["bytes_received"]}


def no_copies(site):
    directory, _ = site.case_directories()
    work = [["--rw=write", "--bs=1m", "--size=32m"], ["--rw=read", "--bs=1m", "--size=32m"],
            ["--rw=randrw", "--bs=64k", "--size=16m", "--ioengine=libaio", "--iodepth=16", "--direct=1"],
            ["--rw=randrw", "--bs=4k", "--size=4m", "--numjobs=2"],
            ["--rw=randwrite", "--bs=128k", "--size=16m", "--direct=1"]]
    small_read_bytes = 0
    if site.document("status")["channel"] == "fuse-io-uring":
        # Small reads are copied once there, which suite uring counts: here only what fio reads by itself.
        work = [options for options in work if "--bs=4k" not in options]
        small_read_bytes = 4096
    for options in work:  # the first turn makes slabs, files and connections
        fio(directory, *options)
    before = counters(site.document("stats"))
    for options in work:
        fio(directory, *options)
    after = counters(site.document("stats"))
    moved = {name: after[name] - before[name] for name in after}
    if moved["copied_bytes"] > small_read_bytes:
        raise Failed(f"payload bytes copied: {moved['copied_bytes']}")
    equal("registrations that are not of a new slab", moved["registrations"] - moved["slabs"], 0)
    if moved["slabs"] and not moved["pool_bytes"]:
        raise Failed(f"slabs were registered again: {moved}")
    equal("lookups that did not hit", moved["misses"], 0)
    if moved["bytes"] < 32 << 20:
        raise Failed(f"the run is not in the counters: they do not work ({after})")
    if site.where.transport == "rdma" and moved["lookups"] <= 0:
        raise Failed(f"no lookup was counted over rdma ({after})")
    if after["copied_bytes"] > 2 * small_read_bytes:
        raise Failed(f"payload bytes copied since the mount: {after['copied_bytes']}")


def read_bytes(pid):
    """What a process has taken by read(2) and recv(2), of which splice(2) is none."""
    with open(f"/proc/{pid}/io", encoding="utf-8") as io:
        return int(io.readline().split()[1])


def large_reads_are_not_received(site):
    """Over tcp from the same host large payload goes from the socket to the kernel by pipe; over rdma the device
    puts it into memory; only a channel that needs it in memory of its own has it copied out of the socket."""
    directory, _ = site.case_directories()
    work = ["--rw=read", "--bs=512k", "--size=32m", "--direct=1", "--loops=4"]
    fio(directory, *work)  # the first turn makes the file
    pid = site.mounts[site.mount]
    before = read_bytes(pid)
    fio(directory, *work)
    received = read_bytes(pid) - before
    in_memory = site.where.transport == "tcp" and site.document("status")["channel"] == "fuse-io-uring"
    if (received >= 128 << 20) != in_memory or (received > 8 << 20) != in_memory:
        raise Failed(f"{received} bytes were read by the mount program for 128 MiB of its callers")


def pool_caps_kib(document):
    return sum(pool["cap_bytes"] for pool in document["pool"].values()) >> 10


def memory(site):
    """After the load the mount's resident memory is at most its pools' cap and 32 MiB."""
    directory, _ = site.case_directories()
    fio(directory, "--rw=randrw", "--bs=1m", "--size=64m", "--numjobs=4", "--direct=1",
        "--ioengine=libaio", "--iodepth=16")
    pid = site.mounts[site.mount]
    cap = pool_caps_kib(site.document("stats"))
    used = resident_kib(pid)
    print(f"      the mount: {used} KiB resident, pools' cap {cap} KiB; "
          f"the server: {resident_kib(site.server.pid)} KiB")
    if used > cap + ALLOWED_BEYOND_POOL_KIB:
        raise Failed(f"{used} KiB resident, more than the pools' cap of {cap} KiB and 32 MiB")


def status_and_stats(site):
    """rdmafsctl's documents are JSON with the fields that docs/statistics.md names."""
    control = site.where.build.program("rdmafsctl")
    os.listdir(site.mount)
    for target, program in ((str(site.mount), "rdmafs"), ("--server", "rdmafsd")):
        status = json.loads(run([control, "status", "--json", target]).stdout)
        documents = status if isinstance(status, list) else [status]
        mine = [each for each in documents if each["pid"] in
                (site.server.pid, site.mounts[site.mount])]
        equal(f"documents of {target}", [each["program"] for each in mine], [program])
        equal("state", mine[0]["state"], "ready")
        equal("transport", mine[0]["transport"]["name"], site.where.transport)
        run([control, "status", target])
        run([control, "stats", target])
    operations = site.document("stats")["operations"]
    if not any(each["count"] for each in operations.values()):
        raise Failed(f"no operation counted: {operations}")
    done = run([control, "status", "/no/such/mount"], expect=None)
    if done.returncode == 0:
        raise Failed("the status of no mount is success")
    run([control, "doctor"], expect=None)
    json.loads(run([control, "doctor", "--json"], expect=None).stdout)


def idle(site):
    """Nobody spins when there is nothing to do."""
    def ticks():
        total = 0
        for pid in (site.server.pid, site.mounts[site.mount]):
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total
    os.listdir(site.mount)
    run(["sleep", "1"])
    before = ticks()
    run(["sleep", "3"])
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    if used > 0.15:
        raise Failed(f"{used} s of processor time in 3 idle seconds")


for _name, _options in (("zero copy", ""), ("zero copy direct_io", "direct_io")):
    _suite = Suite(_name, options=_options, needs_product=True)
    SUITES.append(_suite)
    _suite.check("fio runs copy no payload and register no memory", 300)(no_copies)
    if not _options:
        _suite.check("large reads are handed on without a copy")(large_reads_are_not_received)
        _suite.check("rdmafsctl shows mounts and servers")(status_and_stats)
        _suite.check("the mount's memory stays within its pools' cap and 32 MiB", 300)(memory)
        _suite.check("an idle mount and its server do not spin")(idle)
