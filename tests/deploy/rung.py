#!/usr/bin/env python3
"""What an operator does with `just`, against a real Docker engine and with a real MCP client; each step needs the one before.

Runs inside the network, mounts and processes that tests/deploy/run has made for it: what it starts ends with them. The last
line says how many steps passed and failed.
"""

import argparse
import http.client
import json
import re
import resource
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOCKET = "/run/docker.sock"
SERVICES = ["echo", "node", "python"]
ALL = sorted([*SERVICES, "gateway", "redis"])
# What each is asked, and what must come back; whoami must be the person who signed in.
CALLS = {
    "echo": ({"echo": {"text": "over the wall"}, "whoami": {}}, "over the wall"),
    "node": ({"add": {"a": 40, "b": 2}, "whoami": {}}, "42"),
    "python": ({"reverse": {"text": "wall"}, "whoami": {}}, "llaw"),
}
# The libraries that the binary is linked with, and authorities; more would be somebody's mistake.
MOST_OVER_THE_BINARY = 5_000_000
HOSTS = ["auth.mcp.test", *(f"{it}.mcp.test" for it in SERVICES), "github.test", "acme.test"]

STEPS: list[Callable[["Rig"], None]] = []


def step(function: Callable[["Rig"], None]) -> Callable[["Rig"], None]:
    STEPS.append(function)
    return function


class Failed(Exception):
    """A sentence about what is not as it should be."""


def expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


class Rig:
    def __init__(self, folder: Path, cache: Path, binary: Path) -> None:
        self.folder, self.cache, self.binary = folder, cache, binary
        self.clone = folder / "clone"
        self.log = (folder / "log").open("a")
        self.children: list[subprocess.Popen[bytes]] = []
        self.env = {
            "PATH": f"{cache}/just/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "DOCKER_HOST": f"unix://{SOCKET}",
            "BROWSER": f"{sys.executable} {HERE.parent}/clients/browser.py",
        }
        self.trust: dict[str, str] = {}
        self.name = "alice"

    def start(self, *command: object) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([str(it) for it in command], env=self.env, stdout=self.log, stderr=self.log, cwd=self.folder)
        self.children.append(child)
        return child

    def run(self, *command: object, succeeds: bool | None = True, seconds: float = 240, **env: str) -> str:
        """What a command says, in both of its voices; it must succeed, unless `succeeds` says otherwise or does not care."""
        words = [str(it) for it in command]
        done = subprocess.run(
            words,
            env=self.env | self.trust | env,
            cwd=self.clone if self.clone.exists() else self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            text=True,
        )
        self.log.write(f"$ {' '.join(words)}\n{done.stdout}= {done.returncode}\n")
        self.log.flush()
        if succeeds is not None and (done.returncode == 0) != succeeds:
            raise Failed(f"`{' '.join(words)[:200]}` ended with {done.returncode}:\n{done.stdout[-2500:]}")
        return done.stdout

    def just(self, *words: object, **options: object) -> str:
        return self.run("just", *words, **options)

    def docker(self, *words: object, **options: object) -> str:
        return self.run("docker", *words, **options)

    def container(self, service: str) -> str:
        found = self.docker("ps", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.service={service}").split()
        expect(len(found) == 1, f"{service} runs {len(found)} times")
        return found[0]

    def inspect(self, service: str) -> dict:
        return json.loads(self.docker("inspect", self.container(service)))[0]

    def health(self, service: str) -> str:
        return self.inspect(service)["State"]["Health"]["Status"]

    def until(self, what: str, check: Callable[[], object], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not check():
            if time.monotonic() > end:
                raise Failed(f"not within {seconds:g} s: {what}")
            time.sleep(0.2)

    def env_file(self) -> dict[str, str]:
        lines = (self.clone / "deploy/.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def override(self, gateway: dict) -> None:
        """What is only so here: this machine may allow fewer open files, and health is looked at more often, to be done sooner."""
        most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)
        soon = {"healthcheck": {"interval": "1s", "retries": 2, "start_period": "0s"}}
        services = {
            "gateway": gateway | soon | {"ulimits": {"nofile": {"soft": most, "hard": most}}},
            "redis": soon | {"ulimits": {"nofile": {"soft": 4096, "hard": 4096}}},
            "python": soon,
            "node": soon,
        }
        (self.clone / "deploy/compose.override.yaml").write_text(json.dumps({"services": services}))

    def url(self, service: str) -> str:
        domain = self.env_file()["DOMAIN"]
        return f"https://{service}.{domain}/mcp" if domain else f"http://localhost:8080/{service}/mcp"

    def call(self, service: str, *options: str) -> str:
        """A new process of the client calls two tools of a service, and is answered rightly."""
        calls, answer = CALLS[service]
        python = self.cache / "mcp2/bin/python"
        said = self.run(
            python, HERE / "client.py", self.url(service), json.dumps(calls), "--storage", self.folder / f"{service}.json",
            *options, seconds=60,
        )
        answers = [json.loads(line) for line in said.splitlines() if line.startswith('{"tool"')]
        expect(len(answers) == 2 and not any(it["error"] for it in answers), f"the tools of {service} answered: {said}")
        first, whoami = ("".join(it["texts"]) for it in answers)
        expect(answer in first, f"{service} answered {first}")
        expect(self.name in whoami, f"{service} was told that {whoami} calls, not {self.name}")
        return said

    def still_works(self) -> None:
        """All three clients, with what they have kept: the access token first, then another one by refreshing."""
        for service in SERVICES:
            self.call(service, "--no-login")
            self.call(service, "--no-login", "--refresh")

    def sign_in(self) -> None:
        for service in SERVICES:
            said = self.call(service)
            expect('"step": "login"' in said, f"the client of {service} did not sign in: {said}")

    def close(self) -> None:
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def engine(rig: Rig) -> None:
    rig.start("dockerd", "--data-root", rig.folder / "data", "--exec-root", "/run/docker-exec", "--pidfile", "/run/docker.pid",
              "--host", rig.env["DOCKER_HOST"])  # fmt: skip
    rig.until("dockerd answers", lambda: Path(SOCKET).exists() and "Server Version" in rig.docker("info", succeeds=None), 30)
    rig.docker("import", rig.cache / "docker/base.tar", "portcullis-test-base")
    rig.override({})
    # No registry can be reached: the one base has what all of these images are used for, and gets their names.
    names = re.findall(r"^ARG \w+=(\S+:\S+)$", "".join(it.read_text() for it in rig.clone.glob("deploy/**/Dockerfile")), re.M)
    names += re.findall(r"^    image: (\S+:\S+)$", (rig.clone / "deploy/compose.yaml").read_text(), re.M)
    for name in {it for it in names if not it.endswith(":latest")}:
        rig.docker("tag", "portcullis-test-base", name)


@step
def nothing_starts_with_a_placeholder_or_a_taken_port(rig: Rig) -> None:
    said = rig.just("init", "DOMAIN=mcp.example.com", "REDIS_PASSWORD=changeme")
    expect("  auth.mcp.example.com\n" in said and "  https://auth.mcp.example.com/callback\n" in said, said)
    told = rig.just("up", succeeds=False)
    for fault in ("DOMAIN is a placeholder", "REDIS_PASSWORD is a placeholder", "ACME_EMAIL is missing", "GITHUB_CLIENT_ID is missing"):
        expect(fault in told, f"`{fault}` is not told: {told}")
    expect("is there already" in rig.just("init", succeeds=False), "a second init was not refused")
    (rig.clone / "deploy/.env").unlink()
    expect("is not understood" in rig.just("init", "DOMIAN=x", succeeds=False), "a misspelt name was taken")

    rig.just("init", "PORTCULLIS_BINARY=deploy/bin/portcullis")
    file = rig.clone / "deploy/.env"
    expect(file.stat().st_mode & 0o777 == 0o600, "others can read .env")
    whole = file.read_text()
    for name, bad in [("PORTCULLIS_SECRET_KEY", "ab"), ("PORTCULLIS_SECRET_KEY", "a" * 64), ("REDIS_PASSWORD", "p@ss:word/" * 4),
                      ("PORTCULLIS_PORT", "eighty"), ("GITHUB_CLIENT_ID", "Iv1.x"), ("DOMAIN", "https://x.test")]:  # fmt: skip
        file.write_text(re.sub(f"^{name}=.*$", f"{name}={bad}", whole, flags=re.M))
        told = rig.just("check-env", succeeds=False)
        expect(name in told or "GITHUB_CLIENT_SECRET" in told, f"{name}={bad} is not told: {told}")
        expect(bad == "ab" or bad not in told, f"the value of {name} is told: {told}")
    file.write_text(whole)
    holder = subprocess.Popen([sys.executable, "-c", "import socket,sys; s = socket.create_server(('127.0.0.1', 8080)); print(flush=True); sys.stdin.read()"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    holder.stdout.readline()
    told = rig.just("check-ports", succeeds=False)
    holder.kill()
    holder.wait()
    expect(f"port 8080 is taken by python3 (process {holder.pid})" in told, told)


@step
def just_up_starts_everything_and_says_what_to_paste(rig: Rig) -> None:
    said = rig.just("up", seconds=400)
    for service in SERVICES:
        expect(re.search(rf"^  {service} +{re.escape(rig.url(service))}$", said, re.M), said[-1500:])
    expect(rig.just("health-check").count(" healthy\n") == 4, "not every container with a health check is healthy")


@step
def just_doctor_looks_from_inside_the_container(rig: Rig) -> None:
    expect("What to do" in rig.just("doctor", "--explain", "upstream-path"), "doctor explains nothing")


@step
def a_client_signs_in_and_calls_a_tool_of_each_server(rig: Rig) -> None:
    rig.sign_in()
    rig.still_works()


@step
def the_image_is_the_binary_and_a_few_megabytes(rig: Rig) -> None:
    image = int(rig.docker("image", "inspect", "-f", "{{.Size}}", "portcullis:latest"))
    binary = (rig.clone / "deploy/bin/portcullis").stat().st_size
    print(f"       the image has {image / 1e6:.1f} MB, {(image - binary) / 1e6:.1f} MB of them beside the binary")
    expect(0 < image - binary < MOST_OVER_THE_BINARY, f"the image has {image} bytes, the binary {binary}")
    told = rig.docker("run", "--rm", "--entrypoint", "sh", "portcullis:latest", succeeds=False)
    expect("not found" in told, f"the image has a shell: {told}")


@step
def every_container_is_held_to_its_limits_and_nobody_is_root(rig: Rig) -> None:
    for service in ALL:
        facts = rig.inspect(service)
        host = facts["HostConfig"]
        for what, holds in {
            "a read-only root": host["ReadonlyRootfs"],
            "no capability": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
            "no new privileges": any(it.startswith("no-new-privileges") for it in host["SecurityOpt"]),
            "a limit of memory": 0 < host["Memory"] <= 512 << 20,
            "a limit of processes": 0 < host["PidsLimit"] <= 128,
            "a limit of processors": 0 < host["NanoCpus"] <= 10**9,
            "a limit of open files": any(it["Name"] == "nofile" for it in host["Ulimits"]),
            "a limit of its log": host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"},
            "no network of the host": host["NetworkMode"] != "host" and not host["Privileged"],
        }.items():
            expect(holds, f"{service} has not {what}")
        status = Path(f"/proc/{facts['State']['Pid']}/status").read_text()
        for line, wanted in {"Uid": r"([1-9]\d*)\t\1\t\1\t\1", "CapEff": "0+", "CapPrm": "0+", "NoNewPrivs": "1", "Seccomp": "2"}.items():
            found = re.search(rf"^{line}:\t(.*)$", status, re.M)[1]
            expect(re.fullmatch(wanted, found), f"{service} runs with {line} {found}")
        ports = {port: at for port, at in facts["NetworkSettings"]["Ports"].items() if at}
        wanted = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]} if service == "gateway" else {}
        expect(ports == wanted, f"{service} publishes {ports}")
        secret = rig.env_file()["REDIS_PASSWORD"]
        expect(secret not in rig.docker("top", rig.container(service)), f"{service}'s command line has the password of Redis in it")


@step
def servers_reach_neither_redis_nor_each_other_and_that_is_noticed(rig: Rig) -> None:
    rig.just("check-network")
    rig.docker("network", "connect", "portcullis_store", rig.container("python"))
    told = rig.just("check-network", succeeds=False)
    expect(re.search(r"python reaches [\d.]+:6379, which it must not", told), told)
    rig.docker("network", "disconnect", "portcullis_store", rig.container("python"))
    rig.just("check-network")


@step
def the_small_words_work(rig: Rig) -> None:
    expect("good; 3 services" in rig.just("validate-config"), "validate-config")
    expect("docker-compose understands" in rig.just("validate-compose"), "validate-compose")
    expect(re.search(r"^portcullis \d+\.\d+\.\d+$", rig.just("version"), re.M), "version")
    expect(all(f"portcullis_{it}_1" in rig.just("ps") for it in ALL), "ps")
    expect("portcullis_gateway_1" in rig.just("stats"), "stats")
    expect("http://localhost:8080" in rig.just("status"), "status")
    bundle = re.search(r"^== (\S+) \(", rig.just("diagnostic-bundle"), re.M)
    told = Path(bundle[1]).read_text() if bundle else ""
    expect("good; 3 services" in told and "portcullis_build_info" in told and "listening" in told, f"diagnostic-bundle: {told[:300]}")
    secrets = [rig.env_file()[name].strip("'") for name in ("PORTCULLIS_SECRET_KEY", "REDIS_PASSWORD")]
    expect(not any(it in told for it in secrets), "a secret is in the bundle")
    expect("desktop" in rig.just("exec", "gateway", "portcullis", "client", "list"), "exec")
    expect("the ports are its own" in rig.just("check-ports"), "check-ports")
    rig.run("deploy/scripts/lint")
    # A shell has somebody at it; what it is told here is nothing, and it ends.
    expect("has no shell: this one is beside it" in rig.just("shell"), "shell")
    rig.just("shell", "redis")
    rig.just("rebuild", "node")
    # No registry can be reached.
    rig.just("pull", succeeds=False)
    logs = subprocess.Popen(["just", "logs", "gateway"], env=rig.env, cwd=rig.clone, stdout=subprocess.PIPE, text=True)
    try:
        expect(any("http" in line for line in iter(logs.stdout.readline, "")), "logs")
    finally:
        logs.kill()


@step
def a_server_more_is_a_file_more(rig: Rig) -> None:
    file = rig.clone / "deploy/config/local/services.d/again.yaml"
    address = "http://localhost:8080/again/mcp"

    def status() -> int:
        try:
            return urllib.request.urlopen(address, b"{}", timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code

    expect(status() == 404, "it is there already")
    file.write_text(f"url: {address.replace('8080', '${PORTCULLIS_PORT}')}\nupstream: http://echo:3000/mcp\n")
    rig.until("the running gateway has noticed", lambda: status() == 401, 15)
    file.unlink()
    rig.until("the running gateway has noticed that it is gone", lambda: status() == 404, 15)


@step
def the_gateway_is_found_ill_when_it_hangs_and_not_when_redis_is_away(rig: Rig) -> None:
    gateway = rig.container("gateway")
    rig.run("deploy/scripts/compose", "stop", "redis")
    rig.call("echo", "--no-login")
    said = rig.just("exec", "gateway", "portcullis", "health", "--ready")
    rig.log.write(said)
    rig.until("degraded is told", lambda: "store" in rig.just("exec", "gateway", "portcullis", "health", "--ready"), 20)
    expect(rig.health("gateway") == "healthy", "the gateway is held for ill for what Redis has")
    rig.run("deploy/scripts/compose", "start", "redis")
    rig.docker("kill", "--signal", "STOP", gateway)
    rig.until("a gateway that hangs is unhealthy", lambda: rig.health("gateway") == "unhealthy", 60)
    expect("gateway is unhealthy" in rig.just("restart", "echo", succeeds=False, PORTCULLIS_WAIT="0"), "an ill gateway passes for well")
    rig.docker("kill", "--signal", "CONT", gateway)
    rig.until("it is healthy again", lambda: rig.health("gateway") == "healthy", 30)


@step
def nobody_signs_in_anew_after_a_restart(rig: Rig) -> None:
    rig.just("restart")
    rig.still_works()


@step
def nobody_signs_in_anew_after_down_and_up(rig: Rig) -> None:
    rig.just("down")
    expect(rig.docker("ps", "-aq") == "" and "portcullis_" not in rig.docker("network", "ls"), "something is left")
    rig.just("up")
    rig.still_works()


def clean_all(rig: Rig) -> None:
    """Everything goes; another name keeps what the images were built from, so that they are there again in no time."""
    for image in ("portcullis", "portcullis-example-python", "portcullis-example-node"):
        rig.docker("tag", f"{image}:latest", f"kept-{image}:1")
    rig.just("clean-all", "yes")


@step
def nobody_signs_in_anew_after_everything_was_lost_but_the_backup(rig: Rig) -> None:
    rig.just("backup")
    (backup,) = (rig.clone / "deploy/backups").iterdir()
    expect(backup.stat().st_mode & 0o777 == 0o600, "others can read the backup")
    told = rig.just("clean-all", succeeds=False)
    expect("just clean-all yes" in told, told)
    rig.still_works()
    clean_all(rig)
    expect(rig.docker("volume", "ls", "-q") == "" and rig.docker("images", "-q", "portcullis") == "", "something is left")
    rig.just("up", seconds=400)
    told = rig.run(
        rig.cache / "mcp2/bin/python", HERE / "client.py", rig.url("echo"), "{}", "--storage", rig.folder / "echo.json", "--no-login",
        "--refresh", succeeds=False,
    )  # fmt: skip
    expect("HTTP Error 40" in told, f"the store was not empty: {told}")
    rig.just("restore", backup)
    rig.still_works()


@step
def nobody_signs_in_anew_after_the_secrets_were_changed(rig: Rig) -> None:
    before = rig.env_file()
    rig.just("rotate-secrets")
    after = rig.env_file()
    for name in ("PORTCULLIS_SECRET_KEY", "REDIS_PASSWORD"):
        expect(len(after[name]) == 64 and after[name] != before[name], f"{name} was not changed")
    expect("PORTCULLIS_SECRET_KEY_PREVIOUS" not in after, "the old key is still there")
    expect((rig.clone / "deploy/.env").stat().st_mode & 0o777 == 0o600, "others can read .env")
    rig.still_works()


@step
def with_a_domain_certificates_come_by_acme_and_people_sign_in_with_github(rig: Rig) -> None:
    clean_all(rig)
    (rig.clone / "deploy/.env").unlink()
    authorities(rig)
    rig.just("init", "DOMAIN=mcp.test", "ACME_EMAIL=ops@mcp.test", "ACME_DIRECTORY=https://acme.test:14000/dir",
             "GITHUB_CLIENT_ID=Iv1.0123456789abcdef", "GITHUB_USER=octocat", "PORTCULLIS_BINARY=deploy/bin/portcullis",
             GITHUB_CLIENT_SECRET=f"{'0123456789abcdef' * 2}01234567")  # fmt: skip
    yaml = rig.clone / "deploy/config/domain/portcullis.yaml"
    client_id = "    client_id: ${GITHUB_CLIENT_ID}\n"
    yaml.write_text(yaml.read_text().replace(client_id, f"{client_id}    web_url: https://github.test:8444\n"))
    said = rig.just("up", seconds=400)
    expect("https://auth.mcp.test/callback" in said, said[-1500:])
    for service in SERVICES:
        (rig.folder / f"{service}.json").unlink()
    rig.name = "octocat"
    rig.sign_in()
    rig.still_works()
    rig.just("check-network")
    told = rig.just("status")
    expect("https://auth.mcp.test" in told, told)
    plain = http.client.HTTPConnection("echo.mcp.test", timeout=10)
    plain.request("GET", "/mcp")
    location = plain.getresponse().headers["Location"]
    expect(location == "https://echo.mcp.test/mcp", f"port 80 leads to {location}")


def authorities(rig: Rig) -> None:
    """GitHub and a certificate authority, in the rung's own network under names of their own, and what they are trusted by."""
    folder = rig.folder / "authorities"
    folder.mkdir()
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca, ca_key, leaf, key = (folder / it for it in ("ca.pem", "ca.key", "leaf.pem", "leaf.key"))
    rig.run(*openssl, "-subj", "/CN=test", "-addext", "keyUsage=keyCertSign", "-keyout", ca_key, "-out", ca)
    rig.run(*openssl, "-subj", "/CN=leaf", "-CA", ca, "-CAkey", ca_key, "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "subjectAltName=DNS:github.test,DNS:acme.test", "-keyout", key, "-out", leaf)  # fmt: skip

    names = folder / "hosts"
    names.write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n")
    # In the rung's own mounts: this machine's file stays as it is.
    rig.run("mount", "--bind", names, "/etc/hosts")
    rig.start(sys.executable, HERE / "github.py", 8444, leaf, key)
    pebble = {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": str(leaf),
              "privateKey": str(key), "httpPort": 80, "tlsPort": 443, "ocspResponderURL": ""}  # fmt: skip
    (folder / "pebble.json").write_text(json.dumps({"pebble": pebble}))
    # It waits for nothing and refuses nothing by chance.
    rig.env |= {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    rig.start("pebble", "-config", folder / "pebble.json")

    trusted = ssl.create_default_context(cafile=str(ca))
    trusted.check_hostname = False
    issued = folder / "issued.pem"

    def root() -> bool:
        try:
            with urllib.request.urlopen("https://127.0.0.1:15000/roots/0", context=trusted, timeout=5) as answer:
                issued.write_bytes(answer.read() + ca.read_bytes())
        except OSError:
            return False
        return True

    rig.until("Pebble answers", root, 15)
    ca.chmod(0o644)
    rig.trust = {"SSL_CERT_FILE": str(issued)}
    rig.override({
        "extra_hosts": ["github.test:host-gateway", "acme.test:host-gateway"],
        "environment": {"SSL_CERT_FILE": "/authorities.pem"},
        "volumes": [f"{ca}:/authorities.pem:ro"],
    })  # fmt: skip


@step
def everything_goes(rig: Rig) -> None:
    rig.just("clean-all", "yes")
    expect(rig.docker("ps", "-aq") == "" and rig.docker("volume", "ls", "-q") == "", "something is left")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("binary", type=Path)
    given = parser.parse_args()
    rig = Rig(given.folder, given.cache, given.binary)
    passed = 0
    try:
        try:
            engine(rig)
        except Failed as error:
            print(f"no Docker engine starts here: {error}\n{(rig.folder / 'log').read_text()[-2000:]}", file=sys.stderr)
            return 75
        for function in STEPS:
            start = time.monotonic()
            try:
                function(rig)
            except Exception as error:
                print(f"FAILED {time.monotonic() - start:6.1f} s  {function.__name__}\n    {error}", flush=True)
                for service in ALL:
                    print(f"--- {service}\n" + rig.docker("logs", "--tail", "15", f"portcullis_{service}_1", succeeds=None), flush=True)
                break
            passed += 1
            print(f"ok     {time.monotonic() - start:6.1f} s  {function.__name__}", flush=True)
    finally:
        rig.close()
    print(f"{passed} passed, {len(STEPS) - passed} failed")
    return 0 if passed == len(STEPS) else 1


if __name__ == "__main__":
    sys.exit(main())
