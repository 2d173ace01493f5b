"""A site: one exported directory, its server, and mounts of it. Whatever a check did, stop() leaves
no mount and no process behind."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess

from harness import processes
from harness.identities import Identities
from harness.processes import Failed, run, wait_until
from harness.programs import environment, sanitizer_reports

SERVING = re.compile(r"rdmafsd: serving .* on (\w+) (\S+):(\d+)")


class Where:
    """How sites are made: the build, the work directory, transport, address, and what stands in for
    the product when the suites themselves are tested (none, "bind" or "passthrough")."""

    def __init__(self, build, work, transport="tcp", address="127.0.0.1", stand_in="none",
                 mount_options="", slow=1):
        self.build, self.work = build, pathlib.Path(work)
        self.transport, self.address, self.stand_in = transport, address, stand_in
        self.mount_options, self.slow = mount_options, slow


class Site:
    def __init__(self, where, name, options="", export_options="no_root_squash", export=None, transport=None,
                 listen=None):
        """options: further mount options. export: a directory to serve instead of a new one. transport,
        listen: instead of the transport and the address of `where`; listen="": on all addresses."""
        self.where, self.name, self.options = where, name, options
        self.transport = transport or where.transport
        self.listen = where.address if listen is None else listen
        self.export_options = export_options
        self.base = where.work / name
        clear(self.base)
        self.base.mkdir(parents=True)
        self.export = pathlib.Path(export) if export else self.base / "export"
        self.export.mkdir(exist_ok=True)
        self.logs = self.base / "logs"
        self.logs.mkdir()
        self.server = self.port = None
        self.server_prefix = []  # a command that runs the server: in another namespace
        self.server_ended = False
        self.mounts = {}  # mount point -> pid of the mount program, 0 for a stand-in without one
        self.identities = Identities()
        self.cases = 0

    # --- what checks use ---

    @property
    def mount(self):
        """The first mount's root."""
        return next(iter(self.mounts))

    def document(self, command, target=None):
        """What rdmafsctl has to say of a mount point (the first one) or a socket: command is status or stats."""
        argv = [self.where.build.program("rdmafsctl"), command, "--json", str(target or self.mount)]
        said = ""

        def ask():
            nonlocal said
            done = run(argv, expect=None)
            said = done.stdout
            return done.returncode == 0
        # A crowded machine may take longer than rdmafsctl waits.
        try:
            wait_until(ask, 20 * self.where.slow, "it has an answer")
        except Failed as failure:
            raise Failed(f"{' '.join(argv)}: {failure}\n{processes.tail(said)}") from None
        return json.loads(said)

    def start(self, mounts=1):
        self.start_server()
        for number in range(mounts):
            self.add_mount(f"mnt{number + 1}")
        return self

    def case_directories(self):
        """A new empty directory on the mount and one on the export itself, alike in all else."""
        self.cases += 1
        pair = self.export / f"m{self.cases}", self.export / f"d{self.cases}"
        for directory in pair:
            directory.mkdir()
        return self.mount / pair[0].name, pair[1]

    # --- the server ---

    def start_server(self, port=0):
        if self.where.stand_in != "none":
            self.port = 1
            return
        begin = len(self.server_log())
        log = open(self.logs / "server", "a", encoding="utf-8")
        options = f"port={port},state={self.base}/state,{self.export_options}"
        if self.listen:
            options += f",listen={self.listen}"
        if not self.where.address.startswith("127."):
            options += f",clients={self.where.address}"
        if self.transport != "auto":
            options += f",transport={self.transport}"
        with log:
            self.server = subprocess.Popen(
                [*self.server_prefix, self.where.build.program("rdmafsd"), "-f", "-o", options, str(self.export)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=environment(self.logs))
        self.server_ended = False
        found = wait_until(lambda: self.serving_line(begin), 20 * self.where.slow,
                           "rdmafsd says what it serves")
        self.port = int(found[3])

    def serving_line(self, begin):
        if self.server.poll() is not None:
            raise Failed(f"rdmafsd ended with {self.server.returncode}:\n{self.server_log()}")
        return SERVING.search(self.server_log()[begin:])

    def server_log(self):
        path = self.logs / "server"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def kill_server(self):
        self.server.kill()
        self.server.wait()
        self.server_ended = True

    # --- mounts ---

    def source(self):
        return f"{self.where.address}:{self.export}"

    def mount_option_text(self, more=""):
        parts = ["allow_other", f"port={self.port}", f"transport={self.transport}",
                 self.where.mount_options, self.options, more]
        return ",".join(part for part in parts if part)

    def add_mount(self, name, options="", **run_options):
        """Mounts the export at a new mount point and returns its path."""
        point = self.base / name
        point.mkdir(exist_ok=True)
        before = set(processes.children())
        stand_in = self.where.stand_in
        if stand_in == "bind":
            argv = ["mount", "--bind", str(self.export), str(point)]
        elif stand_in == "passthrough":
            argv = [self.where.build.program("passthrough"), "-o", f"source={self.export},allow_other,"
                    "default_permissions", str(point)]
        else:
            argv = [self.where.build.program("rdmafs"), self.source(), str(point), "-o",
                    self.mount_option_text(options)]
        # Not a pipe: the program keeps its standard error when it goes into the background.
        with open(self.logs / f"{name}.log", "a", encoding="utf-8") as log:
            done = run(argv, timeout=30 * self.where.slow, expect=None, env=environment(self.logs),
                       stdout=log, stderr=log, **run_options)
        if done.returncode:
            raise Failed(f"{' '.join(argv)}: exit status {done.returncode}\n{self.mount_log(point)}\n"
                         f"the server's log:\n{processes.tail(self.server_log())}")
        if not is_mounted(point):
            raise Failed(f"{argv[0]} ended with 0, and {point} is no mount point")
        # Only a program that names this mount point is its server; others may have come meanwhile.
        own = [pid for pid in processes.children()
               if pid not in before and str(point) in processes.command_line(pid)]
        self.mounts[point] = own[0] if own else 0
        return point

    def unmount(self, point):
        """Failed when it is busy or its process does not end well."""
        pid = self.mounts.pop(point)
        done = self.try_unmount(point)
        if done.returncode:
            run(["umount", "-l", str(point)], timeout=10, expect=None)
        status = processes.wait_for_end(pid, 15 * self.where.slow) if pid else 0
        if status is None:
            os.kill(pid, 9)
            processes.wait_for_end(pid, 5)
        if done.returncode:
            raise Failed(f"umount {point}: {done.stdout.strip()}")
        if status != 0:
            how = "went on after the unmount" if status is None else f"ended with {status}"
            raise Failed(f"the mount program of {point} {how}\n" + self.mount_log(point))

    def try_unmount(self, point):
        if self.server_ended:  # nobody answers a plain umount's question after the mount point
            return run(["umount", "-l", str(point)], timeout=30 * self.where.slow, expect=None)
        try:
            return run(["umount", str(point)], timeout=30 * self.where.slow, expect=None)
        except Failed as failure:
            return subprocess.CompletedProcess([], 124, str(failure), None)

    def mount_log(self, point):
        path = self.logs / f"{pathlib.Path(point).name}.log"
        return processes.tail(path.read_text(errors="replace")) if path.exists() else ""

    # --- the end ---

    def stop(self):
        """What did not end as it should, as a list of texts."""
        problems = []
        self.identities.end()
        for point in list(self.mounts):
            try:
                self.unmount(point)
            except Failed as failure:
                problems.append(str(failure))
        if self.server and not self.server_ended:
            status, obeyed = processes.end(self.server.pid, 15 * self.where.slow)
            self.server.returncode = status
            if not obeyed or status:
                problems.append(f"rdmafsd: SIGTERM {'ended it' if obeyed else 'did not end it'}, "
                                f"exit status {status}\n{processes.tail(self.server_log())}")
        problems += sanitizer_reports(self.logs)
        return problems

    def remove(self):
        clear(self.base)


@contextlib.contextmanager
def running(site, mounts=1):
    """The site, started; what does not end well there fails the check."""
    try:
        yield site.start(mounts)
    except BaseException:
        site.stop()
        raise
    problems = site.stop()
    if problems:
        raise Failed("\n".join(problems))
    site.remove()


@contextlib.contextmanager
def tmpfs(site, options, kind="tmpfs"):
    """A directory that is a tmpfs (ramfs) of its own."""
    directory = site.where.work / "small-disk"
    clear(directory)
    directory.mkdir(parents=True)
    run(["mount", "-t", kind, "-o", options, kind, str(directory)])
    try:
        yield directory
    finally:
        clear(directory)


def is_mounted(point):
    """os.path.ismount does not know bind mounts, and asks the file system."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        return any(line.split()[1] == str(point) for line in mounts)


def clear(directory):
    """Removes a site's directory, and whatever an earlier run left mounted below it."""
    prefix = str(directory) + "/"
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        points = [line.split()[1] for line in mounts if (line.split()[1] + "/").startswith(prefix)]
    for point in reversed(points):
        run(["umount", "-l", point], timeout=10, expect=None)
    if directory.exists():
        shutil.rmtree(directory, ignore_errors=True)
