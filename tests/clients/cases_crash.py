"""kill -9 between any two steps, and in the middle of one: no grant is lost, and none is there twice."""

import functools
import threading
import time
from collections.abc import Callable

from bench import STORES, Bench
from gateway import Gateway
from harness import case, expect, same
from web import Answer, Login, initialize, tokens_of


def crash(gateway: Gateway) -> None:
    gateway.kill()
    gateway.start()


def works(gateway: Gateway, token: str) -> None:
    same(initialize(gateway.urls["echo"], token).status, 200, "the status of a call with the access token")


def refused(answer: Answer, what: str) -> None:
    same((answer.status, answer.json().get("error")), (400, "invalid_grant"), what)


@case(timeout=120, store=STORES)
def a_login_survives_a_kill_before_every_one_of_its_steps(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    undisturbed = Login(gateway.issuer, gateway.urls["echo"])
    undisturbed.register()
    undisturbed.walk()
    login = Login(gateway.issuer, gateway.urls["echo"])
    login.register()
    code = login.walk(before_each=lambda: crash(gateway))
    same(
        [it.split(" ")[0] for it in login.browser.trail],
        [it.split(" ")[0] for it in undisturbed.browser.trail],
        "the requests of the login (none may be needed twice)",
    )
    crash(gateway)
    first = tokens_of(login.redeem(code))
    crash(gateway)
    works(gateway, first["access_token"])
    second = tokens_of(login.refresh(first["refresh_token"]), "the first refresh")
    crash(gateway)
    works(gateway, second["access_token"])
    third = tokens_of(login.refresh(second["refresh_token"]), "the second refresh")
    crash(gateway)
    works(gateway, third["access_token"])
    expect(
        len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3,
        "a refresh token came twice",
    )


@case(timeout=60, store=STORES)
def a_code_that_was_spent_before_a_kill_is_spent_after_it_and_its_grant_is_revoked(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    login = Login(gateway.issuer, gateway.urls["echo"])
    login.register()
    code = login.walk()
    tokens = tokens_of(login.redeem(code))
    crash(gateway)
    refused(login.redeem(code), "the second redemption of a code")
    crash(gateway)
    refused(login.refresh(tokens["refresh_token"]), "a refresh after the code was used twice")
    same(initialize(gateway.urls["echo"], tokens["access_token"]).status, 401, "a call after the code was used twice")


@case(timeout=60, store=STORES)
def a_refresh_whose_answer_was_lost_in_a_kill_gives_the_same_successor_again(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    login = Login(gateway.issuer, gateway.urls["echo"])
    login.register()
    first = tokens_of(login.redeem(login.walk()))
    second = tokens_of(login.refresh(first["refresh_token"]))
    crash(gateway)
    again = tokens_of(login.refresh(first["refresh_token"]), "the retry of a refresh")
    same(again["refresh_token"], second["refresh_token"], "the successor")
    works(gateway, again["access_token"])
    crash(gateway)
    works(gateway, tokens_of(login.refresh(again["refresh_token"]), "the next refresh")["access_token"])


@case(timeout=60, store=STORES)
def a_revocation_that_was_answered_before_a_kill_holds_after_it(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    login = Login(gateway.issuer, gateway.urls["echo"])
    login.register()
    tokens = tokens_of(login.redeem(login.walk()))
    same(login.revoke(tokens["refresh_token"]).status, 200, "the status of the revocation")
    crash(gateway)
    same(initialize(gateway.urls["echo"], tokens["access_token"]).status, 401, "a call with the revoked grant's token")
    refused(login.refresh(tokens["refresh_token"]), "a refresh of the revoked grant")


def answer_or_none(ask: Callable[[], Answer]) -> Answer | None:
    try:
        return ask()
    except Exception:
        return None


def interrupted(gateway: Gateway, ask: Callable[[], Answer], delay: float) -> Answer | None:
    """Asks, and kills the gateway `delay` after the question was on its way; the answer, if one came."""
    answers: list[Answer | None] = []
    asking = threading.Thread(target=lambda: answers.append(answer_or_none(ask)))
    asking.start()
    # A moment inside the work is what is wanted, and there is nothing to poll for it.
    time.sleep(delay)
    gateway.kill()
    asking.join(20)
    gateway.start()
    return answers[0] if answers else None


DELAYS = [0.0, 0.001, 0.002, 0.003, 0.005, 0.008]


@case(timeout=120, store=STORES)
def a_kill_in_the_middle_of_a_refresh_costs_nothing(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    login = Login(gateway.issuer, gateway.urls["echo"])
    login.register()
    current = tokens_of(login.redeem(login.walk()))
    for delay in DELAYS:
        token = current["refresh_token"]
        answer = interrupted(gateway, functools.partial(login.refresh, token), delay)
        after = tokens_of(login.refresh(token), f"the retry of a refresh that was killed after {delay * 1000:g} ms")
        if answer is not None and answer.status == 200:
            same(after["refresh_token"], answer.json()["refresh_token"], "the successor after an answer that came")
        works(gateway, after["access_token"])
        current = after


@case(timeout=120, store=STORES)
def a_kill_in_the_middle_of_a_redemption_never_gives_two_grants(bench: Bench, store: str) -> None:
    gateway = bench.own_gateway(store)
    for delay in DELAYS:
        login = Login(gateway.issuer, gateway.urls["echo"])
        login.register()
        code = login.walk()
        answer = interrupted(gateway, functools.partial(login.redeem, code), delay)
        again = login.redeem(code)
        if answer is not None and answer.status == 200:
            refused(again, "the retry of a redemption whose answer came")
        elif again.status == 200:
            works(gateway, tokens_of(again)["access_token"])
            refused(login.redeem(code), "the third redemption of a code")
        else:
            # Redeemed, and the answer lost: this login has to start again, and can.
            refused(again, "the retry of a redemption whose answer was lost")
            anew = Login(gateway.issuer, gateway.urls["echo"])
            anew.register()
            works(gateway, tokens_of(anew.redeem(anew.walk()))["access_token"])
