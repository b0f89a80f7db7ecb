"""Connections to a server in a process of its own: slow bodies, idle connections, addresses, and ports in use."""

import json
import socket

import pytest
import uvicorn

from aligned_entropy import ArgumentError
from aligned_entropy.serve import run as run_module
from aligned_entropy.serve.run import listen
from aligned_entropy.serve.server import Settings
from fixtures.processes import alien
from fixtures.serving import serving

POST = "POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"texts": ["a great film"]})


@pytest.fixture(scope="module")
def address(served_folder, tmp_path_factory):
    """Address of a server with short time limits."""
    log = tmp_path_factory.mktemp("connections") / "log"
    options = ["--timeout", "1", "--keep-alive", "0.5"]
    with serving(served_folder / "model", *options, log=log) as (_, _, address):
        assert '"message": "no head: predictions have no error probability' in log.read_text()
        host, port = address.removeprefix("http://").split(":")
        yield host, int(port)


def connect(address):
    return socket.create_connection(address, timeout=60)


def read_response(connection):
    """Status, headers and body of the next response."""
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
    return status, headers, stream.read(int(headers.get("content-length", 0)))


@pytest.mark.parametrize(
    "request_start",
    [
        POST + f"Content-Length: {len(BODY)}\r\n\r\n" + BODY[:9],
        POST + "Transfer-Encoding: chunked\r\n\r\n3\r\n{  \r\n",
        POST + "Content-Length: 9\r\n\r\n",
    ],
)
def test_a_body_that_does_not_arrive_in_time_is_refused(address, request_start):
    with connect(address) as connection:
        connection.sendall(request_start.encode())
        status, headers, body = read_response(connection)
        assert (status, headers["connection"]) == (408, "close")
        assert json.loads(body)["detail"].startswith("the body did not arrive within 1 s: send it faster")
        assert connection.recv(1) == b"", "the connection is closed"


def test_a_connection_is_used_again_and_closed_when_it_is_idle(address):
    with connect(address) as connection:
        for path in ("/healthz", "/readyz"):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHOST: a\r\n\r\n".encode())
            assert read_response(connection)[0] == 200
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        stream = connection.makefile("rb")
        received = b"".join(iter(lambda: stream.read(1), b""))  # until the server closes the idle connection
        head, get = received.split(b"HTTP/1.1 200 OK")[1:]
        assert (head.count(b"ok\n"), get.count(b"ok\n")) == (0, 1), "the response to HEAD has no body"


def test_a_client_may_wait_for_100_before_it_sends_the_body(address):
    with connect(address) as connection:
        connection.sendall((POST + f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n").encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(BODY.encode())
        assert read_response(connection)[0] == 200
    with connect(address) as connection:
        connection.sendall((POST + "Content-Length: 4000001\r\nExpect: 100-continue\r\n\r\n").encode())
        assert read_response(connection)[0] == 413, "the server does not ask for a body that is too large"


@pytest.mark.parametrize(("keep_alive", "proxies"), [(None, "127.0.0.1"), (600.0, "10.0.0.0/8")])
def test_connections_stay_open_longer_than_those_of_proxies(served_classifier, monkeypatch, keep_alive, proxies):
    configs = []

    async def serve(config, server, sockets):
        configs.append(config)

    monkeypatch.setattr(run_module, "_serve", serve)
    sockets = listen("127.0.0.1", 0)
    options = {} if keep_alive is None else {"keep_alive": keep_alive, "trusted_proxies": proxies}
    run_module.run(served_classifier, None, Settings(), sockets, **options)
    (config,) = configs
    assert isinstance(config, uvicorn.Config)
    assert (config.timeout_keep_alive, config.forwarded_allow_ips) == (keep_alive or 75.0, proxies)
    assert config.timeout_keep_alive > 60, "nginx and load balancers close theirs after 60 s"
    for bound in sockets:
        bound.close()


def test_a_busy_port_is_one_error_before_the_model_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ArgumentError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            listen("127.0.0.1", port)
        done = alien("serve", tmp_path / "none", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"alien: cannot listen on 127.0.0.1, port {port}: Address already in use. Name another --host or --port.\n"
    )


def test_two_servers_that_start_together_do_not_share_a_port(served_classifier):
    (first,) = listen("127.0.0.1", 0)
    with first, listen("127.0.0.1", first.getsockname()[1])[0] as second:
        first.listen()
        with pytest.raises(ArgumentError, match="Address already in use"):
            run_module.run(served_classifier, None, Settings(), [second])


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ArgumentError, match=f"cannot listen on {host}, port 0: .* Name another --host or --port"):
        listen(host, 0)


def test_a_name_stands_for_all_its_addresses():
    sockets = listen("localhost", 0)
    expected = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    assert {bound.getsockname()[0] for bound in sockets} == expected
    for bound in sockets:
        bound.close()
