"""Sessions and streams of the legacy wire: whose they are, that they last, and that nobody waits for who has gone."""

import http.client
import itertools
import json
import secrets
import socket
import time
import urllib.parse

from bench import STORES, Bench
from gateway import Gateway
from harness import case, expect, same, until
from web import bearer, connect, fetch, open_session, path_of, rpc, sign_in

# After kill or close, sooner than any timeout or keep-alive could explain.
AT_ONCE = 2.0


def token_of(gateway: Gateway, service: str, name: str = "alice") -> str:
    return sign_in(gateway.issuer, gateway.urls[service], name)[1]["access_token"]


@case(store=STORES)
def a_session_of_alice_does_not_exist_for_bob(bench: Bench, store: str) -> None:
    gateway = bench.shared_gateway(store)
    url = gateway.urls["legacy"]
    alice, bob = token_of(gateway, "legacy", "alice"), token_of(gateway, "legacy", "bob")
    session = open_session(url, alice)
    listing = rpc("tools/list")
    same(fetch("POST", url, listing, bearer(alice, session)).status, 200, "alice's own call")
    same(fetch("POST", url, listing, bearer(bob, session)).status, 404, "bob's call in alice's session")
    same(fetch("GET", url, None, bearer(bob, session)).status, 404, "bob's stream of alice's session")
    same(fetch("DELETE", url, None, bearer(bob, session)).status, 404, "bob's end of alice's session")
    same(fetch("POST", url, listing, bearer(alice, session)).status, 200, "alice's call after all that")
    hers_again = token_of(gateway, "legacy", "alice")
    same(fetch("POST", url, listing, bearer(hers_again, session)).status, 200, "alice's call with her second token")
    same(fetch("DELETE", url, None, bearer(alice, session)).status, 200, "alice's end of her session")


@case()
def a_session_id_is_not_the_upstreams_own(bench: Bench) -> None:
    gateway = bench.shared_gateway()
    token = token_of(gateway, "legacy")
    session = open_session(gateway.urls["legacy"], token)
    inside = fetch("GET", bench.shared.upstream("legacy"), None, bearer("none", session))
    expect(inside.status in (400, 404), f"the upstream knows the client's session id: it answered {inside.status}")
    made_up = fetch("POST", gateway.urls["legacy"], rpc("tools/list"), bearer(token, secrets.token_urlsafe(48)))
    same(made_up.status, 404, "a call in a session that nobody opened")


def next_event(stream: http.client.HTTPResponse) -> dict:
    """The next event that carries a message; comments and priming events are passed over."""
    while line := stream.readline():
        if line.startswith(b"data:") and line[5:].strip():
            return json.loads(line[5:])
    raise AssertionError("the stream ended")


@case(timeout=60, store=STORES)
def a_get_stream_stays_open_and_delivers_what_the_server_says(bench: Bench, store: str) -> None:
    gateway = bench.shared_gateway(store)
    url, token = gateway.urls["legacy"], token_of(gateway, "legacy")
    session = open_session(url, token)
    connection = connect(url)
    connection.request("GET", path_of(url), None, {**bearer(token, session), "Accept": "text/event-stream"})
    stream = connection.getresponse()
    same(stream.status, 200, "the status of the stream")
    expect("text/event-stream" in stream.headers["Content-Type"], f"it is {stream.headers['Content-Type']}")
    call = rpc("tools/call", {"name": "toggle-simulated-logging", "arguments": {}})
    same(fetch("POST", url, call, bearer(token, session)).status, 200, "the call that starts the messages")
    # The server says one thing at once and another every five seconds.
    for _ in range(3):
        same(next_event(stream)["method"], "notifications/message", "what came on the stream")
    fetch("DELETE", url, None, bearer(token, session))
    connection.close()


@case(timeout=60)
def an_event_of_a_post_stream_arrives_before_the_next_one_is_made(bench: Bench) -> None:
    gateway = bench.shared_gateway()
    url, token = gateway.urls["legacy"], token_of(gateway, "legacy")
    session = open_session(url, token)
    arguments = {"name": "trigger-long-running-operation", "arguments": {"duration": 2, "steps": 4}}
    call = rpc("tools/call", {**arguments, "_meta": {"progressToken": "p"}})
    connection = connect(url)
    connection.request("POST", path_of(url), call, bearer(token, session))
    stream = connection.getresponse()
    arrivals = []
    while (message := next_event(stream)).get("method") == "notifications/progress":
        arrivals.append(time.monotonic())
    expect(len(arrivals) >= 3, f"{len(arrivals)} progress messages came")
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    expect(min(gaps) > 0.2, f"progress that is made every half second came in a heap: {gaps}")
    expect("result" in message, f"the call ended with {message}")
    connection.close()


def seen(bench: Bench, mark: str) -> list[str]:
    recorder = next(it for it in bench.shared.scope.processes if it.name == "recorder")
    lines = [json.loads(it) for it in recorder.text().splitlines() if it.startswith("{")]
    return [it["saw"] for it in lines if it.get("mark") == mark]


@case(store=["embedded"], answer=["silent", "stream"])
def a_client_that_goes_away_takes_its_upstream_request_with_it(bench: Bench, store: str, answer: str) -> None:
    gateway = bench.shared_gateway(store)
    url, token, mark = gateway.urls["recorder"], token_of(gateway, "recorder"), secrets.token_hex(8)
    body = rpc("tools/call", {"name": answer, "arguments": {"mark": mark}}).encode()
    parts = urllib.parse.urlsplit(url)
    fields = {"Host": parts.netloc, "Content-Length": str(len(body)), **bearer(token)}
    head = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    client = socket.create_connection((parts.hostname, parts.port), timeout=10)
    client.sendall(head.encode() + b"\r\n" + body)
    until("the upstream has the call", lambda: "request" in seen(bench, mark))
    if answer == "stream":
        received = b""
        while b"started" not in received:
            data = client.recv(4096)
            expect(data, f"the gateway closed the stream after {received!r}")
            received += data
    expect("gone" not in seen(bench, mark), "the gateway left the upstream while its client was still there")
    client.close()
    until("the upstream sees its client go", lambda: "gone" in seen(bench, mark), AT_ONCE)
    same(seen(bench, mark).count("request"), 1, "the number of times the call reached the upstream")
