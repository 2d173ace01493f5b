"""Random operations on a file, compared with a model at every step (fsx), on every kind of mount."""
import os
import threading

from harness.checks import Suite, equal
from harness.processes import run
from harness.site import Site, running, tmpfs

# Fixed, so that a run that passed passes again; a run with others: FSX_SEED=... tests/end_to_end/run
SEED = int(os.environ.get("FSX_SEED", "20"))
OPERATIONS = int(os.environ.get("FSX_OPERATIONS", "1500"))


def exercise(site, name, seed, *options):
    directory, _ = site.case_directories()
    run([site.where.build.program("fsx"), "-s", str(seed), "-n", str(OPERATIONS), *options,
         str(directory / name)], timeout=200 * site.where.slow)


def one_file(site):
    for seed in range(SEED, SEED + 3):
        exercise(site, "f", seed)


def small_file(site):
    exercise(site, "f", SEED, "-l", "70000")


def aligned(site):
    exercise(site, "f", SEED, "-d")


def four_files(site):
    """Four at once share the mount's connections and blocks."""
    errors = []

    def work(number):
        try:
            exercise(site, f"f{number}", SEED + 100 + number)
        except Exception as error:  # counted below
            errors.append(str(error))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal("errors", errors, [])


def in_memory(site):
    """A server of files that are memory has large payload go between them and the socket, and no block."""
    with tmpfs(site, "size=80m,mode=755") as disk, \
            running(Site(site.where, f"{site.name}-memory", export=disk, options=site.options)) as memory:
        exercise(memory, "f", SEED, "-l", "6000000")
        run(["fio", "--name=memory", f"--filename={memory.mount}/fio", "--size=64m", "--rw=randwrite", "--direct=1",
             "--bsrange=128k-1m", "--bs_unaligned=0", "--ioengine=libaio", "--iodepth=8", "--verify=crc32c",
             "--verify_fatal=1", "--verify_state_save=0"], timeout=120 * site.where.slow)


SUITES = []
for _name, _options in (("random", ""), ("random direct_io", "direct_io"),
                        ("random writeback", "writeback"), ("random cache=none", "cache=none")):
    _suite = Suite(_name, options=_options)
    SUITES.append(_suite)
    _suite.check("random operations leave what the model says", 400)(one_file)
    _suite.check("random operations on a small file leave what the model says", 200)(small_file)
    _suite.check("random aligned O_DIRECT operations leave what the model says", 200)(aligned)
    _suite.check("random operations on a server's memory leave what the model says, and fio finds what it wrote", 400)(
        in_memory)
    _suite.check("random operations on four files at once leave what the models say", 400)(four_files)
