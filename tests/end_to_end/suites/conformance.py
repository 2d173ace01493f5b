"""A public POSIX suite, where one is at hand: RDMAFS_PJDFSTEST names a built checkout of pjdfstest. It runs
on the mount and on the export, and both have to fail the same assertions. Not part of a usual run:

    RDMAFS_PJDFSTEST=/path/to/pjdfstest tests/end_to_end/run --suites conformance"""
import os
import pathlib
import re

from harness.checks import Suite, brief
from harness.processes import Failed, run

suite = Suite("conformance")
SUITES = [suite]
FAILED = re.compile(r"^not ok (\d+)", re.MULTILINE)
PLANNED = re.compile(r"^1\.\.(\d+)", re.MULTILINE)


def results(script, directory):
    """(assertions planned, the numbers of those that failed) of one script."""
    out = run(["bash", str(script)], timeout=300, expect=None, cwd=directory,
              env={**os.environ, "PATH": os.environ["PATH"]}).stdout
    planned = PLANNED.search(out)
    return int(planned[1]) if planned else 0, [int(number) for number in FAILED.findall(out)]


@suite.check("pjdfstest gives on the mount what it gives on the directory", timeout=3600)
def pjdfstest(site):
    checkout = os.environ.get("RDMAFS_PJDFSTEST")
    if not checkout:
        raise Failed("RDMAFS_PJDFSTEST names no checkout")
    on_mount, on_export = site.case_directories()
    wrong, total = [], 0
    wanted = os.environ.get("RDMAFS_PJDFSTEST_ONLY", "")
    for script in sorted(pathlib.Path(checkout).glob("tests/*/*.t")):
        if wanted not in str(script):
            continue
        yardstick, got = results(script, on_export), results(script, on_mount)
        total += yardstick[0]
        if got != yardstick:
            wrong.append(f"{script.parent.name}/{script.name}: the mount {brief(got)}, the directory {brief(yardstick)}")
    print(f"      {total} assertions of {checkout}")
    if wrong or not total:
        raise Failed("\n".join(wrong) or "no assertion ran")
