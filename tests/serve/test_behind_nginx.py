"""Server behind nginx: path prefix, forwarded addresses, connections that stay open, and gzip."""

import contextlib
import gzip
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.serving import serving

GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
UPSTREAM, LOCATION = re.search(r"```nginx\n(upstream [^`]*?\n}\n)(location [^`]*?)```", GUIDE).groups()
CONFIG = """
daemon off;
pid FOLDER/pid;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    proxy_max_temp_file_size 0;          # the workers may not write into the folder
    client_body_buffer_size 1m;
    gzip on;
    gzip_proxied any;
    gzip_types application/json;
    UPSTREAM
    server {
        listen 127.0.0.1:FIRST_PORT;
        LOCATION
    }
    server {
        listen 127.0.0.1:SECOND_PORT;
        proxy_set_header X-Forwarded-Host $http_host;         # as many gateways do
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        location /alien/ { proxy_pass http://alien/; }        # removes the prefix
    }
}
"""

pytestmark = [
    pytest.mark.nginx,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx on the path"),
]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def nginx(folder, upstream):
    """Start nginx in front of a server; yield the ports that keep the prefix /alien, as in the guide, and remove it."""
    ports = free_port(), free_port()
    values = {
        "FOLDER": folder,
        "UPSTREAM": UPSTREAM.replace("8000", str(upstream)),
        "LOCATION": LOCATION,
        "FIRST_PORT": ports[0],
        "SECOND_PORT": ports[1],
    }
    config = re.sub("|".join(values), lambda name: str(values[name[0]]), CONFIG)
    (folder / "nginx.conf").write_text(config)
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        deadline = time.time() + 30
        for port in ports:
            while True:
                with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.time() < deadline
                time.sleep(0.05)
        yield ports
    finally:
        process.terminate()
        process.wait()


def request(address, body=None, **headers):
    """Response to a request, with its body decompressed."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent = {"Content-Type": "application/json"} | sent
    with urllib.request.urlopen(urllib.request.Request(address, body, sent), timeout=60) as response:
        content = response.read()
        if response.headers["content-encoding"] == "gzip":
            content = gzip.decompress(content)
        return SimpleNamespace(status=response.status, headers=response.headers, content=content, url=response.url)


@pytest.fixture(scope="module")
def proxied(served_folder, tmp_path_factory):
    """Log of a server with a page, its port, and the addresses of the two proxies."""
    folder = tmp_path_factory.mktemp("nginx")
    options = ["--root-path", "/alien", "--ui", "--forwarded-allow-ips", "127.0.0.1"]
    options += ["--feedback", folder / "feedback.sqlite", "--review-share", "1"]
    with serving(served_folder / "model", *options, log=folder / "log") as (_, _, address):
        upstream = int(address.rsplit(":", 1)[1])
        with nginx(folder, upstream) as ports:
            addresses = [f"http://127.0.0.1:{port}/alien" for port in ports]
            yield SimpleNamespace(log=folder / "log", upstream=upstream, addresses=addresses)


def logged_client(log, address):
    """Address of the client that the log names for a request; the server writes it after the response."""
    before = log.read_text().count('"path": "/v1/predict"')
    request(f"{address}/v1/predict", BODY, X_Forwarded_For="203.0.113.7")
    deadline = time.time() + 30
    while len(records := [line for line in log.read_text().splitlines() if '"path": "/v1/predict"' in line]) == before:
        assert time.time() < deadline
        time.sleep(0.05)
    return json.loads(records[-1])["client"]


BODY = json.dumps({"texts": ["a great film"] * 8}).encode()


@pytest.mark.parametrize("proxy", [0, 1])
def test_every_route_works_below_the_prefix(proxied, proxy):
    base = proxied.addresses[proxy]
    schema = json.loads(request(f"{base}/openapi.json").content)
    assert schema["servers"] == [{"url": "/alien"}]
    address = urllib.parse.urljoin(base, schema["servers"][0]["url"] + "/v1/predict")
    assert len(json.loads(request(address, BODY).content)["predictions"]) == 8
    assert b"POST /alien/v1/predict" in request(f"{base}/docs").content
    for path in ("healthz", "readyz", "metrics"):
        head = urllib.request.Request(f"{base}/{path}", method="HEAD")
        with urllib.request.urlopen(head, timeout=60) as response:
            assert (response.status, response.read()) == (200, b"")
    with pytest.raises(urllib.error.HTTPError) as refused:
        request(f"{base}/nowhere")
    assert json.load(refused.value)["detail"].endswith("GET /alien/docs lists all routes.")


@pytest.mark.parametrize("proxy", [0, 1])
def test_the_page_finds_its_parts_below_the_prefix(proxied, proxy):
    page = request(f"{proxied.addresses[proxy]}/")
    assert urllib.parse.urlsplit(page.url).path == "/alien/ui/"
    links = re.findall(r'(?:src|href)="(?!http|data:|#)([^"]+)"', page.content.decode())
    assert len(links) > 3
    for link in links:
        assert request(urllib.parse.urljoin(page.url, link)).content, link
    base = re.search(r'data-base="(.*?)"', page.content.decode())[1]
    assert base == "/alien/ui", "where the script sends its requests"
    events = request(urllib.parse.urljoin(page.url, f"{base}/predictions"), b"a great film", Content_Type="")
    assert events.headers["content-encoding"] is None, "a compressed event would wait for the next one"
    assert b'"kind": "end"' in events.content


@pytest.mark.browser
@pytest.mark.parametrize("proxy", [0, 1])
def test_a_visitor_predicts_through_the_proxy(proxied, proxy, visitor):
    visitor.driver.get(f"{proxied.addresses[proxy]}/ui/")
    visitor.find("#texts").send_keys("a great film\nit was dull")
    visitor.find("#predict").click()
    visitor.wait(lambda: "2 of 2 texts have a prediction" in visitor.text("#summary"))


@pytest.mark.browser
@pytest.mark.parametrize("proxy", [0, 1])
def test_a_visitor_labels_through_the_proxy(proxied, proxy, visitor):
    request(f"{proxied.addresses[proxy]}/v1/predict", BODY)
    visitor.driver.get(f"{proxied.addresses[proxy]}/ui/review")
    visitor.wait(lambda: visitor.find("#task").get_attribute("data-ready"))
    assert visitor.text("#reason").startswith("Uncertainty: 0."), "without a head"
    before = int(visitor.text("#counts").split()[0])
    visitor.press("1")
    visitor.wait(lambda: visitor.text("#counts").startswith(f"{before + 1} labeled, "))


def test_bodies_are_compressed_both_ways(proxied):
    address = f"{proxied.addresses[0]}/v1/predict"
    plain = json.loads(request(address, BODY).content)["predictions"]
    response = request(address, gzip.compress(BODY), Content_Encoding="gzip", Accept_Encoding="gzip")
    assert response.headers["content-encoding"] == "gzip"
    predictions = json.loads(response.content)["predictions"]
    assert [row["uncertainty"] for row in predictions] == [row["uncertainty"] for row in plain]


def test_the_address_of_the_client_is_that_of_a_trusted_proxy(proxied):
    assert logged_client(proxied.log, proxied.addresses[0]) == "203.0.113.7"


def test_connections_to_the_server_are_used_again(proxied):
    def connections():
        """Ports of nginx's connections to the server, from the kernel's table."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        established = [row for row in rows if row[3] == "01"]
        return {row[1] for row in established if int(row[2].split(":")[1], 16) == proxied.upstream}

    first = request(f"{proxied.addresses[0]}/healthz"), connections()
    for _ in range(5):
        request(f"{proxied.addresses[0]}/healthz")
    assert connections() == first[1]
    assert first[1], "nginx keeps its connection open"


def test_the_address_in_a_header_is_not_believed_without_a_trusted_proxy(served_folder, tmp_path):
    options = ["--forwarded-allow-ips", "10.0.0.0/8"]
    with (
        serving(served_folder / "model", *options, log=tmp_path / "log") as (_, _, address),
        nginx(tmp_path, int(address.rsplit(":", 1)[1])) as ports,
    ):
        assert logged_client(tmp_path / "log", f"http://127.0.0.1:{ports[1]}/alien") == "127.0.0.1"
