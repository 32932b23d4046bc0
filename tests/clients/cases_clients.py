"""The four SDK clients, each with its own OAuth code, the whole way through the gateway; and the demo."""

from typing import Any

import gateway as gateways
from bench import STORES, Bench
from gateway import Gateway
from harness import case, expect, same

CLIENTS = ["py2", "py1", "ts1", "ts2"]
UPSTREAMS = ["echo", "legacy", "fastmcp"]

# What each upstream calls its echo, what it is given, and what must come back.
ECHOES: dict[str, tuple[str, str, str]] = {
    "echo": ("echo", '{"text": "over the wall"}', "over the wall"),
    "legacy": ("echo", '{"message": "over the wall"}', "over the wall"),
    "fastmcp": ("echo", '{"text": "over the wall"}', "fastmcp says over the wall"),
    "everything": ("test_simple_text", "{}", "This is a simple text response for testing."),
}


def walk(bench: Bench, gateway: Gateway, client: str, upstream: str, *options: str, **env: str) -> dict[str, Any]:
    """Runs a client against a service and returns its steps by name, after what is true of every walk was checked."""
    tool, arguments, answer = ECHOES[upstream]
    steps = bench.client(client, gateway.urls[upstream], "--tool", tool, "--arguments", arguments, *options, env=env)
    by_name = {it["step"]: it for it in steps}
    for name in ("login", "connected", "listed", "called"):
        expect(name in by_name, f"{client} never came to the step {name!r}: {[it['step'] for it in steps]}")
    login = by_name["login"]
    same(login["authorize"], f"{gateway.issuer}/authorize", "the authorization endpoint it found")
    expect("resource" in login["parameters"], f"{client} did not ask for the resource: it found no PRM")
    expect(tool in by_name["listed"]["tools"], f"{tool} is not in the list: {by_name['listed']['tools']}")
    same(by_name["called"]["error"], False, "the error flag of the first call")
    expect(answer in by_name["called"]["content"][0], f"the tool answered {by_name['called']['content']}")
    return by_name


def refreshed_silently(steps: dict[str, Any]) -> None:
    before, after = steps["connected"], steps["called after expiry"]
    same(after["error"], False, "the error flag of the call after expiry")
    same(after["logins"], 1, "the number of logins after expiry")
    expect(after["token_sets"] > before["token_sets"], "no new tokens were stored: nothing was refreshed")
    expect(after["access"] != before["access"], "the access token is still the first one")
    expect(after["refresh"] != before["refresh"], "the refresh token was not rotated")


def ended_by_revocation(steps: dict[str, Any]) -> None:
    same(steps["revoked"]["status"], 200, "the status of the revocation")
    expect("called after revocation" not in steps, "a call got through after the revocation")
    expect("asked to log in again" in steps, "the client was not sent to a new login after the revocation")


@case(timeout=90, store=STORES, client=CLIENTS, upstream=UPSTREAMS)
def a_client_logs_in_calls_refreshes_and_is_out_when_revoked(
    bench: Bench, store: str, client: str, upstream: str
) -> None:
    gateway = bench.shared_gateway(store, access="5s")
    steps = walk(bench, gateway, client, upstream)
    same(steps["connected"]["expires_in"], 5, "expires_in")
    refreshed_silently(steps)
    ended_by_revocation(steps)


@case(timeout=90, store=STORES)
def a_client_that_looks_at_the_consent_page_before_its_user_does_goes_the_whole_way(bench: Bench, store: str) -> None:
    steps = walk(bench, bench.shared_gateway(store, access="5s"), "fastmcp", "fastmcp")
    refreshed_silently(steps)
    ended_by_revocation(steps)


@case(timeout=90, store=STORES, client=["py2", "ts2"])
def a_client_of_the_2026_era_goes_the_whole_way_without_a_session(bench: Bench, store: str, client: str) -> None:
    gateway = bench.shared_gateway(store, access="5s")
    steps = walk(bench, gateway, client, "everything", "--era", "2026-07-28")
    same(steps["connected"]["era"], "2026-07-28", "the era")
    refreshed_silently(steps)
    ended_by_revocation(steps)


@case(timeout=60, client=["py2", "ts2"], upstream=["everything", "fastmcp", "echo"])
def a_client_that_may_choose_its_era_finds_the_modern_one_behind_the_gateway(
    bench: Bench, client: str, upstream: str
) -> None:
    gateway = bench.shared_gateway()
    steps = walk(bench, gateway, client, upstream, "--era", "auto", "--steps", "none")
    same(steps["connected"]["era"], "2026-07-28", "the era")


@case(timeout=60, client=["py2", "ts2"])
def a_client_that_may_choose_its_era_falls_back_in_front_of_a_legacy_server(bench: Bench, client: str) -> None:
    gateway = bench.shared_gateway()
    steps = walk(bench, gateway, client, "legacy", "--era", "auto", "--steps", "none")
    same(steps["connected"]["era"], "2025-11-25", "the era")


@case(timeout=60, client=CLIENTS)
def the_demo_needs_nothing_but_a_port_and_a_folder(bench: Bench, client: str) -> None:
    gateway = gateways.demo(bench.scope, bench.shared.binary).start()
    ended_by_revocation(walk(bench, gateway, client, "echo", "--steps", "revoke"))
    same(gateway.stop(), 0, "the exit code after SIGTERM")


@case(timeout=60, client=["py2", "ts2"])
def the_demo_over_https_is_trusted_by_its_local_ca_alone(bench: Bench, client: str) -> None:
    gateway = gateways.demo(bench.scope, bench.shared.binary, https=True).start()
    trust = {"SSL_CERT_FILE": str(gateway.ca), "NODE_EXTRA_CA_CERTS": str(gateway.ca)}
    ended_by_revocation(walk(bench, gateway, client, "echo", "--steps", "revoke", **trust))
