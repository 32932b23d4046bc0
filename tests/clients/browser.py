#!/usr/bin/env python3
"""A browser without a window: follows redirects, keeps cookies, and fills in our two pages, as Chrome would.

What Chrome does: cookies belong to a host whatever its port, Secure ones travel on https only, a POST carries the
page's `Origin` and `Referer` as its `Referrer-Policy` allows, and 301, 302 and 303 turn a POST into a GET.

As a command (so that a client's $BROWSER can be it): browser.py URL [--name alice] [--decision approve|deny]
"""

import argparse
import http.client
import json
import ssl
import sys
import time
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser

HTML_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
MOST_HOPS = 20


@dataclass
class Input:
    kind: str
    name: str
    value: str
    checked: bool = False


@dataclass
class Form:
    action: str
    method: str
    inputs: list[Input] = field(default_factory=list)

    def of(self, name: str) -> list[Input]:
        return [it for it in self.inputs if it.name == name]

    def filled(self, answers: dict[str, str]) -> list[tuple[str, str]]:
        """The pairs a browser would send: hidden fields as they are, ours where we have an answer."""
        pairs: list[tuple[str, str]] = []
        for it in self.inputs:
            if not it.name:
                continue
            given = answers.get(it.name)
            if it.kind in ("submit", "button", "image", "reset"):
                chosen = given == it.value
            elif it.kind in ("radio", "checkbox", "option"):
                chosen = it.value == given if given is not None else it.checked
            else:
                pairs.append((it.name, it.value if it.kind == "hidden" or given is None else given))
                continue
            if chosen:
                pairs.append((it.name, it.value))
        return pairs


class Document(HTMLParser):
    """The forms and links of a page, and its words for an error message."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self._form: Form | None = None
        self._select: str | None = None
        self._silent = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        it = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in it:
            self.links.append(it["href"])
        elif tag == "form":
            self._form = Form(it.get("action", ""), it.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag in ("style", "script"):
            self._silent += 1
        elif self._form is not None:
            self._field(tag, it)

    def _field(self, tag: str, it: dict[str, str]) -> None:
        inputs, name = self._form.inputs, it.get("name", "")
        if tag == "input":
            kind = it.get("type", "text").lower()
            inputs.append(Input(kind, name, it.get("value", "on" if kind == "checkbox" else ""), "checked" in it))
        elif tag == "button":
            inputs.append(Input(it.get("type", "submit").lower(), name, it.get("value", "")))
        elif tag == "textarea":
            inputs.append(Input("text", name, ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select is not None:
            first = not any(one.kind == "option" and one.name == self._select for one in inputs)
            inputs.append(Input("option", self._select, it.get("value", ""), first or "selected" in it))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag in ("style", "script"):
            self._silent -= 1

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.words.append(" ".join(data.split()))


@dataclass
class Cookie:
    value: str
    secure: bool
    path: str

    def reaches(self, target: urllib.parse.SplitResult) -> bool:
        path = target.path or "/"
        under = path == self.path or path.startswith(self.path.rstrip("/") + "/")
        return under and (not self.secure or target.scheme == "https")


@dataclass
class Request:
    method: str
    url: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    page: "Page | None" = None


@dataclass
class Page:
    request: Request
    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def url(self) -> str:
        return self.request.url

    @property
    def document(self) -> Document:
        return Document(self.body if "html" in self.headers.get("Content-Type", "") else "")

    def explain(self) -> str:
        words = " ".join(self.document.words) or self.body[:500]
        return f"{self.request.method} {self.url} answered {self.status}: {words}"


class Stuck(Exception):
    """The way ended on a page that nobody told us how to answer."""


@dataclass
class Browser:
    name: str = "alice"
    decision: str = "approve"
    resource: str | None = None
    ca: str | None = None
    cookies: dict[str, dict[str, Cookie]] = field(default_factory=dict)
    trail: list[str] = field(default_factory=list)

    def visit(self, url: str) -> Page:
        """Goes from `url` to where the way ends: a page with nothing to answer, or a scheme that is not the web's."""
        request: Request | None = Request("GET", url)
        for _ in range(MOST_HOPS):
            page = self.hop(request)
            request = self.next(page)
            if request is None:
                return page
        raise Stuck(f"still going after {MOST_HOPS} requests: {self.trail[-3:]}")

    def next(self, page: Page) -> Request | None:
        """What a person and their browser do with this answer; None where the way ends."""
        location = page.headers.get("Location")
        if page.status in (301, 302, 303, 307, 308) and location:
            target = urllib.parse.urljoin(page.url, location)
            if not target.startswith(("http://", "https://")):
                return None
            if page.status in (307, 308):
                return Request(page.request.method, target, page.request.pairs, page.request.page)
            return Request("GET", target)
        if page.status >= 400:
            raise Stuck(page.explain())
        return self.answer(page)

    def answer(self, page: Page) -> Request | None:
        forms = page.document.forms
        for form in forms:
            if form.of("decision"):
                return self.submit(page, form, {"decision": self.decision, **self.choice(page, form)})
        for form in forms:
            if any(it.kind in ("text", "search", "email") for it in form.of("name")):
                return self.submit(page, form, {"name": self.name})
        if forms:
            raise Stuck(f"a form that is neither consent nor login: {page.explain()}")
        return None

    def choice(self, page: Page, form: Form) -> dict[str, str]:
        """Which service, where the page asks; whatever the page calls the question, its answers are their URLs."""
        open_questions = {it.name for it in form.inputs if it.kind in ("radio", "option")}
        open_questions -= {it.name for it in form.inputs if it.checked}
        chosen = {
            it.name: it.value for it in form.inputs if it.kind in ("radio", "option") and it.value == self.resource
        }
        if open_questions - chosen.keys() and self.decision != "deny":
            raise Stuck(f"the page asks to choose, and {self.resource} is not among its answers: {page.explain()}")
        return chosen

    def submit(self, page: Page, form: Form, given: dict[str, str]) -> Request:
        for name, value in given.items():
            offered = [it.value for it in form.of(name) if it.kind in ("submit", "radio", "option")]
            if offered and value not in offered:
                raise Stuck(f"the page offers {name} {offered}, not {value}")
        target = urllib.parse.urljoin(page.url, form.action)
        pairs = form.filled(given)
        if form.method == "post":
            return Request("POST", target, pairs, page)
        return Request("GET", f"{target.split('?')[0]}?{urllib.parse.urlencode(pairs)}")

    def hop(self, request: Request) -> Page:
        """One request and its answer; no redirect is followed."""
        parts = urllib.parse.urlsplit(request.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=30, context=ssl.create_default_context(cafile=self.ca)
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=30)
        headers = {
            "Accept": HTML_ACCEPT,
            "User-Agent": "portcullis-test-browser",
            **self._fetch_headers(request, parts),
        }
        sent = self._cookies(request, parts)
        if sent:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in sent.items())
        body = None
        if request.method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(request.pairs)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            reach(connection)
            connection.request(request.method, path, body, headers)
            answer = connection.getresponse()
            page = Page(request, answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()
        self._keep(host, page)
        self.trail.append(f"{request.method} {request.url.split('?')[0]} {page.status}")
        return page

    def _fetch_headers(self, request: Request, target: urllib.parse.SplitResult) -> dict[str, str]:
        if request.method != "POST" or request.page is None:
            return {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        source = urllib.parse.urlsplit(request.page.url)
        same_origin = (source.scheme, source.netloc) == (target.scheme, target.netloc)
        site = "same-origin" if same_origin else "same-site" if source.hostname == target.hostname else "cross-site"
        headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": site}
        policy = request.page.headers.get("Referrer-Policy", "strict-origin-when-cross-origin")
        hidden = policy == "no-referrer" or (policy == "same-origin" and not same_origin)
        headers["Origin"] = "null" if hidden else f"{source.scheme}://{source.netloc}"
        if same_origin and not hidden:
            headers["Referer"] = request.page.url
        elif not hidden:
            headers["Referer"] = f"{source.scheme}://{source.netloc}/"
        return headers

    def _cookies(self, request: Request, target: urllib.parse.SplitResult) -> dict[str, str]:
        # A cross-site POST carries no SameSite=Lax cookie, and ours have no other kind.
        page = request.page
        if request.method == "POST" and page and urllib.parse.urlsplit(page.url).hostname != target.hostname:
            return {}
        jar = self.cookies.get(target.hostname or "", {})
        return {name: it.value for name, it in jar.items() if it.reaches(target)}

    def _keep(self, host: str, page: Page) -> None:
        jar = self.cookies.setdefault(host, {})
        for line in page.headers.get_all("Set-Cookie") or []:
            pair, *rest = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            told = {key.lower(): given for key, _, given in (it.partition("=") for it in rest)}
            cookie = Cookie(value, "secure" in told, told.get("path") or "/")
            if name.startswith("__Host-") and not (
                cookie.secure and cookie.path == "/" and page.url.startswith("https:")
            ):
                raise Stuck(f"a browser refuses this cookie: {name}=...; {'; '.join(rest)}")
            if told.get("max-age") == "0" or told.get("expires", "").endswith("01 Jan 1970 00:00:00 GMT"):
                jar.pop(name, None)
            else:
                jar[name] = cookie


def reach(connection: http.client.HTTPConnection, patience: float = 5) -> None:
    """Connects; a listener that is not there yet is waited for, since some clients open theirs after the browser."""
    end = time.monotonic() + patience
    while True:
        try:
            return connection.connect()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def destination(page: Page) -> str:
    """Where the client gets its answer: the loopback URL that was opened, or the app link that the page holds out."""
    location = page.headers.get("Location")
    if location:
        return location
    apps = [it for it in page.document.links if not it.startswith(("http:", "https:", "/", "#"))]
    return apps[0] if apps else page.url


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--name", default="alice")
    arguments.add_argument("--decision", default="approve")
    arguments.add_argument("--resource")
    given = arguments.parse_args()
    browser = Browser(given.name, given.decision, given.resource)
    try:
        page = browser.visit(given.url)
    except (Stuck, OSError) as error:
        print(f"browser: {error}\n  " + "\n  ".join(browser.trail), file=sys.stderr)
        return 1
    print(json.dumps({"ended": destination(page), "trail": browser.trail}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
