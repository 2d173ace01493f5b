"""Data over a network where they are long on their way: what is sent late is still what was to be sent. In
the lab's guest only, whose network is the suite's to slow down."""
import contextlib
import os

from harness.checks import NotHere, Suite
from harness.processes import run
from suites.tools import fio

suite = Suite("latency", needs_product=True)
SUITES = [suite]


@contextlib.contextmanager
def delay(milliseconds):
    """On the loopback device, which the guest's connections to itself go through. (Soft-RoCE's do not.)"""
    if not os.environ.get("LAB_DEVICE"):
        raise NotHere("not in the lab's guest")
    run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", f"{milliseconds}ms", "limit", "100000"])
    try:
        yield
    finally:
        run(["tc", "qdisc", "del", "dev", "lo", "root"])


@suite.check("blocks that are used again do not change what is still on its way", 300)
def reads(site):
    directory, _ = site.case_directories()

    def at_depth(rw, block, *more):
        fio(directory, f"--rw={rw}", f"--bs={block}", "--size=24m", "--direct=1", "--ioengine=libaio",
            "--iodepth=8", "--verify=crc32c", *more, timeout=120 * site.where.slow)
    at_depth("write", "1m", "--do_verify=0")
    with delay(2):
        for _ in range(3):
            at_depth("read", "1m")
        at_depth("write", "1m")
        at_depth("randwrite", "4k", "--io_size=1m")
        at_depth("randwrite", "64k")
