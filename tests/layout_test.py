#!/usr/bin/env python3
"""Fails on an include that goes against the arrows of docs/ARCHITECTURE.md:

    fuse -> client -> transport <- server        base <- wire, memory <- connection.h <- rpc, rdma, tcp, loopback
                                                 base <- wire <- auth <- tls <- tcp

and on a line of C or C++ that is longer than 100 columns.

Usage: tests/layout_test.py [ROOT]. Prints each of them; exit status 1 when there is one."""
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
SUFFIXES = {".h", ".cc", ".c"}
MAX_COLUMNS = 100
CONCRETE = {"transport/rdma", "transport/tcp", "transport/loopback"}
SEAM = {"transport/base", "transport/wire", "transport/memory", "transport/connection.h"}
COMMON = SEAM | {"transport/auth", "transport/tls", "transport/rpc", "transport/control"}
# Which parts of the house each folder may include. The longest prefix of a file's path counts.
ALLOWED = {
    "transport/base": {"transport/base"},
    "transport/wire": {"transport/base", "transport/wire"},
    "transport/memory": {"transport/base", "transport/memory"},
    "transport/auth": {"transport/base", "transport/wire", "transport/auth"},
    "transport/connection.h": SEAM,
    "transport/rpc": SEAM | {"transport/rpc"},
    "transport/control": {"transport/base", "transport/wire", "transport/memory", "transport/control"},
    "transport/rdma": SEAM | {"transport/rdma"},
    "transport/tls": {"transport/base", "transport/wire", "transport/auth", "transport/tls"},
    "transport/tcp": SEAM | {"transport/tls", "transport/tcp"},
    "transport/loopback": SEAM | {"transport/loopback"},
    "client": COMMON | {"client"},
    "server": COMMON | {"server"},
    "fuse": COMMON | {"client", "fuse"},
    "ctl": {"transport/base", "transport/control", "ctl"},
    "tests": COMMON | CONCRETE | {"client", "server", "fuse", "ctl", "tests"},
}
# Puts the concrete parts together: it may name every transport.
BUILDERS = re.compile(r"(^|/)(main|stack_builder|transports)\.(cc|h)$")
# System headers that belong to one folder (and to its tests).
OWNED = {re.compile(r"^(infiniband|rdma)/"): ("transport/rdma", "tests/transport/rdma"),
         re.compile(r"^openssl/ssl\.h$"): ("transport/tls", "transport/tcp", "tests/transport"),
         re.compile(r"^(fuse|fuse3|fuse_\w+)(\.h|/)|^linux/fuse\.h$"): ("fuse", "tests/fuse", "tests/bench")}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                        pathlib.Path(__file__).resolve().parent.parent)
    folders = sorted({name.split("/")[0] for name in ALLOWED})
    files = [path for folder in folders for path in sorted((root / folder).rglob("*"))
             if path.suffix in SUFFIXES]
    wrong = [f"{name}:{number}: {why}" for path in files
             for name in [path.relative_to(root).as_posix()]
             for number, why in faults(name, path.read_text(encoding="utf-8"), root)]
    print("\n".join(wrong + [f"{len(files)} files, {len(wrong)} faults"]))
    return 1 if wrong or not files else 0


def faults(name, text, root):
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            yield number, f"{len(line)} columns, more than {MAX_COLUMNS}"
        match = INCLUDE.match(line)
        if not match:
            continue
        why = why_not(name, match[2], root)
        if why:
            yield number, why


def why_not(name, included, root):
    if not (root / included).is_file():
        for pattern, owners in OWNED.items():
            if pattern.match(included) and not within(name, owners):
                return f"<{included}> belongs to {owners[0]}"
        return f'"{included}" is not named from the root' if beside(name, included, root) else None
    home = max((prefix for prefix in ALLOWED if within(name, [prefix])), key=len)
    allowed = ALLOWED[home] | (CONCRETE if BUILDERS.search(name) else set())
    return None if within(included, allowed) else f'{home} must not include "{included}"'


def beside(name, included, root):
    return (root / name).parent.joinpath(included).is_file()


def within(name, prefixes):
    return any(name == prefix or name.startswith(prefix + "/") for prefix in prefixes)


if __name__ == "__main__":
    sys.exit(main())
