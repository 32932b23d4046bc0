"""A real browser on our pages: the policy headers let the forms work, and the cookies are what they should be."""

from urllib.parse import parse_qs, urlsplit

import gateway as gateways
from bench import Bench
from harness import case, expect, same

CHROMIUM = "/usr/bin/chromium-headless-shell"


@case(timeout=90, https=[False, True])
def a_person_signs_in_with_chromium(bench: Bench, https: bool) -> None:
    gateway = gateways.demo(bench.scope, bench.shared.binary, https=https).start()
    # The script's own registrations go over the same TLS as the browser's requests.
    env = {"CHROMIUM": CHROMIUM, **({"NODE_EXTRA_CA_CERTS": str(gateway.ca)} if gateway.ca else {})}
    steps = {it["step"]: it for it in bench.client("chromium", gateway.urls["echo"], env=env)}
    same(list(steps), ["signed in", "one click", "handed over", "declined"], "the steps")
    for step in ("signed in", "one click"):
        answer = parse_qs(urlsplit(steps[step]["arrived"]).query)
        same((answer["state"], answer["iss"]), (["x/y"], [gateway.issuer]), f"what arrives when {step}")
        expect("code" in answer, f"no code arrives when {step}")
    prefix = "__Host-portcullis" if https else f"portcullis-{gateway.port}"
    cookies = {it["name"]: (it["secure"], it["httpOnly"], it["sameSite"]) for it in steps["signed in"]["cookies"]}
    same(cookies, {f"{prefix}-{kind}": (https, True, "Lax") for kind in ("form", "session")}, "the cookies")
    expect(steps["one click"]["known"], "the page does not say who is signed in")
    link = steps["handed over"]["link"]
    expect(link.startswith("cursor://anysphere.cursor-mcp/oauth/callback?code="), f"the link is {link}")
    same(steps["handed over"]["at"], f"{gateway.issuer}/authorize", "where the browser stays")
    same(parse_qs(urlsplit(steps["declined"]["arrived"]).query)["error"], ["access_denied"], "the answer to no")
    violations = [text for text in steps["declined"]["complaints"] if "Content Security Policy" in text]
    same(violations, [], "what the browser complains of")
