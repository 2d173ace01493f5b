"""Unmounts under load: what runs ends with an error, nothing hangs, nothing stays."""
import contextlib
import os
import signal
import subprocess
import time

from harness import processes
from harness.checks import Suite, equal
from harness.processes import Failed, run, wait_until
from harness.site import is_mounted

suite = Suite("unload", needs_product=True)
SUITES = [suite]


def load(point, number):
    return subprocess.Popen(
        ["fio", f"--name=load{number}", f"--directory={point}", "--rw=randrw", "--bsrange=4k-256k",
         "--size=8m", "--numjobs=2", "--time_based", "--runtime=60"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end_loads(point):
    """Also a job whose fio has ended, at the mount's end, and left it waiting for its start: a session of its own,
    and by then nobody's descendant."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if f"--directory={point}" in processes.command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def under_load(site, name, take_away):
    """take_away(point, pid of the mount program) while two fio runs are in full work."""
    point = site.add_mount(name)
    pid = site.mounts[point]
    loads = [load(point, number) for number in range(2)]
    try:
        wait_until(lambda: sum(entry.stat().st_size for entry in os.scandir(site.export)
                               if entry.name.startswith("load")) > 8 << 20, 60 * site.where.slow,
                   "the load is on its way")
        begin = time.monotonic()
        take_away(point, pid)
        wait_until(lambda: not is_mounted(point), 20 * site.where.slow, "the mount point is free")
    except BaseException:
        run(["umount", "-f", str(point)], 30, expect=None)
        raise
    finally:
        end_loads(point)
        for each in loads:
            if processes.wait_for_end(each.pid, 30 * site.where.slow) is None:
                raise Failed("fio cannot be killed: its I/O hangs")
            each.returncode = -9
    site.mounts.pop(point)
    if processes.wait_for_end(pid, 30 * site.where.slow) is None:
        os.kill(pid, 9)
        raise Failed(f"the mount program goes on, {time.monotonic() - begin:.1f} s after the unmount")
    for entry in list(os.scandir(site.export)):
        if entry.name.startswith("load"):
            os.unlink(entry.path)


@suite.check("umount -l under load", 200)
def lazy(site):
    under_load(site, "lazy", lambda point, _: run(["umount", "-l", str(point)], 30))


@suite.check("a plain umount under load says busy, and the load goes on", 200)
def busy(site):
    def try_and_then(point, _):
        done = run(["umount", str(point)], 30, expect=None)
        if done.returncode == 0:
            raise Failed("umount took a busy mount away")
        equal("still mounted", is_mounted(point), True)
        os.stat(point)
        run(["umount", "-l", str(point)], 30)
    under_load(site, "busy", try_and_then)


@suite.check("SIGTERM to the mount program under load takes the mount away", 200)
def terminated(site):
    def terminate(point, pid):
        os.kill(pid, 15)
        try:
            wait_until(lambda: not is_mounted(point), 20 * site.where.slow, "the mount has gone")
        except Failed:
            run(["umount", "-l", str(point)], 30)
            raise
    under_load(site, "terminated", terminate)


@suite.check("umount -l while the server is being killed", 200)
def with_server(site):
    def both(point, _):
        site.kill_server()
        run(["umount", "-l", str(point)], 30)
    under_load(site, "both", both)
