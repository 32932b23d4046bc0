"""What the person's browser meets on the way, and what the client is told in the end."""

import json

from bench import Bench
from browser import Browser
from harness import case, expect, same
from web import Login, call_modern, initialize, tokens_of


def login(bench: Bench, decision: str = "approve", **more: str) -> Login:
    gateway = bench.shared_gateway()
    it = Login(gateway.issuer, gateway.urls["echo"], browser=Browser(decision=decision), **more)
    it.register()
    return it


@case()
def a_person_who_says_no_lets_the_client_know_with_state_and_issuer(bench: Bench) -> None:
    refused = login(bench, "deny")
    same(refused.answer().get("error"), "access_denied", "the error that the client gets")


@case()
def an_app_gets_its_code_by_a_link_on_a_page(bench: Bench) -> None:
    cursor = login(bench, redirect_uri="cursor://anysphere.cursor-mcp/oauth/callback")
    code = cursor.walk()
    expect(cursor.browser.trail[-1].endswith(" 200"), f"the last answer is not a page: {cursor.browser.trail[-1]}")
    token = tokens_of(cursor.redeem(code))["access_token"]
    same(initialize(cursor.resource, token).status, 200, "the status of a call with the access token")


@case()
def a_request_that_names_no_resource_gets_the_one_that_the_person_chooses(bench: Bench) -> None:
    gateway = bench.shared_gateway()
    chosen = gateway.urls["fastmcp"]
    it = Login(gateway.issuer, "", browser=Browser(resource=chosen))
    it.register()
    token = tokens_of(it.redeem(it.walk()))["access_token"]
    same(initialize(chosen, token).status, 200, "a call to the service that was chosen")
    same(initialize(gateway.urls["echo"], token).status, 401, "a call to another service")


def user_of(it: Login) -> str:
    """Whom the upstream believes to be talking to: the text of the echo server's `whoami`."""
    token = tokens_of(it.redeem(it.walk()))["access_token"]
    answer = call_modern(it.resource, token, "whoami")
    same(answer.status, 200, "the status of whoami")
    return json.dumps(answer.message()["result"]["content"])


def posts(it: Login) -> int:
    return sum(line.startswith("POST ") for line in it.browser.trail)


@case()
def a_second_login_in_the_same_browser_is_one_click(bench: Bench) -> None:
    first = login(bench)
    expect("alice" in user_of(first), "the first login is not alice's")
    second = login(bench)
    second.browser.cookies = first.browser.cookies
    expect("alice" in user_of(second), "the second login is not alice's")
    same(posts(second), 1, "the number of forms that alice sent the second time")


@case()
def a_person_who_is_signed_in_can_take_another_account(bench: Bench) -> None:
    first = login(bench)
    first.walk()
    other = login(bench, "other-account", name="bob")
    other.browser.cookies = first.browser.cookies
    expect("bob" in user_of(other), "the login with another account is not bob's")
