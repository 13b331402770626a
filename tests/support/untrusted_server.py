"""A server with a certificate that nobody vouches for, as behind a proxy that opens encrypted connections."""

import contextlib
import socket
import ssl
import threading

_CERTIFICATE = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZ4U3UQKtretWLy2A
RC2qjxrApKIZZK/AaFOUIcpc+zahRANCAAQdbm+gOriHf/TGHRPlj3hO2vDBJDQB
MtI0lWXm3KKkGIEccuu8iB8CI3lDv/55N/wuqjidGRTKf9CHVfO3axJQ
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIURG8LPyu1bOlPcikGqctJeG2wUx0wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjE2MTExN1oYDzIxMjYxMTAy
MTYxMTE3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQdbm+gOriHf/TGHRPlj3hO2vDBJDQBMtI0lWXm3KKkGIEccuu8iB8C
I3lDv/55N/wuqjidGRTKf9CHVfO3axJQo28wbTAdBgNVHQ4EFgQUp0nUGWrn2VJp
BuMvF/M7VHAqeJswHwYDVR0jBBgwFoAUp0nUGWrn2VJpBuMvF/M7VHAqeJswDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAM2jR28mrEltd1T7ChsInr45c8HQqVIGDJcYR9cd5h80AiEA
7imXQXGzQ+eWS7TVsRr+tCaDJ/3CBDykCOw/XSwz7ac=
-----END CERTIFICATE-----
"""
"""A self-signed certificate of localhost, with its private key, which protects nothing."""


class UntrustedServer:
    """Attributes:
    address: its URL.
    asked: how often somebody has tried to make an encrypted connection.
    """

    def __init__(self, listening, context):
        self.address = f"https://127.0.0.1:{listening.getsockname()[1]}"
        self.asked = 0
        self._listening, self._context = listening, context

    def serve(self):
        """Answer connections until the socket is closed."""
        with contextlib.suppress(OSError):
            while True:
                self._shake_hands(self._listening.accept()[0])

    def _shake_hands(self, connection):
        """A client that sends nothing has only checked that the port is open."""
        with connection:
            connection.settimeout(10.0)
            with contextlib.suppress(OSError):
                if connection.recv(1, socket.MSG_PEEK):
                    self.asked += 1
                    self._context.wrap_socket(connection, server_side=True)


@contextlib.contextmanager
def untrusted_server(folder):
    """An `UntrustedServer`; its certificate is kept in a folder."""
    file = folder / "untrusted.pem"
    file.write_text(_CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = UntrustedServer(listening, context)
        threading.Thread(target=server.serve, daemon=True).start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
