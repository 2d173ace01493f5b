"""A TCP proxy whose connections can be cut in the middle of what they carry."""
import selectors
import socket
import struct
import threading

LINGER_NONE = struct.pack("ii", 1, 0)  # close(2) sends RST: what is on its way is lost


class Proxy:
    """Carries connections to (host, port) until it is closed."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = []
        self.cut_count = 0
        self.carried_bytes = 0
        self.ended = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while not self.ended:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self.lock:
                self.pairs.append((near, far))
            threading.Thread(target=self.carry, args=(near, far), daemon=True).start()

    def carry(self, near, far):
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(near, selectors.EVENT_READ, far)
                selector.register(far, selectors.EVENT_READ, near)
                while True:
                    for key, _ in selector.select():
                        data = bytearray(key.fileobj.recv(1 << 18))
                        if not data:
                            return
                        self.look(data)
                        key.data.sendall(data)
                        self.carried_bytes += len(data)
            except (OSError, ValueError, KeyError):
                pass
            finally:
                self.drop((near, far))

    def look(self, data):
        """What is carried, a bytearray, for whoever wants to look at it or change it."""

    def drop(self, pair):
        with self.lock:
            if pair in self.pairs:
                self.pairs.remove(pair)
        for end in pair:
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def cut(self):
        """Every connection that stands is reset at both ends."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self.drop(pair)
        self.cut_count += len(pairs)

    def close(self):
        self.ended = True
        self.listener.close()
        self.cut()
