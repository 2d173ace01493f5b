"""mr=window: over a device that has memory windows they are used, elsewhere the log says why they are not."""
import subprocess

from harness import processes
from harness.checks import NotHere, Suite, equal
from harness.processes import Failed, run, wait_until
from harness.site import is_mounted
from suites.lab_brief import tree, verify
from suites.tools import fio
from suites.zero_copy import counters

suite = Suite("windows", options="mr=window", needs_product=True)
SUITES = [suite]


def exposure(site):
    """As rdmafsctl has it: ("window" or "cache", what there is to say about it)."""
    kind, _, remark = site.document("status")["transport"].get("memory", "").partition(": ")
    return kind, remark


def device_has_windows():
    limits = [line.split()[1] for line in run(["ibv_devinfo", "-v"]).stdout.splitlines()
              if line.strip().startswith("max_mw:")]
    if not limits:
        raise Failed("ibv_devinfo says nothing about memory windows")
    return any(int(limit) for limit in limits)


@suite.check("the status says whether they are used, and why if not")
def status(site):
    if site.where.transport != "rdma":
        raise NotHere("over TCP there are no rkeys")
    kind, remark = exposure(site)
    equal("exposed by", kind, "window" if device_has_windows() else "cache")
    if kind == "cache" and not remark:
        raise Failed("no reason is given")


@suite.check("one line of the log says what a user has to know, however many connections there are")
def log_line(site):
    if site.where.transport != "rdma":
        raise NotHere("over TCP there are no rkeys")
    remark = exposure(site)[1]
    point, log = site.base / "foreground", site.logs / "foreground.log"
    point.mkdir()
    with open(log, "w", encoding="utf-8") as out:
        mount = subprocess.Popen(
            [site.where.build.program("rdmafs"), "-f", site.source(), str(point), "-o",
             site.mount_option_text("shards=2")], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            wait_until(lambda: is_mounted(point), 20 * site.where.slow, "it is mounted")
        finally:
            run(["umount", str(point)], 30 * site.where.slow, expect=None)
            mount.returncode = processes.wait_for_end(mount.pid, 30 * site.where.slow)
    equal("exit status", mount.returncode, 0)
    lines = [line for line in log.read_text().splitlines() if "memory windows" in line]
    equal(f"lines about memory windows ({lines})", len(lines), 1 if remark else 0)


def needs_windows(site):
    if site.where.transport != "rdma" or exposure(site)[0] != "window":
        raise NotHere("there are none; without them the other suites show it")


@suite.check("fio finds every block as it wrote it", 60)
def blocks(site):
    needs_windows(site)
    verify(site)


@suite.check("a tree goes in and out with the same sums", 60)
def sums(site):
    needs_windows(site)
    tree(site)


@suite.check("nothing is registered for a read or write", 60)
def registrations(site):
    needs_windows(site)
    directory, _ = site.case_directories()
    work = [["--rw=write", "--bs=1m", "--size=4m", "--direct=1"], ["--rw=read", "--bs=1m", "--size=4m", "--direct=1"],
            ["--rw=randrw", "--bs=64k", "--size=2m", "--ioengine=libaio", "--iodepth=16", "--direct=1"]]
    for options in work:  # the first turn makes slabs and files
        fio(directory, *options, timeout=60 * site.where.slow)
    before = counters(site.document("stats"))
    for options in work:
        fio(directory, *options, timeout=60 * site.where.slow)
    after = counters(site.document("stats"))
    moved = {name: after[name] - before[name] for name in after}
    equal("registrations that are not of a new slab", moved["registrations"] - moved["slabs"], 0)
    equal("payload bytes copied", moved["copied_bytes"], 0)
    # What the server fetches out of this side's memory, this side does not see: the reads are in the counters.
    if moved["bytes"] < 4 << 20 or moved["lookups"] <= 0:
        raise Failed(f"the run is not in the counters: they do not work ({moved})")
