"""One request of HTTP and its answer: what is taken, and that nothing else hurts."""

from __future__ import annotations

from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.control.http import LONGEST_HEAD, Exchange, Refused, Response

LOCAL = {"localhost"}


def head(line: str = "GET /metrics HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join((line, *(headers or ("Host: localhost:9586",)), "", "")).encode()


def status_of(request: bytes) -> int:
    exchange = Exchange(LOCAL)
    try:
        exchange.path(request)
    except Refused as refused:
        answer, _ = exchange.answer(refused.response)
    else:
        answer, _ = exchange.answer(Response(b"fine"))
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "target", ["/metrics", "/metrics?x=1", "/metrics?", "http://localhost/metrics"]
)
def test_the_path_without_a_query(target: str) -> None:
    path = Exchange(LOCAL).path(head(f"GET {target} HTTP/1.1"))
    assert path == target.partition("?")[0]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(), 200),
        (head("HEAD / HTTP/1.1"), 200),
        (head("GET / HTTP/1.0", "X: y"), 421),
        (head("POST /metrics HTTP/1.1"), 405),
        (head("DELETE / HTTP/1.1"), 405),
        (head("GET /", "Host: localhost"), 400),
        (head("GET / HTTP/1.1", "X: y"), 400),  # RFC 9112: a host is a must
        (head("GET / HTTP/1.1", "Host: localhost", "Host: localhost"), 400),
        (head("GET / HTTP/1.1", "Host : localhost"), 400),
        (b"\x16\x03\x01\x00\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + bytes(LONGEST_HEAD), 431),
    ],
)
def test_what_is_refused(request_: bytes, status: int) -> None:
    assert status_of(request_) == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:9586", 200),
        ("127.0.0.1:9586", 200),
        ("127.0.0.1", 200),
        ("[::1]:9586", 200),
        ("[::1]", 200),
        ("192.0.2.1:9586", 200),
        ("evil.example", 421),
        ("evil.example:9586", 421),
        ("localhost.evil.example:9586", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        (":9586", 421),
    ],
)
def test_another_site_s_name_is_not_ours(host: str, status: int) -> None:
    assert status_of(head("GET / HTTP/1.1", f"Host: {host}")) == status


def test_where_names_are_not_known_any_is_right() -> None:
    assert Exchange().path(head("GET / HTTP/1.1", "Host: evil.example")) == "/"


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda end: b"GET /" + end))
def test_whatever_comes_is_answered(data: bytes) -> None:
    assert status_of(data + b"\r\n\r\n") in {200, 400, 405, 421, 431, 501}


@given(st.binary(max_size=500), st.sampled_from(["GET", "HEAD"]))
def test_the_answer_is_one_that_a_client_reads(body: bytes, method: str) -> None:
    exchange = Exchange(LOCAL)
    exchange.path(head(f"{method} / HTTP/1.1"))
    sent = b"".join(exchange.answer(Response(body, "text/x", HTTPStatus.NOT_FOUND, {"X-One": "1"})))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    told = dict(response.headers)
    assert response.status_code == 404
    assert told[b"content-type"] == b"text/x"
    assert told[b"content-length"] == str(len(body)).encode()
    assert told[b"connection"] == b"close"
    assert told[b"x-one"] == b"1"
    assert told[b"content-security-policy"].startswith(b"default-src 'none'")
    read = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        read += event.data
    assert read == (b"" if method == "HEAD" else body)
