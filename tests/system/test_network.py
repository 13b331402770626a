"""Explanations of network failures: proxies, certificates, wrong addresses."""

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import pytest
import torch
from huggingface_hub import close_session
from untrusted_server import untrusted_server

from sdi_engine.diffusion.loading import load_prior
from sdi_engine.errors import EXIT_ENVIRONMENT, EnvironmentMissingError
from sdi_engine.system import network

HUB = "https://huggingface.co"


@pytest.fixture(autouse=True)
def online(monkeypatch, tmp_path):
    """Set to online, without a proxy, and with an empty cache."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    close_session()  # a session keeps the proxies that it was made with
    yield
    close_session()


@pytest.fixture
def proxy_that_wants_a_password():
    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            self.send_response(407, "Proxy Authentication Required")
            self.send_header("Proxy-Authenticate", "Basic")
            self.end_headers()

        do_GET = do_HEAD = do_CONNECT

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nobody():
    """An address at which nothing answers during the test: a bound port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def refusal() -> str:
    with pytest.raises(EnvironmentMissingError) as caught:
        load_prior("owner/name", torch.device("cpu"))
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    return str(caught.value)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="SOCKS proxies work here")
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_socks_proxy_without_its_package(monkeypatch, variable):
    monkeypatch.setenv(variable, "socks5://127.0.0.1:1")
    sentence = refusal()
    assert f"{variable.upper()} is set to socks5://127.0.0.1:1, a SOCKS proxy" in sentence
    assert "package socksio is missing" in sentence


def test_an_unsupported_kind_of_socks_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks4://127.0.0.1:1")
    assert "a kind of SOCKS proxy that cannot be used: set it to an HTTP proxy" in refusal()


def test_a_proxy_that_wants_a_password(monkeypatch, proxy_that_wants_a_password):
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy_that_wants_a_password}")
    sentence = refusal()
    assert f"the proxy http://{proxy_that_wants_a_password} requires a name and a password (407)" in sentence
    assert "put them into HTTPS_PROXY" in sentence


def test_a_proxy_that_wants_another_password(monkeypatch, proxy_that_wants_a_password):
    monkeypatch.setenv("HTTPS_PROXY", f"http://name:secret@{proxy_that_wants_a_password}")
    sentence = refusal()
    assert "does not accept the name and the password that HTTPS_PROXY holds (407)" in sentence
    assert "secret" not in sentence


def test_a_proxy_that_is_not_there(monkeypatch, nobody, caplog):
    monkeypatch.setenv("HTTPS_PROXY", f"http://name:secret@{nobody}")
    sentence = refusal()
    assert f"the proxy http://{nobody} does not respond" in sentence
    assert "correct or clear HTTPS_PROXY" in sentence
    assert "secret" not in sentence + caplog.text
    assert "Retrying" not in caplog.text  # retrying would take half a minute


@pytest.mark.parametrize("address", ["http://proxy:port", "http://[::1", "http://", "gopher://proxy:70"])
def test_an_invalid_proxy(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    assert "which is not a proxy address: write it as http://HOST:PORT" in refusal()


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [
        ("hub.example", 'HF_ENDPOINT is set to "hub.example", which is not a web address'),
        ("http://NOBODY", "http://NOBODY (set by HF_ENDPOINT) cannot be reached"),
    ],
)
def test_an_invalid_hub_address(monkeypatch, nobody, endpoint, cause):
    endpoint, cause = endpoint.replace("NOBODY", nobody), cause.replace("NOBODY", nobody)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    assert cause in refusal()


def test_a_certificate_that_is_not_trusted(tmp_path, monkeypatch):
    """It does not become valid by trying again, which would take half a minute."""
    with untrusted_server(tmp_path) as server:
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        sentence = refusal()
    assert f"does not trust the certificate that came for {server.address}" in sentence
    assert "set SSL_CERT_FILE to the file" in sentence
    assert server.asked == 1


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            str(ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate in chain")),
            "does not trust the certificate that came for https://huggingface.co",
        ),
        ("[WinError 10061] No connection could be made because the target machine actively refused it", "be reached"),
        ("[Errno 8] nodename nor servname provided, or not known", "cannot be reached"),
        ("The read operation timed out", "cannot be reached"),
    ],
)
def test_other_causes(said, cause):
    assert cause in network.why(said, HUB)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "ERROR: Could not install packages due to an OSError: Missing dependencies for SOCKS support.",
            "PySocks is mis",
        ),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy Auth", "(407)"),
        ("ProxyError('Cannot connect to proxy.', NewConnectionError('[Errno 111] Connection refused'))", "not respond"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "set PIP_CERT to the file"),
    ],
)
def test_causes_from_pips_output(monkeypatch, said, cause):
    kind = "socks5" if "SOCKS" in said else "http"
    monkeypatch.setenv("HTTPS_PROXY", f"{kind}://name:secret@proxy.example:3128")
    sentence = network.why(said, "https://", certificates="PIP_CERT", socks_package="PySocks")
    assert cause in sentence
    assert "secret" not in sentence


def test_errors_that_are_not_of_the_network_are_not_explained():
    assert network.why("owner/name does not appear to have a file named model_index.json.", HUB) == ""


def test_an_excepted_host_uses_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "huggingface.co,localhost")
    assert network.proxy_for(HUB)[1] == ""
    for other in ("https://elsewhere.example", "https://"):
        assert network.proxy_for(other) == ("HTTPS_PROXY", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "address", ["http://name:p@ss:w0rd@host:80/path?token=1", "http://name:pa/ss@host:80", "name:x@host:80"]
)
def test_an_address_is_shown_without_its_password(address):
    assert network.shown(address).removeprefix("http://") == "host:80"
