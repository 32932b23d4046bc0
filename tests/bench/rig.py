"""Starts and ends everything that is measured: the upstream, the subjects in front of it, the certificate, the token."""

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import configs
import system
from configs import HEADERS, HOST, ISSUER_HOST, Place
from harness import Failed, Process, Scope, expect, free_port, until
from system import Memory

HERE = Path(__file__).resolve().parent
# nginx and HAProxy live in sbin, which is not on everybody's path.
os.environ["PATH"] += ":/usr/sbin:/sbin"


@dataclass
class Subject:
    """What is measured: a process and its children, a URL, and what a client sends there."""

    name: str
    port: int
    url: str
    headers: dict[str, str]
    process: Process | None = None
    tls: ssl.SSLContext | None = None
    # Plain HTTP/2 has a port of its own: there is no ALPN to tell it by.
    port2: int | None = None
    folder: Path = Path()
    command: list[Any] = field(default_factory=list)

    def cpu_ticks(self) -> int:
        """What it has spent so far."""
        return system.cpu_ticks(self.pid)

    def memory(self) -> Memory:
        """What it holds now."""
        return system.memory(self.pid)

    @property
    def pid(self) -> int:
        """Of its first process."""
        expect(self.process is not None and self.process.running, f"{self.name} is not running\n{self.log()}")
        return self.process.child.pid

    def log(self) -> str:
        """The end of what it wrote."""
        return self.process.text()[-2000:] if self.process else ""

    def probe(self) -> None:
        """One request; anything but 200 with the whole answer ends the run."""
        status, body = request(self, "POST", configs.CALL)
        wanted = configs.ANSWER.encode()
        expect(status == 200 and body == wanted, f"{self.name} answered {status} {body[:300]!r}\n{self.log()}")

    def check_refusal(self) -> None:
        """Who is sent a token looks at it: with another signature it is refused."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if not token:
            return
        signed, _, signature = token.rpartition(".")
        forged = signed + "." + ("B" if signature[0] == "A" else "A") + signature[1:]
        stranger = replace(self, headers={"authorization": f"{scheme} {forged}"})
        status, body = request(stranger, "POST", configs.CALL)
        expect(status == 401, f"{self.name} answered a forged token with {status} {body[:300]!r}")

    def stop(self) -> None:
        """Ends it with all its children."""
        if self.process is None:
            return
        once = system.family(self.process.child.pid) if self.process.running else {}
        self.process.stop(seconds=8)
        system.end_orphans(once)


def request(subject: Subject, method: str, body: str | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    raw = socket.create_connection(("127.0.0.1", subject.port), timeout=10)
    connection = http.client.HTTPConnection(HOST, timeout=10)
    connection.sock = subject.tls.wrap_socket(raw, server_hostname=host_of(subject)) if subject.tls else raw
    try:
        headers = {**HEADERS, **subject.headers, "Host": authority(subject)}
        connection.request(method, path_of(subject), body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def authority(subject: Subject) -> str:
    return subject.url.split("/")[2]


def host_of(subject: Subject) -> str:
    return authority(subject).split(":")[0]


def path_of(subject: Subject) -> str:
    return "/" + subject.url.split("/", 3)[3]


class Rig:
    """Starts subjects below one folder. Whatever it has started ends with it, each by its own id."""

    def __init__(self, folder: Path, binary: Path, threads: int) -> None:
        self.folder, self.binary, self.threads = folder, binary, threads
        self.scope = Scope(folder)
        self.subjects: list[Subject] = []
        self._number = 0
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self._make_certificate()
        self.tls = self._client()
        self.http1, self.http2 = free_port(), free_port()
        # HAProxy is handed the token and the key of the first Portcullis.
        self.token: str | None = None
        self.issuer = self.resource = ""
        self.public_key = folder / "jwks.pem"
        try:
            self._start_upstream()
        except BaseException:
            self.close()
            raise

    def _make_certificate(self) -> None:
        names = "subjectAltName=DNS:bench.test,DNS:*.bench.test,DNS:localhost"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-days", "2"]
        where = ["-keyout", self.key, "-out", self.certificate]
        run(["openssl", "req", "-x509", *curve, *where, "-subj", "/CN=bench.test", "-addext", names])

    def _client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _start_upstream(self) -> None:
        streams = free_port()
        self.scope.start("hold", "python3", HERE / "hold.py", streams)
        folder = self.new_folder("upstream")
        config = folder / "nginx.conf"
        # As many workers as the subjects have: it must not be what everybody waits for.
        config.write_text(configs.upstream(folder, self.http1, self.http2, streams, self.threads))
        process = self.scope.start("upstream", "nginx", "-e", folder / "error.log", "-c", config)
        self.direct = Subject("direct", self.http1, f"http://{HOST}:{self.http1}/mcp", {}, process, port2=self.http2)
        self.subjects.append(self.direct)
        self.wait(self.direct)

    def new_folder(self, name: str) -> Path:
        """A folder that nobody else has. Short, for a unix socket is to go into it."""
        self._number += 1
        folder = self.folder / f"{self._number}-{name}"
        folder.mkdir()
        return folder

    def place(self, name: str) -> Place:
        """A folder and a free port."""
        return Place(self.new_folder(name), free_port(), self.http1, self.threads, self.certificate, self.key)

    def wait(self, subject: Subject) -> None:
        """Until it answers as it should."""
        end = time.monotonic() + 30
        while True:
            try:
                return subject.probe()
            # A proxy that is up before its upstream answers 502 at first.
            except (OSError, http.client.HTTPException, Failed):
                if time.monotonic() > end or not subject.process.running:
                    raise Failed(f"{subject.name} does not answer\n{subject.log()}") from None
            time.sleep(0.02)

    def start(self, name: str, **options: Any) -> Subject:
        """A subject by its name, ready."""
        subject = self.prepare(name, **options)
        self.launch(subject)
        if name == "portcullis":
            self.authorize(subject)
        self.wait(subject)
        subject.check_refusal()
        return subject

    def prepare(self, name: str, **options: Any) -> Subject:
        """A subject that has its configuration and is not running."""
        place = self.place(name)
        match name:
            case "portcullis":
                return self._portcullis(place, **options)
            case "nginx":
                (place.folder / "nginx.conf").write_text(configs.nginx(place))
                command = ["nginx", "-e", place.folder / "error.log", "-c", place.folder / "nginx.conf"]
                subject = Subject(name, place.port, place.resource, {}, tls=self.tls)
            case "haproxy":
                subject, command = self._haproxy(place)
            case "caddy":
                (place.folder / "Caddyfile").write_text(configs.caddy(place))
                config = ["--config", place.folder / "Caddyfile", "--adapter", "caddyfile"]
                command = ["caddy", "run", *config]
                subject = Subject(name, place.port, place.resource, {}, tls=self.tls)
            case _:
                raise Failed(f"no subject is called {name}")
        return self._keep(subject, place, command)

    def _keep(self, subject: Subject, place: Place, command: list[Any]) -> Subject:
        subject.command, subject.folder = command, place.folder
        self.subjects.append(subject)
        return subject

    def launch(self, subject: Subject) -> None:
        """Starts its process, once more if it had one."""
        home = str(subject.folder)
        env = {"GOMAXPROCS": str(self.threads), "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home}
        scope = Scope(subject.folder)
        subject.process = scope.start(subject.name, *subject.command, env=env)

    def _haproxy(self, place: Place) -> tuple[Subject, list[Any]]:
        expect(self.token, "HAProxy needs the token of a running Portcullis")
        (place.folder / "both.pem").write_text(self.certificate.read_text() + self.key.read_text())
        config = place.folder / "haproxy.cfg"
        config.write_text(configs.haproxy(place, self.issuer, self.resource, self.public_key))
        headers = {"authorization": f"Bearer {self.token}"}
        return Subject("haproxy", place.port, place.resource, headers, tls=self.tls), ["haproxy", "-db", "-f", config]

    def _portcullis(
        self,
        place: Place,
        count: int = 1,
        apart: bool = True,
        store: str | None = None,
        log: str = "warn",
        label: str = "portcullis",
        change: Callable[[Place, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> Subject:
        services = configs.services(place.port, count, apart)
        path, config = place.folder / "portcullis.yaml", configs.portcullis(place, services, store, log)
        path.write_text(configs.as_yaml(change(place, config) if change else config))
        subject = Subject(label, place.port, services["mcp"], {}, tls=self.tls)
        return self._keep(subject, place, [self.binary, "serve", path])

    def authorize(self, subject: Subject) -> None:
        """A real token, by `portcullis token issue` over the admin socket."""
        until(f"{subject.name} listens", lambda: self._listens(subject), 60)
        config = subject.folder / "portcullis.yaml"
        issue = ["token", "issue", "--user", configs.USER, "--service", "mcp", "--ttl", "24h", "--config", config]
        token = run([self.binary, *issue]).strip()
        subject.headers = {"authorization": f"Bearer {token}"}
        if self.token is None:
            self.token, self.resource = token, subject.url
            self.issuer = f"https://{ISSUER_HOST}:{subject.port}"
            self.public_key.write_text(configs.public_key_pem(self._signing_key(subject)))

    def _listens(self, subject: Subject) -> bool:
        expect(subject.process.running, f"{subject.name} ended at start\n{subject.log()}")
        return (subject.folder / "admin.sock").exists()

    def _signing_key(self, subject: Subject) -> dict[str, str]:
        """The key of /jwks that has signed the token: there may be the next one too."""
        issuer = Subject("jwks", subject.port, f"{self.issuer}/jwks", {}, tls=self.tls)
        status, body = request(issuer, "GET")
        expect(status == 200, f"/jwks answered {status} {body[:300]!r}")
        kid = decoded(self.token.split(".")[0])["kid"]
        return next(key for key in json.loads(body)["keys"] if key["kid"] == kid)

    def redis(self) -> tuple[int, Process]:
        """A Redis of our own, without a disk."""
        port, folder = free_port(), self.new_folder("redis")
        options = ["--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        process = self.scope.start(f"redis-{port}", "redis-server", "--port", port, *options)
        until("redis-server accepts connections", lambda: "Ready to accept connections" in process.text())
        return port, process

    def close(self) -> None:
        """Ends everything, the newest first."""
        for subject in reversed(self.subjects):
            subject.stop()
        self.scope.close()


def decoded(part: str) -> dict[str, Any]:
    """A part of a JWT."""
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def run(command: list[Any], seconds: float = 60) -> str:
    """A command's standard output; its standard error is the failure's."""
    text = [str(it) for it in command]
    done = subprocess.run(text, capture_output=True, text=True, timeout=seconds, check=False)
    expect(done.returncode == 0, f"{' '.join(text[:4])} … ended with {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout
