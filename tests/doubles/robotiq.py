"""A gripper's socket as Robotiq's URCap serves it, on this machine."""

from __future__ import annotations

import socketserver
import threading


class Gripper:
    """Serve GET and SET on a free port until closed; `values` holds the gripper's variables.

    POS reads where the fingers are and sets where they go, `wanted`, which they do while GTO is 1 and it is active.
    """

    def __init__(self, active: bool = True) -> None:
        self.values = {"POS": 0, "STA": 3 if active else 0, "SPE": 0, "FOR": 0, "GTO": 0}
        self.wanted = 0
        self.heard: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(outer.answer(line.decode().strip()).encode())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def answer(self, line: str) -> str:
        self.heard.append(line)
        word, *rest = line.split()
        if word == "GET":
            return f"{rest[0]} {self.values[rest[0]]}\n"
        for name, value in zip(rest[::2], rest[1::2], strict=True):
            if name == "POS":
                self.wanted = int(value)
            else:
                self.values[name] = int(value)
        if self.values["GTO"] and self.values["STA"] == 3:
            self.values["POS"] = self.wanted
        return "ack"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
