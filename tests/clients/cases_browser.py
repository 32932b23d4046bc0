"""A real browser on our pages: the policy headers let the forms work, the cookies are what they should be, and everybody can
read every page."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import gateway as gateways
from bench import Bench
from harness import CACHE, Scope, case, expect, free_port, same

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


# What stands on each page: the cause, and the next step.
PAGES = {
    "home of a stranger": ["Sign in with dev", "/echo/mcp", "Add to Cursor"],
    "landing": ["is an MCP server", "Your connections"],
    "landing on another host": ["is an MCP server", "Your connections"],
    "not found": ["There is nothing at this address", "/echo/mcp"],
    "not found on another host": ["There is nothing at this address", "/todo/mcp"],
    "client-unknown": ["not registered", "add it again", "client-unknown"],
    "redirect-mismatch": ["Example Desktop asks", "~/.mcp-auth", "redirect-mismatch"],
    "redirect-invalid": ["myapp", "redirect_schemes", "redirect-invalid"],
    "request-invalid": ["code_challenge", "Back to the application"],
    "state-reused": ["finished already", "start again", "state-reused"],
    "help": ["What Portcullis does", "the earlier success is not undone", "portcullis doctor --explain state-reused"],
    "help, all": ["Signing in", "redirect-dead", "upstream-down"],
    "help about nothing": ["no page about a trouble of that name", "All troubles"],
    "consent": ["Web App", "app.example.com", "unverified", "Change your lists", "todo:raw"],
    "consent on this computer": ["Go on only if you have just started"],
    "consent with a choice": ["Which MCP server?"],
    "form-expired": ["Start again", "state-expired"],
    "handed over, denied": ["Nothing was granted", "Open Cursor again"],
    "dev login": ["any name signs in"],
    "handed over": ["You are signed in", "close this window", "xdg-mime"],
    "consent with a session": ["You are signed in as alice", "Use another account"],
    "home without connections": ["None yet", "Sign out"],
    "home with connections": [
        *["Cursor", "Visual Studio Code", "within the same minute", "two-clients", "Last used", "127.0.0.1"],
        "What went wrong lately",
    ],
    "connection-unknown": ["no such connection", "connection-unknown"],
    "page-expired": ["Nothing was changed", "state-expired"],
    "github-unreachable": ["Try again", "Back to the application", "github-unreachable"],
    "github-credentials": ["client id and secret", "github-credentials"],
    "github-callback": ["/callback", "github-callback"],
    "not-allowed": ["mallory", "access.users", "not-allowed"],
    "sign-in denied": ["You were not signed in", "Try again"],
    "let in nowhere": ["mallory", "no MCP server here lets you in"],
}


@case(timeout=240)
def every_page_can_be_read_by_everybody(bench: Bench) -> None:
    github = free_port()
    upstream = bench.shared.upstream("echo")

    def dev(issuer: str) -> dict[str, Any]:
        todo = {
            "url": f"{issuer.replace('localhost', '127.0.0.1')}/todo/mcp",
            "upstream": upstream,
            "scopes": ["todo:read", "todo:raw"],
            "implies": {"todo:write": ["todo:read"]},
            "describe": {"todo:read": "Read your lists", "todo:write": "Change your lists"},
        }
        return {"services": {"todo": todo}, "admins": ["dev:alice"]}

    def by_github(_: str) -> dict[str, Any]:
        at = {"web_url": f"http://127.0.0.1:{github}", "api_url": f"http://127.0.0.1:{github}"}
        identity = {"github": {"client_id": "Iv1.0123456789abcdef", "client_secret": "5e" * 20, **at}}
        return {"identity": identity, "access": {"users": ["octocat"]}}

    def serve(name: str, more: Any) -> gateways.Gateway:
        scope = Scope(bench.scope.folder / name)
        store = bench.shared.store("embedded", scope.folder)
        gateway = gateways.serve(scope, bench.shared.binary, store, {"echo": upstream}, more=more)
        gateway.scope = bench.scope
        return gateway.start()

    one, two = serve("dev", dev), serve("github", by_github)
    shots = CACHE / "screenshots"
    shots.mkdir(exist_ok=True)
    env = {
        "CHROMIUM": CHROMIUM,
        "SHOTS": str(shots),
        "ELSEWHERE": f"{one.issuer.replace('localhost', '127.0.0.1')}/todo/mcp",
        "GITHUB_ISSUER": two.issuer,
        "GITHUB_PORT": str(github),
    }
    steps = {it["step"]: it for it in bench.client("pages", one.urls["echo"], env=env, seconds=220)}
    same({name for name, it in steps.items() if "faults" in it}, set(PAGES), "the pages that were seen")
    for name, parts in PAGES.items():
        same(steps[name]["faults"], [], f"what is wrong with the page {name}")
        for part in parts:
            expect(part in steps[name]["text"], f"the page {name} does not say {part!r}: {steps[name]['text']}")
    gone = steps["disconnected"]
    same((gone["before"], gone["after"], gone["left"]), (200, 401, 1), "the calls and connections around Disconnect")
    same(steps["signed out"]["cookies"], [f"portcullis-{one.port}-form"], "the cookies of who has signed out")
    same(steps["by keyboard"]["order"], ["approve", "dev"], "what Tab leads to")
    same(steps["by keyboard"]["title"], "Back to Cursor", "where Enter leads to")
    violations = [text for text in steps["end"]["complaints"] if "Content Security Policy" in text]
    same(violations, [], "what the browser complains of")
