"""One fio measurement, and medians and tables of many."""
import json
import os
import statistics

from harness.processes import Failed, run

FILE_MIB = 256
RAMP_SECONDS = 0.3


def fio(directory, seconds, rw, block, depth):
    """(MiB/s, operations/s) of one job on the file `bench` in directory, O_DIRECT."""
    engine = ["--ioengine=psync"] if depth == 1 else ["--ioengine=libaio", f"--iodepth={depth}"]
    done = run(["fio", "--name=bench", f"--filename={directory}/bench", f"--size={FILE_MIB}m", f"--rw={rw}",
                f"--bs={block}", "--direct=1", "--time_based", f"--runtime={seconds}",
                f"--ramp_time={RAMP_SECONDS}", "--norandommap", "--randrepeat=0", "--fallocate=none", "--output-format=json", *engine],
               timeout=seconds + 60)
    document = done.stdout[done.stdout.index("{"):]
    job = json.loads(document)["jobs"][0]
    if job["error"]:
        raise Failed(f"fio {rw} {block}: error {job['error']}")
    side = job["read" if "read" in rw else "write"]
    return side["bw_bytes"] / (1 << 20), side["iops"]


def make_file(directory):
    with open(f"{directory}/bench", "wb") as file:
        for _ in range(FILE_MIB):
            file.write(b"\xa5" * (1 << 20))


def median_of(rounds):
    return statistics.median(rounds)


def spread_of(rounds):
    """Half the distance from the smallest to the largest, in per cent of the median."""
    middle = statistics.median(rounds)
    return 50 * (max(rounds) - min(rounds)) / middle if middle else 0


def table(heads, rows):
    """A Markdown table of texts."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def machine():
    """What the figures were taken on, in one line."""
    def field(path, name):
        with open(path, encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith(name)), "unknown")
    return (f"Linux {os.uname().release}, {os.cpu_count()} x {field('/proc/cpuinfo', 'model name')}, "
            f"{field('/proc/meminfo', 'MemTotal')}")
