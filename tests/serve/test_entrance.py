"""Ways to a server: its first page, its documentation, keys, root path and other origins."""

import json
import re

import pytest
from fastapi.testclient import TestClient

from aligned_entropy import ArgumentError
from aligned_entropy.serve.app import create_app
from aligned_entropy.serve.server import Settings


@pytest.fixture
def client_of(served_classifier):
    clients = []

    def create(**settings):
        clients.append(TestClient(create_app(served_classifier, settings=Settings(**settings))))
        return clients[-1].__enter__()

    yield create
    for client in clients:
        client.__exit__()


@pytest.mark.parametrize("root", ["", "/alien", "/models/alien"])
def test_the_first_page_links_to_the_others(client_of, root):
    client = client_of(root_path=root)
    first = client.get("/").json()
    assert (first["name"], first["version"]) == ("aligned-entropy", client.app.version)
    assert set(first["links"]) == {"predict", "docs", "openapi", "healthz", "readyz", "metrics"}
    for name, link in first["links"].items():
        assert link.startswith(f"{root}/")
        assert client.get(link).status_code == (405 if name == "predict" else 200)


@pytest.mark.parametrize("root", ["", "/alien"])
def test_the_documentation_holds_every_route_and_field_and_loads_nothing(client_of, root):
    client = client_of(root_path=root, api_key="sesame")
    response = client.get("/docs")
    schema = client.get("/openapi.json").json()
    page = response.text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert f"{method.upper()} {root}{path}</code>" in page
            assert operation["description"].split("\n")[0].replace("'", "&#39;") in page
    for message in schema["components"]["schemas"].values():
        assert all(f"<code>{field}</code>" in page for field in message.get("properties", {}))
    assert page.count("API key of the server.") == 3, "predict, feedback, head"
    assert re.findall(r'(?:src|href)="([^"]*)"|<script|@import|url\(', page) == [f"{root}/openapi.json"]
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_proxy_may_send_the_path_with_the_root_path_or_without(client_of):
    client = client_of(root_path="/alien")
    for path in ("/v1/predict", "/alien/v1/predict"):
        assert client.post(path, json={"texts": ["fine"]}).status_code == 200
    assert client.post("/alien/alien/v1/predict", json={"texts": ["fine"]}).status_code == 404
    assert client.post("/alienv1/predict", json={"texts": ["fine"]}).status_code == 404
    assert client.get("/alien/openapi.json").json()["servers"] == [{"url": "/alien"}]
    assert "servers" not in client_of().get("/openapi.json").json()
    counted = client.get("/metrics").text
    assert 'alien_requests_total{path="/v1/predict",status="200"} 2.0' in counted


@pytest.mark.parametrize("root", ["/v1", "/docs", "/healthz/alien"])
def test_a_root_path_that_is_also_a_route_is_refused(served_classifier, root):
    with pytest.raises(ArgumentError, match=f"root path {root}: the server has routes of this name"):
        create_app(served_classifier, settings=Settings(root_path=root))


def test_the_keys_are_documented_as_security_schemes(client_of):
    schema = client_of(api_key="sesame", admin_key="root").get("/openapi.json").json()
    bearer = {"type": "http", "scheme": "bearer"}
    schemes = schema["components"]["securitySchemes"]
    assert {name: bearer.items() <= scheme.items() for name, scheme in schemes.items()} == {
        "ApiKey": True, "AdminKey": True,
    }  # fmt: skip
    security = {
        (method, path): operation.get("security")
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    api, admin = [{"ApiKey": []}], [{"AdminKey": []}]
    assert security == {
        ("post", "/v1/predict"): api, ("post", "/v1/feedback"): api, ("get", "/v1/head"): api,
        ("delete", "/v1/predictions/{prediction_id}"): admin, ("post", "/v1/predictions/delete"): admin,
        ("post", "/v1/head"): admin, ("post", "/v1/head/rollback"): admin,
        ("get", "/healthz"): None, ("get", "/readyz"): None, ("get", "/metrics"): None,
    }  # fmt: skip
    schema = client_of().get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"AdminKey"}, "without a key, clients need none"
    assert "security" not in schema["paths"]["/v1/predict"]["post"]


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ((), "https://a.org", None),
        (("https://a.org",), "https://a.org", "https://a.org"),
        (("https://a.org", "https://b.org"), "https://b.org", "https://b.org"),
        (("https://a.org",), "https://evil.org", None),
        (("https://a.org",), "http://a.org", None),
        (("*",), "https://c.org", "*"),
    ],
)
def test_only_the_given_origins_may_use_the_server(client_of, allowed, origin, expected):
    client = client_of(cors_origins=allowed, api_key="sesame")
    preflight = client.options("/v1/predict", headers=PREFLIGHT | {"Origin": origin})
    assert preflight.headers.get("access-control-allow-origin") == expected
    assert preflight.status_code == (204 if not allowed else 200 if expected else 400)
    body = json.dumps({"texts": ["fine"]})
    headers = {"Content-Type": "application/json", "Origin": origin}
    for more, code in (({"Authorization": "Bearer sesame"}, 200), ({}, 401)):
        response = client.post("/v1/predict", content=body, headers=headers | more)
        assert response.status_code == code
        assert response.headers.get("access-control-allow-origin") == expected, "a page can read errors, too"
