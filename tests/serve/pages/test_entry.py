"""Entry to the pages: login, session, requests from other origins, and static files."""

import re
import time
import urllib.parse

import pytest
from fastapi.testclient import TestClient

from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.pages.session import SESSION_SECONDS, Sessions
from aligned_entropy.serve.server import Settings
from fixtures.html_page import Page

FORM = {"password": "sesame"}


@pytest.fixture
def visitor_of(served_classifier):
    """Function that makes the client of a server with a page."""
    clients = []

    def create(base_url="http://testserver", **settings):
        app = create_app(served_classifier, settings=Settings(page=True, **settings))
        clients.append(TestClient(app, base_url, follow_redirects=False))
        return clients[-1].__enter__()

    yield create
    for client in clients:
        client.__exit__()


@pytest.mark.parametrize("root", ["", "/alien"])
def test_a_visitor_logs_in_with_the_key_and_out_again(visitor_of, root):
    visitor = visitor_of(api_key="sesame", root_path=root)
    refused = visitor.get(f"{root}/ui/review", headers={"Accept": "text/html"})
    assert (refused.status_code, refused.headers["location"]) == (303, f"{root}/ui/login?next=/ui/review")
    page = Page(visitor.get(refused.headers["location"]).text)
    form = next(attributes for tag, attributes in page.tags if tag == "form")
    fields = {a["name"]: a.get("value") for tag, a in page.tags if tag == "input"}
    assert (form["action"], form["method"], fields) == (
        f"{root}/ui/login",
        "post",
        {"next": "/ui/review", "username": "visitor", "password": None},
    )
    wrong = visitor.post(f"{root}/ui/login", data={"password": "guess", "next": "/ui/review"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert "This is not the API key of the server." in Page(wrong.text).all_text
    entered = visitor.post(f"{root}/ui/login", data=FORM | {"next": "/ui/review"})
    assert (entered.status_code, entered.headers["location"]) == (303, f"{root}/ui/review")
    cookie = entered.headers["set-cookie"]
    assert re.search("httponly", cookie, re.IGNORECASE)
    assert re.search("samesite=strict", cookie, re.IGNORECASE)
    assert f"Path={root}/ui;" in cookie
    assert "secure" not in cookie.lower()
    assert "sesame" not in cookie
    assert visitor.get(f"{root}/ui/nothing").status_code == 404
    left = visitor.post(f"{root}/ui/logout")
    assert (left.status_code, left.headers["location"]) == (303, f"{root}/ui/login")
    assert visitor.get(f"{root}/ui/nothing").status_code == 401


def test_the_cookie_is_secure_behind_https(visitor_of):
    visitor = visitor_of("https://testserver", api_key="sesame")
    assert "secure" in visitor.post("/ui/login", data=FORM).headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "page", ["https://evil.org/", "//evil.org", "/ui/../v1/head", "/ui\\@evil.org", "/ui/login", "", "/u"]
)
def test_the_login_leads_to_no_other_place(visitor_of, page):
    response = visitor_of(api_key="sesame").post("/ui/login", data=FORM | {"next": page})
    assert (response.status_code, response.headers["location"]) == (303, "/ui/")


def test_without_a_key_there_is_nothing_to_log_in_to(visitor_of):
    visitor = visitor_of()
    assert visitor.get("/ui/login").headers["location"] == "/ui/"
    assert visitor.post("/ui/login", data=FORM).headers["location"] == "/ui/"


def test_a_session_holds_on_every_server_with_the_key_until_it_ends(monkeypatch):
    token = Sessions("sesame").begin()
    assert Sessions("sesame").is_valid(token)
    assert not Sessions("another").is_valid(token)
    end, signature = token.split(".")
    for forged in (
        "",
        ".",
        "x",
        f"{int(end) + 1}.{signature}",
        f"{end}.",
        f"{end}.ü",
        f"\udcff.{signature}",
        f"{end}.{signature}0",
    ):
        assert not Sessions("sesame").is_valid(forged)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_SECONDS + 1)
    assert not Sessions("sesame").is_valid(token)


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, True),
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://evil.org"}, False),
        ({"Origin": "http://testserver:81"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://a.org", "X-Forwarded-Host": "a.org"}, True),
        ({"Origin": "https://a.org", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, False),
    ],
)
def test_pages_of_other_origins_can_send_nothing(visitor_of, headers, is_allowed):
    visitor = visitor_of(api_key="sesame", cors_origins=("*",))
    response = visitor.post("/ui/login", data=FORM, headers=headers)
    assert response.status_code == (303 if is_allowed else 403)
    assert ("set-cookie" in response.headers) == is_allowed
    assert visitor.get("/ui/login", headers=headers).status_code == 200, "links from elsewhere lead here"


def test_the_pages_load_only_from_this_server(visitor_of):
    visitor = visitor_of(api_key="sesame")
    response = visitor.get("/ui/login")
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
        "img-src": "'self' data:", "form-action": "'self'", "frame-ancestors": "'self'", "base-uri": "'none'",
    }  # fmt: skip
    assert response.headers["cache-control"] == "no-store"
    page = Page(response.text)
    assert page.scripts == []
    assert not [a for _, a in page.tags if "style" in a or any(name.startswith("on") for name in a)]
    links = [a["href"] for tag, a in page.tags if tag == "link" and not a["href"].startswith("data:")]
    assert links
    for link in links:
        part = visitor.get(link)
        assert part.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert part.headers["x-content-type-options"] == "nosniff"
        assert part.headers["content-type"] == "text/css; charset=utf-8"
        old = re.sub(r"/[0-9a-f]{12}/", "/000000000000/", link)
        assert old != link
        assert visitor.get(old).headers["cache-control"] == "no-cache", "after an update, this file may be another"
    for name in ("page.html.j2", "..%2Fpy.typed", "nothing.css"):
        assert visitor.get(urllib.parse.urljoin(links[0], name)).status_code == 404
