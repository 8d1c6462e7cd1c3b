"""Three real replicas on the loopback, with a license authority of their own. Standard library only."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE_S = 90


def free_ports(count):
    """Ports nobody listens on, below the range that the system hands to outgoing connections."""
    found = []
    port = 12_000 + os.getpid() % 15_000
    while len(found) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def until(what, probe):
    """Polls `probe` until it gives something true."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S} s in vain for: {what}")
        time.sleep(0.05)


class Group:
    """Use it as a context manager: all processes end with it, their logs are shown after a failure."""

    def __init__(self, muster, size=3):
        self.muster = muster
        self.size = size
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="muster-"))
        ports = free_ports(3 * size)
        self.grpc, self.ops, self.peer = ports[:size], ports[size : 2 * size], ports[2 * size :]
        self.processes = [None] * size
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}

    def __enter__(self):
        (self.folder / "token").write_text("a token that the replicas share\n")
        self.run("license", "keygen", "--out", str(self.folder / "authority"))
        for at in range(self.size):
            self.launch(at)
        for at in range(self.size):
            self.wait_ready(at)
        return self

    def __exit__(self, kind, _error, _trace):
        for process in self.processes:
            if process:
                process.kill()
                process.wait()
        if kind:
            for log in sorted(self.folder.glob("log-*")):
                print(f"---- {log.name} ----")
                print("\n".join(log.read_text().splitlines()[-60:]))
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *arguments):
        """Runs a muster command that has to succeed, and gives its stdout."""
        done = subprocess.run(
            [self.muster, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"muster {arguments}: {done.returncode}: {done.stderr}")
        return done.stdout

    def license(self, expiry="2099-01-31T22:13:42Z"):
        """A code of the authority that these replicas trust."""
        key = self.folder / "authority.key"
        return self.run("license", "issue", "--key", str(key), "--expires", expiry).strip()

    def launch(self, at):
        members = ",".join(f"r{i}=127.0.0.1:{self.peer[i]}" for i in range(self.size))
        command = [
            self.muster,
            "serve",
            *("--data", str(self.folder / f"data-{at}")),
            *("--name", f"r{at}"),
            *("--grpc-listen", f"127.0.0.1:{self.grpc[at]}"),
            *("--ops-listen", f"127.0.0.1:{self.ops[at]}"),
            *("--peer-listen", f"127.0.0.1:{self.peer[at]}"),
            *("--initial-cluster", members),
            *("--bootstrap-token-file", str(self.folder / "token")),
            *("--license-public-key", str(self.folder / "authority.pub")),
            *("--deployment-id", "three-replicas"),
        ]
        with open(self.folder / f"log-{at}", "ab") as log:
            self.processes[at] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_ready(self, at):
        def ready():
            if self.processes[at].poll() is not None:
                raise RuntimeError(f"r{at} ended with {self.processes[at].returncode}")
            try:
                url = f"http://127.0.0.1:{self.ops[at]}/readyz"
                return urllib.request.urlopen(url, timeout=5).status == 200
            except (urllib.error.URLError, OSError):
                return False

        until(f"r{at} to be ready", ready)

    def address(self, at):
        return f"grpc://127.0.0.1:{self.grpc[at]}"

    def running(self):
        return [at for at in range(self.size) if self.processes[at]]

    def leader(self):
        """The replica that leads, as soon as one does."""

        def find():
            for at in self.running():
                if self.role(at) == "leader":
                    return [at]
            return None

        return until("a leader", find)[0]

    def role(self, at):
        try:
            url = f"http://127.0.0.1:{self.ops[at]}/metrics"
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            return "unknown"
        leads = any(
            line.startswith("muster_raft_is_leader") and line.endswith(" 1")
            for line in text.splitlines()
        )
        return "leader" if leads else "follower"

    def kill(self, at):
        """kill -9."""
        self.processes[at].kill()
        self.processes[at].wait()
        self.processes[at] = None

    def restart(self, at):
        self.launch(at)
        self.wait_ready(at)
