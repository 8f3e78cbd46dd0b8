"""A real redis-server or valkey-server for a test: on a port of its own, killed, restarted, stopped as it pleases."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

SERVERS = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]
WHY_NOT = "there is no redis-server or valkey-server on this machine"


class Server:
    def __init__(self, folder, *options, program=None):
        self.program = program or SERVERS[0]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, options
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                self.program,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                *self._options,
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
