"""Directories: reading large ones, positions that stay good, entries that come and go."""
import os
import threading

from harness.checks import Suite, equal
from harness.operations import DirectoryStream
from harness.processes import Failed
from harness.tables import same_on_both

ENTRIES = 100_000
suite = Suite("directories")
SUITES = [suite]


def names_of(stream):
    names = []
    while (name := stream.read()) is not None:
        names.append(name)
    return names


@suite.check(f"a directory of {ENTRIES} entries is listed whole, each once", timeout=300)
def huge(site):
    on_mount, _ = site.case_directories()
    backing = site.export / on_mount.name
    for number in range(ENTRIES):
        os.close(os.open(backing / f"entry-{number:06}", os.O_CREAT | os.O_WRONLY, 0o644))
    listed = os.listdir(on_mount)
    equal("entries", len(listed), ENTRIES)
    equal("different entries", len(set(listed)), ENTRIES)
    equal("one of them", os.path.isfile(on_mount / f"entry-{ENTRIES - 1:06}"), True)
    for number in range(0, 1000):
        os.unlink(on_mount / f"entry-{number:06}")
    equal("entries after 1000 were removed", len(os.listdir(on_mount)), ENTRIES - 1000)


@suite.check("a listing with attributes gives every entry's")
def plus(site):
    def collect(directory):
        for number in range(500):
            path = directory / f"f{number}"
            path.write_bytes(b"x" * number)
            path.chmod(0o600 + number % 64)
        for number in range(20):
            (directory / f"d{number}").mkdir()
        (directory / "s").symlink_to("nowhere")
        return sorted((entry.name, entry.is_dir(), entry.is_symlink(),
                       entry.stat(follow_symlinks=False).st_mode,
                       0 if entry.is_dir() else entry.stat(follow_symlinks=False).st_size)
                      for entry in os.scandir(directory))
    equal("entries", len(same_on_both(site, collect)), 521)


@suite.check("dot and dot-dot are there once, the rest in any order")
def dots(site):
    def read(directory):
        (directory / "f").touch()
        with DirectoryStream(directory) as stream:
            return sorted(names_of(stream))
    same_on_both(site, read, [b".", b"..", b"f"])


@suite.check("telldir's positions lead back to where they were taken")
def positions(site):
    def go_back(directory):
        for number in range(3000):
            (directory / f"f{number}").touch()
        with DirectoryStream(directory) as stream:
            order = []
            while True:
                position = stream.tell()
                name = stream.read()
                if name is None:
                    break
                order.append((position, name))
            for position, name in order[::-97]:
                stream.seek(position)
                equal("the name at its position", stream.read(), name)
            stream.seek(order[1500][0])
            rest = names_of(stream)
            stream.rewind()
            return len(order), rest == [name for _, name in order[1500:]], len(names_of(stream))
    same_on_both(site, go_back, (3002, True, 3002))


@suite.check("positions stay good while entries before and behind them come and go")
def positions_in_change(site):
    def change(directory):
        for number in range(2000):
            (directory / f"f{number}").touch()
        with DirectoryStream(directory) as stream:
            first = [stream.read() for _ in range(700)]
            position = stream.tell()
            for name in first[::2]:
                if name not in (b".", b".."):
                    os.unlink(os.path.join(os.fsencode(directory), name))
            for number in range(300):
                (directory / f"new{number}").touch()
            stream.seek(position)
            rest = names_of(stream)
        old_rest = {name for name in rest if not name.startswith(b"new")}
        expected = {f"f{n}".encode() for n in range(2000)} | {b".", b".."}
        return old_rest == expected - set(first), len(rest) == len(set(rest))
    same_on_both(site, change, (True, True))


@suite.check("what stays is listed once while another process makes and removes names", timeout=180)
def listed_in_change(site):
    def change(directory):
        stay = {f"stay{number}" for number in range(2000)}
        for name in stay:
            (directory / name).touch()
        done = threading.Event()

        def come_and_go():
            number = 0
            while not done.is_set():
                path = directory / f"temporary{number % 500}"
                path.touch()
                path.unlink()
                number += 1
        other = threading.Thread(target=come_and_go)
        other.start()
        try:
            for _ in range(10):
                listed = [name for name in os.listdir(directory) if name.startswith("stay")]
                if len(listed) != len(stay) or set(listed) != stay:
                    raise Failed(f"{len(listed)} names, {len(set(listed))} different ones, "
                                 f"of {len(stay)}")
        finally:
            done.set()
            other.join()
        return True
    same_on_both(site, change)


@suite.check("removing everything while reading leaves nothing behind")
def remove_while_reading(site):
    def remove(directory):
        for number in range(5000):
            (directory / f"f{number}").touch()
        with DirectoryStream(directory) as stream:
            while (name := stream.read()) is not None:
                if name not in (b".", b".."):
                    os.unlink(os.path.join(os.fsencode(directory), name))
        left = os.listdir(directory)
        os.rmdir(directory)
        return left
    same_on_both(site, remove, [])


@suite.check("long names fill many replies")
def long_names(site):
    def make(directory):
        names = sorted(f"{number:04}" + "x" * 251 for number in range(2000))
        for name in names:
            (directory / name).touch()
        return sorted(os.listdir(directory)) == names
    same_on_both(site, make, True)


@suite.check("a deep tree is walked and removed")
def deep(site):
    def walk(directory):
        path = directory
        for number in range(200):
            path = path / f"d{number}"
            path.mkdir()
        (path / "bottom").write_text("here")
        found = sum(len(files) for _, _, files in os.walk(directory))
        content = (path / "bottom").read_text()
        (path / "bottom").unlink()
        while path != directory:
            path.rmdir()
            path = path.parent
        return found, content, os.listdir(directory)
    same_on_both(site, walk, (1, "here", []))


@suite.check("eight threads make, rename and remove names in one directory and lose none")
def threads(site):
    on_mount, _ = site.case_directories()
    errors = []

    def work(number):
        try:
            for turn in range(100):
                path = on_mount / f"t{number}-{turn}"
                path.touch()
                path.rename(on_mount / f"r{number}-{turn}")
                if turn % 2:
                    (on_mount / f"r{number}-{turn}").unlink()
        except OSError as error:
            errors.append(error)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    equal("errors", errors, [])
    equal("names left", len(os.listdir(on_mount)), 400)
    equal("names on the server", len(os.listdir(site.export / on_mount.name)), 400)
