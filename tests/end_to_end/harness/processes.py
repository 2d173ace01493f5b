"""Runs other programs with a time limit, and ends by pid whatever is still there at the end."""
import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
# Programs that tell, when something hangs, how far the product came.
reporters = []


class Failed(Exception):
    """A command's result was not the one that was asked for."""


def become_subreaper():
    """A program that puts itself into the background becomes our child: so its pid and its exit
    status are known here, and nothing is ever ended by name."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(argv, timeout=60, expect=0, **options):
    """Runs argv to its end. Returns the CompletedProcess (output as text, stderr in stdout).
    expect: the exit status that is no failure, or None for any."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.STDOUT)
    process = subprocess.Popen(argv, text=True, errors="replace", start_new_session=True, **options)
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        waits = whereabouts()
        kill_with_descendants(process.pid)
        try:
            out, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            out = f"(its output stays open; after SIGKILL:)\n{whereabouts()}"
        raise Failed(f"{' '.join(map(str, argv))}: not done after {timeout} s\n{waits}\n{tail(out, 60)}") from None
    if expect is not None and process.returncode != expect:
        raise Failed(f"{' '.join(map(str, argv))}: exit status {process.returncode}, "
                     f"not {expect}\n{tail(out)}")
    return subprocess.CompletedProcess(argv, process.returncode, out or "", None)


def shell(script, timeout=60, expect=0, **options):
    """Runs a bash script that ends at its first failing command."""
    return run(["bash", "-euo", "pipefail", "-c", script], timeout, expect, **options)


def tail(text, lines=25):
    return "\n".join((text or "").splitlines()[-lines:])


def wait_until(condition, seconds, what):
    """Polls until condition() is true and returns its value; Failed when `seconds` have gone by."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not so after {seconds} s")
        time.sleep(0.02)  # the poll's interval, not a synchronisation: the condition decides


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def children():
    """The pids of this process's children, adopted ones too."""
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(name) == me]


def whereabouts():
    """In which kernel functions the threads of all our descendants are, what processor time they take, and how many
    requests each FUSE connection waits for: what there is to know about a hang once it is over."""
    lines = []
    tasks = [task for pid in descendants() for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*"))]
    before = {}
    for task in tasks:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            before[task] = state_and_times(task)
    time.sleep(0.5)  # what a thread takes of it tells one that goes in circles from one that is not let run
    for task, (_, user_before, system_before) in before.items():
        with contextlib.suppress(OSError):
            state, user, system = state_and_times(task)
            taken = f"{user - user_before} and {system - system_before} ticks"
            name = (task / "comm").read_text(errors="replace").strip()
            stack = [line.split()[-1].partition("+")[0] for line in (task / "stack").read_text().splitlines()]
            lines.append(f"{name} {task.parent.parent.name}/{task.name} {state}, {taken}: "
                         f"{' < '.join(stack[:6]) or 'no stack to be had'}")
    for waiting in sorted(pathlib.Path("/sys/fs/fuse/connections").glob("*/waiting")):
        lines.append(f"FUSE connection {waiting.parent.name}: {waiting.read_text().strip()} waiting")
    for argv in reporters:
        try:
            lines += subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    errors="replace", timeout=10, check=False).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired) as error:
            lines.append(str(error))
    return "\n".join(lines)


def state_and_times(task):
    """A thread's state, and its ticks in the program and in the kernel."""
    fields = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[11]), int(fields[12])


def descendants(pid=None):
    """The pids of all that `pid` (this process) has started, and of what they have."""
    parents = {int(name): parent_of(name) for name in os.listdir("/proc") if name.isdigit()}
    root = pid or os.getpid()
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {root})


def kill_with_descendants(pid):
    """Jobs of fio are sessions of their own, which a signal to the group does not reach."""
    for each in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [part.decode(errors="replace") for part in file.read().split(b"\0")[:-1]]
    except OSError:
        return []


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def wait_for_end(pid, seconds):
    """The exit status of child `pid` (negative: the signal); None when it still runs."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)


def end(pid, seconds=10):
    """SIGTERM, then SIGKILL. Returns (exit status, whether SIGTERM was enough)."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return 0, True
    status = wait_for_end(pid, seconds)
    if status is not None:
        return status, True
    os.kill(pid, signal.SIGKILL)
    return wait_for_end(pid, 5), False
