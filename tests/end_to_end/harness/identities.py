"""Processes that act as another user: one for each identity, asked over a socket pair."""
import os
import pickle
import signal
import socket
import struct

from harness.processes import Failed


class Actor:
    """A forked process with uid, gid and groups that calls functions for us."""

    def __init__(self, uid, gid, groups):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                if uid or gid or groups:
                    os.setgroups(groups)
                    os.setresgid(gid, gid, gid)
                    os.setresuid(uid, uid, uid)
                else:
                    os.setgroups([])
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.socket = ours

    def call(self, function, *arguments, timeout=30):
        """function(*arguments) there. It must be importable, its result picklable."""
        self.socket.settimeout(timeout)
        try:
            _send(self.socket, (function, arguments))
            kind, value = _receive(self.socket)
        except (TimeoutError, socket.timeout, EOFError, ConnectionError):
            os.kill(self.pid, signal.SIGKILL)
            raise Failed(f"{getattr(function, '__name__', function)}{arguments!r}: "
                         f"no answer within {timeout} s") from None
        if kind == "raised":
            raise value
        return value

    def end(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # later actors hold copies of the descriptor
        except OSError:
            pass
        self.socket.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


class Identities:
    """The actors by identity, made when first asked for."""

    def __init__(self):
        self.actors = {}

    def of(self, uid, gid, groups=()):
        key = (uid, gid, tuple(groups))
        if key not in self.actors:
            self.actors[key] = Actor(uid, gid, list(groups))
        return self.actors[key]

    def drop(self, actor):
        self.actors = {key: value for key, value in self.actors.items() if value is not actor}
        actor.end()

    def end(self):
        for actor in self.actors.values():
            actor.end()
        self.actors = {}


def _send(sock, message):
    payload = pickle.dumps(message)
    sock.sendall(struct.pack("<Q", len(payload)) + payload)


def _receive(sock):
    (length,) = struct.unpack("<Q", _exactly(sock, 8))
    return pickle.loads(_exactly(sock, length))


def _exactly(sock, length):
    parts = bytearray()
    while len(parts) < length:
        part = sock.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _serve(sock):
    while True:
        try:
            function, arguments = _receive(sock)
        except EOFError:
            return
        try:
            answer = ("returned", function(*arguments))
        except Exception as error:  # goes back to the asker, whatever it is
            answer = ("raised", error)
        _send(sock, answer)
