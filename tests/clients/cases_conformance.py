"""The official conformance suite: against our authorization server, and through the gateway as if it were not there."""

import json
import re
from pathlib import Path

import gateway as gateways
from bench import STORES, Bench
from browser import Browser
from forwarder import Forwarder
from harness import MODULES, NODE, Failed, case, expect, free_port, same, until
from web import Login, sign_in

SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

Checks = dict[str, list[tuple[str, str]]]


def results(folder: Path) -> Checks:
    """The status of every check, by scenario; the folders are called after scenario and time."""
    found: Checks = {}
    for file in sorted(folder.glob("*/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", file.parent.name)
        found[scenario] = sorted((it["id"], it["status"]) for it in json.loads(file.read_text()))
    return found


def failures(checks: Checks) -> list[str]:
    return [
        f"{scenario}: {name} {status}"
        for scenario, all in checks.items()
        for name, status in all
        if status == "FAILURE"
    ]


def server_suite(bench: Bench, name: str, url: str, revision: str) -> tuple[Checks, int]:
    folder = bench.scope.folder / name
    command = ["server", "--url", url, "--requirements", revision, "-o", folder]
    process = bench.scope.start(f"conformance-{name}", NODE, SUITE, *command)
    until("the conformance suite ends", lambda: not process.running, 120)
    checks = results(folder)
    expect(len(checks) > 30, f"the suite ran {len(checks)} scenarios only")
    # The exit code speaks of the required scenarios only; the others are compared all the same.
    return checks, process.child.returncode


@case(timeout=180, store=["embedded"], revision=["2025-11-25", "2026-07-28"])
def the_server_suite_sees_no_difference_through_the_gateway(bench: Bench, store: str, revision: str) -> None:
    upstream = bench.shared.upstream("everything")
    # The suite must see the public address, so the forwarder has it and the gateway listens behind.
    forwarder = Forwarder("/everything/")
    where = bench.shared.store(store, bench.scope.folder)
    gateway = gateways.serve(
        bench.scope, bench.shared.binary, where, {"everything": upstream}, public_port=forwarder.port
    )
    forwarder.start(gateway.port)
    try:
        gateway.start()
        _, tokens = sign_in(gateway.issuer, gateway.urls["everything"])
        forwarder.token = tokens["access_token"]
        direct, passes = server_suite(bench, "direct", upstream, revision)
        same(passes, 0, "the suite's exit code without the gateway")
        through, passes = server_suite(bench, "through", gateway.urls["everything"], revision)
    finally:
        forwarder.stop()
    same(sorted(through), sorted(direct), "the list of scenarios through the gateway")
    differences = [
        f"{scenario}: directly {sorted(set(direct[scenario]) - set(through[scenario]))}, "
        f"through the gateway {sorted(set(through[scenario]) - set(direct[scenario]))}"
        for scenario in direct
        if direct[scenario] != through[scenario]
    ]
    expect(not differences, "not the same through the gateway:\n" + "\n".join(differences))
    same(passes, 0, "the suite's exit code through the gateway")


@case(timeout=90, store=STORES)
def both_authorization_scenarios_of_the_suite_pass(bench: Bench, store: str) -> None:
    gateway = bench.shared_gateway(store)
    port = free_port()
    client = Login(gateway.issuer, gateway.urls["echo"], redirect_uri=f"http://127.0.0.1:{port}/callback")
    client.register()
    folder = bench.scope.folder / "authorization"
    command = ["authorization", "--url", gateway.issuer, "--port", port, "--client-id", client.client_id]
    more = ["--resource", client.resource, "--spec-version", "2026-07-28", "-o", folder]
    process = bench.scope.start("conformance-authorization", NODE, SUITE, *command, *more)

    def printed_url() -> str | None:
        found = re.search(re.escape(gateway.issuer) + r"/authorize\?\S+", process.text())
        if not found and not process.running:
            raise Failed("the suite ended before it printed an authorize URL")
        return found and found[0]

    Browser().visit(until("the suite prints its authorize URL", printed_url, 30))
    until("the conformance suite ends", lambda: not process.running, 30)
    checks = results(folder)
    same(failures(checks), [], "the failures")
    same(process.child.returncode, 0, "the suite's exit code")
    for scenario in ("authorization-server-metadata-endpoint", "authorization-code-grant"):
        statuses = [status for name, all in checks.items() if name.endswith(scenario) for _, status in all]
        expect("SUCCESS" in statuses, f"{scenario} did not run: {sorted(checks)}")
    warned = [name for all in checks.values() for name, status in all if status == "WARNING"]
    same(warned, [], "the warnings")
