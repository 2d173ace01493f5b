#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: each operation as a client says it, and a few ways to go wrong.

make_corpus.py DIRECTORY    (the targets' directories are made below it)
"""
import pathlib
import struct
import sys

EXPORT = 7
VERSION = 4  # wire::kVersion
PAUSE, BIG, SET_UP, WRONG, CLOSE = 2, 4, 8, 1, 16
SOURCE, SINK = 1, 2


def handle(inode):
    raw = struct.pack("<IIQ", EXPORT, 0, inode)
    return struct.pack("<H", len(raw)) + raw


ROOT, FILE = handle(1), handle(2)
CALLER = struct.pack("<5I", 1000, 1000, 0o22, 1, 2) + struct.pack("<2I", 4, 24)


def text(value):
    return struct.pack("<H", len(value)) + value


def message(opcode, body=b"", payload=b"", flags=PAUSE, slot=0, memory=0, remote=0):
    return struct.pack("<4B3H", flags, opcode, slot, memory, remote, len(body), len(payload)) + body + payload


def open_file(flags=2, open_id=5, target=FILE, read_size=0, **memory):
    return message(30, CALLER + target + struct.pack("<QIII", open_id, flags, 0, read_size), **memory)


LOCK = struct.pack("<QQQQIIII", 5, 1, 0, 100, 1, 9, 1, 0)
BODIES = {
    "ping": message(3),
    "retire": message(4, struct.pack("<II", 0, 1)),
    "lookup": message(10, CALLER + ROOT + text(b"f")),
    "getattr": message(11, CALLER + FILE + struct.pack("<Q", 0)),
    "setattr": message(12, CALLER + FILE + struct.pack("<Q", 0) + bytes(48)),
    "readlink": message(13, CALLER + FILE),
    "mknod": message(14, CALLER + ROOT + text(b"n") + struct.pack("<III", 0o100644, 0, 0)),
    "mkdir": message(15, CALLER + ROOT + text(b"d") + struct.pack("<I", 0o755)),
    "unlink": message(16, CALLER + ROOT + text(b"f")),
    "rmdir": message(17, CALLER + ROOT + text(b"d")),
    "symlink": message(18, CALLER + ROOT + text(b"l"), b"target"),
    "rename": message(19, CALLER + ROOT + text(b"f") + ROOT + text(b"g") + struct.pack("<I", 0)),
    "link": message(20, CALLER + FILE + ROOT + text(b"g")),
    "access": message(21, CALLER + FILE + struct.pack("<I", 4)),
    "statfs": message(22, CALLER + ROOT),
    "create": message(31, CALLER + ROOT + text(b"new") + struct.pack("<QIIII", 6, 2, 0o644, 0, 0)),
    "tmpfile": message(32, CALLER + ROOT + struct.pack("<QII", 6, 2, 0o600)),
    "release": open_file() + message(33, struct.pack("<Q", 5)),
    "read": open_file() + message(34, struct.pack("<QQII", 5, 0, 100, 0)),
    "read-large": open_file() + message(34, struct.pack("<QQII", 5, 0, 8192, 0), memory=SINK, remote=8192),
    "write": open_file() + message(35, struct.pack("<QQIIII", 5, 0, 3, 0, 0, 0), b"abc"),
    "write-large": open_file() + message(35, struct.pack("<QQIIII", 5, 0, 8192, 1, 0, 0),
                                         memory=SOURCE | 200, remote=8192),
    "append": open_file(0o2002) + b"".join(
        message(35, struct.pack("<QQIIII", 5, 0, 3, 0, 0, 0), b"abc", slot=i, flags=0) for i in range(5)),
    "fsync": open_file() + message(36, struct.pack("<QII", 5, 1, 0)),
    "fallocate": open_file() + message(37, CALLER + struct.pack("<QQQII", 5, 0, 10, 0, 0)),
    "seek": open_file() + message(38, struct.pack("<QQII", 5, 0, 3, 0)),
    "copy": open_file() + message(39, CALLER + struct.pack("<QQQQQQ", 5, 0, 5, 100, 10, 0)),
    "readdir": open_file(0o200000, 5, ROOT) +
               message(40, CALLER + struct.pack("<QQII", 5, 0, 4096, 1), memory=SINK, remote=4096),
    "syncfs": message(41, CALLER + ROOT),
    "getxattr": message(50, CALLER + FILE + text(b"user.a") + struct.pack("<I", 100)),
    "setxattr": message(51, CALLER + FILE + text(b"user.a") + struct.pack("<II", 0, 0), b"value"),
    "listxattr": message(52, CALLER + FILE + struct.pack("<I", 0)),
    "removexattr": message(53, CALLER + FILE + text(b"user.a")),
    "getlock": open_file() + message(60, LOCK),
    "setlock": open_file() + message(61, LOCK),
    "lock-wait-cancel": open_file() + message(61, LOCK) +
                        message(61, LOCK.replace(struct.pack("<Q", 1), struct.pack("<Q", 2), 1), slot=3) +
                        message(62, struct.pack("<II", 3, 1)),
    "releaseowner": open_file() + message(63, struct.pack("<QQ", 5, 1)),
    "forget": message(70, FILE),
    "pool-exhausted": open_file() + b"".join(
        message(34, struct.pack("<QQII", 5, 0, 65536, 0), flags=BIG, slot=i, memory=SINK, remote=4096)
        for i in range(4)),
    "lost-during-work": open_file() + message(36, struct.pack("<QII", 5, 0, 0), flags=0) +
                        message(35, struct.pack("<QQIIII", 5, 0, 8192, 0, 0, 0), flags=CLOSE, slot=1,
                                memory=SOURCE, remote=8192),
    "slot-in-use": open_file() + message(36, struct.pack("<QII", 5, 0, 0), flags=0, slot=1) +
                   message(3, flags=0, slot=1),
    "wrong-sequence": message(3, flags=WRONG, slot=1),
    "second-hello": message(1, struct.pack("<IHHII2Q", 0x53464D52, VERSION, 0, 1 << 20, 0, 0, 0), flags=SET_UP),
    "open-and-read": open_file(0, read_size=100),
    "open-and-read-large": open_file(0, read_size=8192, memory=SINK, remote=8192),
}
HELLO = message(1, struct.pack("<IHHII2Q", 0x53464D52, VERSION, 0, 1 << 20, 0, 0, 0), flags=SET_UP | PAUSE)


# --- mount_fuzz: requests of the kernel, and what a server answers ---

REQUEST, REPLY, LOSE, RUN = range(4)
IN_SINK = 0x80


def step(kind, a=0, b=0, c=0, data=b"", more=0):
    return struct.pack("<4B2H", kind, a, b, c, len(data), more) + data


def ask(opcode, node, arguments=b""):
    return step(REQUEST, opcode, node, data=arguments)


def answer(body=b"", rest=b"", status=0, channel=0, sink=False):
    return step(REPLY, channel | (IN_SINK if sink else 0), 0, status, body + rest, len(body))


def attributes(mode, size=10):
    return struct.pack("<3Q3q12I", 2, size, 8, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 0, 4096, 0, 0)


ENTRY = attributes(0o100644) + struct.pack("<II", 0, 0) + FILE
COUNT = struct.pack("<Q", 3)
LOOK = ask(1, 1, b"f\0") + answer(ENTRY)          # node 2
OPEN = LOOK + ask(14, 2, struct.pack("<II", 2, 0)) + answer(attributes(0o100644))  # file 1
OPENDIR = ask(27, 1, struct.pack("<II", 0, 0)) + answer(attributes(0o40755))
LOCK_IN = struct.pack("<QQQQIIII", 1, 7, 0, 100, 1, 9, 0, 0)


def record(name, plus):
    tail = (attributes(0o100644) + FILE[2:] if plus else b"") + name
    size = (32 + len(tail) + 7) // 8 * 8
    return (struct.pack("<QQIHHHHI", 2, 1, 8, int(plus), len(FILE) - 2 if plus else 0, len(name), size, 0) + tail).ljust(
        size, b"\0")


END = struct.pack("<QQIHHHHI", 0, 2, 0, 2, 0, 0, 32, 0)  # wire::kDirentEnd


def read_in(size, offset=0):
    return struct.pack("<QQIIQII", 1, offset, size, 0, 0, 0, 0)


MOUNT = {
    "lookup": LOOK,
    "enoent": ask(1, 1, b"f\0") + answer(status=2),
    "getattr": LOOK + ask(3, 2, bytes(16)) + answer(attributes(0o100644)),
    "setattr": LOOK + ask(4, 2, struct.pack("<II", 8, 0) + bytes(80)) + answer(attributes(0o100644)),
    "readlink": LOOK + ask(5, 2) + answer(rest=b"target"),
    "symlink": ask(6, 1, b"l\0target\0") + answer(ENTRY),
    "mknod": ask(8, 1, struct.pack("<4I", 0o100644, 0, 0o22, 0) + b"n\0") + answer(ENTRY),
    "mkdir": ask(9, 1, struct.pack("<II", 0o755, 0o22) + b"d\0") + answer(ENTRY),
    "unlink": ask(10, 1, b"f\0") + answer(),
    "unlink-parent": ask(10, 1, b"f\0") + answer(attributes(0o40755)) + ask(3, 1, bytes(16)),
    "rmdir": ask(11, 1, b"d\0") + answer(status=39),
    "rename": ask(12, 1, struct.pack("<Q", 1) + b"f\0g\0") + answer(),
    "rename2": ask(45, 1, struct.pack("<QII", 1, 1, 0) + b"f\0g\0") + answer(),
    "link": LOOK + ask(13, 1, struct.pack("<Q", 2) + b"g\0") + answer(ENTRY),
    "read-small": OPEN + ask(15, 2, read_in(100)) + answer(rest=b"0123456789"),
    "read-more-than-asked": OPEN + ask(15, 2, read_in(5)) + answer(rest=b"0123456789"),
    "read-large": OPEN + ask(15, 2, read_in(8192)) + answer(rest=b"x" * 8000, channel=1, sink=True),
    "read-ahead": OPEN + b"".join(
        ask(15, 2, read_in(8192, i * 8192)) + answer(rest=b"x" * 8000, channel=1, sink=True) * 3 for i in range(6)),
    "write": OPEN + ask(16, 2, struct.pack("<QQIIQII", 1, 0, 3, 0, 0, 0, 0) + b"abc") + answer(COUNT),
    "statfs": ask(17, 1) + answer(struct.pack("<5Q4I", 9, 8, 7, 6, 5, 4096, 4096, 255, 0)),
    "release": OPEN + ask(18, 2, struct.pack("<QIIQ", 1, 0, 0, 0)) + answer(),
    "fsync": OPEN + ask(20, 2, struct.pack("<QII", 1, 0, 0)) + answer(),
    "setxattr": LOOK + ask(21, 2, struct.pack("<II", 3, 0) + b"user.a\0abc") + answer(),
    "getxattr": LOOK + ask(22, 2, struct.pack("<II", 100, 0) + b"user.a\0") + answer(rest=b"value"),
    "getxattr-size": LOOK + ask(22, 2, struct.pack("<II", 0, 0) + b"user.a\0") + answer(COUNT),
    "listxattr": LOOK + ask(23, 2, struct.pack("<II", 100, 0)) + answer(rest=b"user.a\0"),
    "removexattr": LOOK + ask(24, 2, b"user.a\0") + answer(),
    "flush": OPEN + ask(25, 2, struct.pack("<QIIQ", 1, 0, 0, 7)) + answer(),
    "readdir": OPENDIR + ask(28, 1, read_in(4096)) + answer(rest=record(b"a", False) + record(b"bb", False)),
    "readdir-end": OPENDIR + ask(28, 1, read_in(4096)) + answer(rest=record(b"a", False) + END) +
    ask(28, 1, read_in(4096)) + ask(28, 1, read_in(4096)) + answer(rest=END + record(b"a", False)),
    "readdirplus": OPENDIR + ask(44, 1, read_in(4096)) + answer(rest=record(b"a", True) + record(b"bb", True)),
    "releasedir": OPENDIR + ask(29, 1, struct.pack("<QIIQ", 1, 0, 0, 0)) + answer(),
    "getlk": OPEN + ask(31, 2, LOCK_IN) + answer(struct.pack("<3QII", 7, 0, 100, 2, 0)),
    "setlk": OPEN + ask(32, 2, LOCK_IN) + answer(),
    "setlkw-lost": OPEN + ask(33, 2, LOCK_IN) + step(LOSE, 0, 1) + answer(),
    "access": LOOK + ask(34, 2, struct.pack("<II", 4, 0)) + answer(),
    "create": ask(35, 1, struct.pack("<4I", 0o100, 0o644, 0o22, 0) + b"n\0") + answer(ENTRY),
    "interrupt": OPEN + ask(33, 2, LOCK_IN) + ask(36, 0, struct.pack("<Q", 3)) + answer() + answer(),
    "fallocate": OPEN + ask(43, 2, struct.pack("<3QII", 1, 0, 10, 0, 0)) + answer(),
    "lseek": OPEN + ask(46, 2, struct.pack("<QQII", 1, 0, 3, 0)) + answer(COUNT),
    "copy": OPEN + ask(47, 2, struct.pack("<7Q", 1, 0, 2, 1, 100, 10, 0)) + answer(COUNT),
    "tmpfile": ask(51, 1, struct.pack("<4I", 0o20200002, 0o644, 0, 0) + b"\0") + answer(ENTRY),
    "lost": OPEN + ask(15, 2, read_in(8192)) + step(LOSE, 1, 0) + answer(rest=b"x" * 100, channel=1, sink=True) +
            ask(10, 1, b"f\0") + step(LOSE, 0, 1) + step(RUN) + answer(),
}


# --- tls_fuzz: two sides, and what becomes of the peer's records on their way ---

(PASS, FLIP, TRUNCATE, DROP, TWICE, HEADER, SPLIT, EXTENSION, RAW, RECORD, END, SAY, UPDATE_KEY, PEER_ENDS,
 SILENCE) = (bytes([kind]) for kind in range(15))
SERVER_KEY, SERVER_CERTIFICATE, SERVER_ASKS, SERVER_BOTH, CLIENT_KEY, CLIENT_CERTIFICATE = range(6)
KEY, WRONG_SECRET, ANY_NAME, CERTIFICATE, ODD_CERTIFICATE, FOREIGN_CERTIFICATE, NO_CERTIFICATE = range(7)
NOBODY_IN, FEW_RECORDS, SMALL_BUFFER = 1, 2, 4
TO_READ, TO_WRITE = 2, 4  # flags of a message, as they go over the wire
ALL = 12 * PASS


def sides(ours, peer, flags=0, name=b""):
    return bytes([ours, peer, flags]) + text(name)


def frame(slot=0, sequence=1, flags=0, remote=0, rest=b"", opcode=3):
    return struct.pack("<IHHIHHIIQII", 40, opcode, slot, sequence, flags, 0, 0, 0, 0, 0, remote) + rest


def say(data):
    return SAY + text(data) + PASS


def calls(size):
    return say(frame()) + say(frame(1, 1, TO_READ, size, b"a" * size)) + say(frame(2, 1, TO_READ, size, b"b" * size)) + \
        say(frame(3, 1, TO_WRITE, 40000)) + say(frame(0, 2) + frame(0, 3))


def replies(size):
    return say(frame(0, 1, 1)) + say(frame(1, 2, 1, 2 * size, b"a" * size)) + say(b"a" * size + frame(2, 3, 1)) + \
        say(frame(0, 4, 1) + frame(0, 5, 1))


CALLS, REPLIES = calls(100), replies(100)
OLD_HELLO = bytes.fromhex("0303") + 32 * b"r" + bytes.fromhex("00 0004 1301 002f 0100")
TLS = {
    **{f"client-{peer}-of-{ours}": sides(ours, peer, name=b"compute") + ALL + CALLS
       for ours in range(SERVER_BOTH + 1) for peer in range(NO_CERTIFICATE + 1)},
    **{f"server-{peer}-of-{ours}": sides(ours, peer) + ALL + REPLIES
       for ours in (CLIENT_KEY, CLIENT_CERTIFICATE) for peer in range(NO_CERTIFICATE + 1)},
    "large-calls": sides(SERVER_KEY, KEY) + ALL + calls(30000),
    "slow-network": sides(SERVER_KEY, KEY, FEW_RECORDS | SMALL_BUFFER) + ALL +
                    say(b"".join(frame(slot, 1, TO_WRITE, 40000) for slot in range(8))) + CALLS,
    "slow-network-of-client": sides(CLIENT_KEY, KEY, FEW_RECORDS | SMALL_BUFFER) + ALL + replies(100),
    "large-replies": sides(CLIENT_KEY, KEY) + ALL + replies(15000),
    "names": sides(SERVER_KEY, ANY_NAME, name=b"\n" + 255 * b"x") + ALL,
    "no-place": sides(SERVER_KEY, KEY, NOBODY_IN) + ALL,
    "key-updates": sides(SERVER_KEY, KEY, FEW_RECORDS) + ALL + (UPDATE_KEY + b"\1" + say(frame()) + CALLS) * 2,
    "key-updates-of-server": sides(CLIENT_KEY, KEY, FEW_RECORDS) + ALL + (UPDATE_KEY + b"\1" + REPLIES),
    "in-clear": sides(SERVER_KEY, KEY) + SILENCE + RAW + text(frame()),
    "nothing": sides(SERVER_KEY, KEY) + END,
    "first-byte": sides(SERVER_KEY, KEY) + SILENCE + RAW + text(b"\x16"),
    "old-hello": sides(SERVER_BOTH, KEY) + SILENCE + RECORD + b"\x16" +
                 text(b"\1" + struct.pack(">I", len(OLD_HELLO))[1:] + OLD_HELLO),
    "large-hello": sides(SERVER_KEY, KEY) + EXTENSION + struct.pack("<H", 21) + text(12000 * b"\0") + ALL,
    "many-groups": sides(SERVER_KEY, KEY) + EXTENSION + struct.pack("<H", 10) + text(b"\0\4\0\x17\0\x1d") + ALL,
    "no-key-share": sides(SERVER_KEY, KEY) + EXTENSION + struct.pack("<H", 51) + text(b"\0\0") + ALL,
    "odd-psk": sides(SERVER_KEY, KEY) + EXTENSION + struct.pack("<H", 41) +
               text(b"\0\x0a\0\4name\0\0\0\0" + b"\0\x21\x20" + 32 * b"b") + ALL,
    "versions-of-server": sides(CLIENT_KEY, KEY) + EXTENSION + struct.pack("<H", 43) + text(b"\3\3") + ALL,
    "split-hello": sides(SERVER_KEY, KEY) + SPLIT + text(b"") + SPLIT + struct.pack("<H", 3) + ALL,
    "split-record": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + SPLIT + struct.pack("<H", 20) + CALLS,
    "flip": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + FLIP + struct.pack("<HB", 30, 1) + CALLS,
    "flip-hello": sides(CLIENT_CERTIFICATE, CERTIFICATE) + FLIP + struct.pack("<HB", 50, 1) + ALL,
    "truncate": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + TRUNCATE + struct.pack("<H", 20) + CALLS,
    "drop": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + DROP + CALLS,
    "twice": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + TWICE + CALLS,
    "header": sides(SERVER_KEY, KEY) + ALL + SAY + text(frame()) + HEADER + b"\x17\3\3\xff\xff" + CALLS,
    "clear-after": sides(SERVER_KEY, KEY) + ALL + RAW + text(frame()),
    "alert-after": sides(SERVER_KEY, KEY) + ALL + RECORD + b"\x15" + text(b"\2\x28") + CALLS,
    "alert-within": sides(CLIENT_KEY, KEY) + RECORD + b"\x15" + text(b"\2\x28") + ALL,
    "warning-within": sides(SERVER_KEY, KEY) + RECORD + b"\x15" + text(b"\1\0") + ALL,
    "change-cipher": sides(SERVER_KEY, KEY) + (RECORD + b"\x14" + text(b"\1")) * 3 + ALL,
    "heartbeat": sides(SERVER_KEY, KEY) + ALL + RECORD + b"\x18" + text(b"\1\x40\0"),
    "ends": sides(SERVER_KEY, KEY) + ALL + say(frame()) + PEER_ENDS + PASS + END,
    "ends-within-message": sides(CLIENT_KEY, KEY) + ALL + say(frame(1, 2, 1, 20000, b"a" * 10)) + PEER_ENDS + PASS,
}


def even(data):
    return data + bytes(len(data) % 2)


def main():
    base = pathlib.Path(sys.argv[1])
    seeds = base / "dispatcher_fuzz"
    seeds.mkdir(parents=True, exist_ok=True)
    for name, data in BODIES.items():
        (seeds / name).write_bytes(even(data))
    (seeds / "everything").write_bytes(even(b"".join(BODIES.values())))
    hello = HELLO + message(2, CALLER, b"/export", flags=SET_UP | PAUSE) + BODIES["lookup"]
    (seeds / "own-hello").write_bytes(hello + bytes(1 - len(hello) % 2))
    seeds = base / "mount_fuzz"
    seeds.mkdir(parents=True, exist_ok=True)
    for name, data in MOUNT.items():
        (seeds / name).write_bytes(data)
    seeds = base / "codec_fuzz"
    seeds.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(BODIES.values()):
        (seeds / f"seed-{number}").write_bytes(bytes([number]) + data[10:])
    seeds = base / "tls_fuzz"
    seeds.mkdir(parents=True, exist_ok=True)
    for name, data in TLS.items():
        (seeds / name).write_bytes(data)


main()
