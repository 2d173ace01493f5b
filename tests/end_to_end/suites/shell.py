"""The short suite for slow guests: shell tools, fio with verify, a tree in and out."""
from harness.checks import Suite
from harness.checks import equal
from harness.processes import shell
from harness.trees import digest, make_tree
from suites.tools import fio, shell_tools

suite = Suite("shell")
direct = Suite("shell direct_io", options="direct_io")
SUITES = [suite, direct]


@suite.check("a large tree is copied in and out with the same sums", 300)
def tree(site):
    directory, backing = site.case_directories()
    made = make_tree(backing, files=300, largest=2_000_000)
    before = digest(made)
    shell(f"cp -a '{made}' '{directory}/'", 200 * site.where.slow)
    equal("the tree on the mount", digest(directory / "tree"), before)
    equal("the tree on the server", digest(site.export / directory.name / "tree"), before)
    shell(f"cp -a '{directory}/tree' '{backing}/back'", 200 * site.where.slow)
    equal("the tree that came back", digest(backing / "back"), before)
    shell(f"rm -r '{directory}/tree'", 100 * site.where.slow)


def verify(site):
    directory, _ = site.case_directories()
    limit = 120 * site.where.slow
    fio(directory, "--rw=randrw", "--bs=4k", "--numjobs=2", "--size=2m", "--verify=crc32c", timeout=limit)
    fio(directory, "--rw=write", "--bs=1m", "--numjobs=2", "--size=16m", "--verify=md5", timeout=limit)
    fio(directory, "--rw=randwrite", "--bsrange=512-300k", "--bs_unaligned=1", "--size=8m",
        "--verify=md5", timeout=limit)
    fio(directory, "--rw=randrw", "--bs=16k", "--direct=1", "--ioengine=libaio", "--iodepth=16",
        "--size=8m", "--verify=crc32c", timeout=limit)


for _suite in SUITES:
    _suite.check("the shell's tools do what they do elsewhere")(shell_tools)
    _suite.check("fio finds every block as it wrote it", 400)(verify)
