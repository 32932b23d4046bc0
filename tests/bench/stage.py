"""Where a siege takes place: one Portcullis with an upstream of its own, users who have signed in, and what it is seen to hold."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import figures
import load
from configs import HOST, Place
from harness import Process, expect, free_port, until
from rig import Rig, Subject
from web import Answer, Login, fetch, tokens_of

HERE = Path(__file__).resolve().parent
# Between two events of a stream, in seconds.
PAUSE = 5.0
# What the others ask for meanwhile, requests a second: far from what the machine can do.
RATE = 150.0


@dataclass
class Signed:
    """Somebody who has signed in, and their newest tokens."""

    login: Login
    access: str
    token: str

    def refresh(self) -> None:
        """As clients do it; the older access token stays good until it expires."""
        told = tokens_of(self.login.refresh(self.token), "a refresh")
        self.access, self.token = told["access_token"], told["refresh_token"]

    def revoke(self) -> Answer:
        return self.login.revoke(self.token)


@dataclass
class Stage:
    """What every siege needs."""

    rig: Rig
    subject: Subject
    ticker: Process
    control: int
    admin: int
    say: Callable[[str], None]
    signed: list[Signed] = field(default_factory=list)

    @classmethod
    def build(cls, rig: Rig, say: Callable[[str], None]) -> "Stage":
        """A gateway of its own: what a siege leaves behind is not the next one's."""
        port, control, admin = free_port(), free_port(), free_port()
        # Every client of this process believes the certificate: signing in is done by the names that a browser sees.
        os.environ["SSL_CERT_FILE"] = str(rig.certificate)
        ticker = rig.scope.start(f"ticker-{port}", "python3", HERE / "ticker.py", port, control, PAUSE)
        subject = rig.prepare("portcullis", change=lambda place, config: besieged(place, config, port, admin))
        rig.launch(subject)
        stage = cls(rig, subject, ticker, control, admin, say)
        until("Portcullis listens", lambda: (subject.folder / "admin.sock").exists(), 60)
        subject.headers = {"authorization": f"Bearer {stage.sign_in('mcp').access}"}
        rig.wait(subject)
        return stage

    @property
    def authority(self) -> str:
        return f"{HOST}:{self.subject.port}"

    def sign_in(self, service: str) -> Signed:
        """One more user, by the pages."""
        login = Login(f"https://localhost:{self.subject.port}", self.resource(service), f"user{len(self.signed)}")
        login.register()
        told = tokens_of(login.redeem(login.walk()))
        self.signed.append(Signed(login, told["access_token"], told["refresh_token"]))
        return self.signed[-1]

    def resource(self, service: str) -> str:
        return f"https://{self.authority}/{service}"

    def asked(self, seconds: float, protocol: str = "h1") -> list[float]:
        """Normal requests at a steady rate, each answered with 200 (or the run ends); how long each took, in µs."""
        return figures.settled(load.paced(self.subject, protocol, RATE, seconds, self.rig.folder))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.subject.pid}/fd"))

    def rss(self) -> int:
        """kB."""
        return self.subject.memory().rss

    def anonymous(self) -> int:
        """kB that are no file's."""
        rollup = Path(f"/proc/{self.subject.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:"))

    def metric(self, name: str) -> int:
        """One line of /metrics, 0 if it is not there."""
        lines = fetch("GET", f"http://localhost:{self.admin}/metrics").body.splitlines()
        return next((int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(name + " ")), 0)

    def settled(self, descriptors: int, seconds: float) -> int:
        """Waits until no more files are open than were, or the time is over; how many are then."""
        end = time.monotonic() + seconds
        while (now := self.descriptors()) > descriptors and time.monotonic() < end:
            time.sleep(0.1)
        return now

    def end_streams(self) -> dict[int, int]:
        """Has the upstream send its last events; what it has sent to each stream that is still open there."""
        with socket.create_connection(("127.0.0.1", self.control), timeout=30) as asked, asked.makefile("rb") as told:
            return {int(number): sent for number, sent in json.loads(told.read()).items()}

    def close(self) -> None:
        """Ends the gateway and its upstream."""
        self.subject.stop()
        ended = self.subject.process.child.returncode
        self.ticker.stop()
        expect(ended == 0, f"Portcullis ended with {ended}, not cleanly\n{self.subject.log()}")


def besieged(place: Place, config: dict[str, Any], ticker: int, admin: int) -> dict[str, Any]:
    """The ordinary configuration, with the ordinary limits of connections. Users sign in by name; one user may have as many requests
    and streams open as the attack makes, which would else be refused with 429 before they are a burden."""
    many = {"max_requests": 20_000, "max_requests_per_user": 20_000, "max_streams_per_user": 10_000}
    events = {"url": f"https://{HOST}:{place.port}/events", "upstream": f"http://127.0.0.1:{ticker}/events", **many}
    mcp = {**config["services"]["mcp"], **many}
    # slowhttptest goes where `localhost` leads, be it ::1.
    listen = {"https": f"localhost:{place.port}", "http": [], "internal": f"127.0.0.1:{admin}"}
    return {
        **config,
        "issuer": f"https://localhost:{place.port}",
        "identity": {"dev": {}},
        "listen": listen,
        "services": {"mcp": mcp, "events": events},
    }


