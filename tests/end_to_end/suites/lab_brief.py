"""The least that shows a transport: for a guest in software emulation, where all takes ten times as long."""
from harness.checks import Suite, equal
from harness.processes import shell
from harness.trees import digest, make_tree
from suites.tools import fio, shell_tools

suite = Suite("brief")
SUITES = [suite]


@suite.check("the shell's tools do what they do elsewhere")
def tools(site):
    shell_tools(site)


@suite.check("fio finds every block as it wrote it", 60)
def verify(site):
    directory, _ = site.case_directories()
    limit = 60 * site.where.slow
    fio(directory, "--rw=randrw", "--bs=4k", "--size=1m", "--verify=crc32c", timeout=limit)
    fio(directory, "--rw=write", "--bs=1m", "--size=8m", "--verify=md5", timeout=limit)
    fio(directory, "--rw=randrw", "--bs=64k", "--direct=1", "--ioengine=libaio", "--iodepth=8",
        "--size=4m", "--verify=crc32c", timeout=limit)


@suite.check("a tree goes in and out with the same sums", 60)
def tree(site):
    directory, backing = site.case_directories()
    made = make_tree(backing, files=60, largest=200_000)
    before = digest(made)
    limit = 60 * site.where.slow
    shell(f"cp -a '{made}' '{directory}/'; cp -a '{directory}/tree' '{backing}/back'", limit)
    equal("the tree on the server", digest(site.export / directory.name / "tree"), before)
    equal("the tree that came back", digest(backing / "back"), before)
