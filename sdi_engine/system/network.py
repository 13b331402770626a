"""Why nothing comes from the network, in words for a person: proxies, certificates, wrong addresses.

Standard library only, and readable for Python 3.8: the installer asks too, of pip's words.
"""

from __future__ import annotations

import os
import re
import socket
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 5.0
"""A proxy or a server that does not answer within so many is taken for unreachable."""

_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}

_SOCKS = ("Using SOCKS proxy, but", "Missing dependencies for SOCKS support", "scheme for proxy URL")
_PASSWORD = ("407 Proxy", "Tunnel connection failed: 407", "'407 ", "status code 407")
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "SSLCertVerificationError")
_ADDRESS = ("Invalid port", "Invalid URL", "missing an 'http://'", "No scheme supplied", "Failed to parse:")
_PROXY_DEAD = ("Cannot connect to proxy", "Unable to connect to proxy")
_UNREACHABLE = (
    "Connection refused",
    "actively refused",
    "No route to host",
    "Network is unreachable",
    "unreachable network",
    "Name or service not known",
    "nodename nor servname",
    "No address associated with hostname",
    "Temporary failure in name resolution",
    "getaddrinfo failed",
    "timed out",
    "Connection reset",
    "forcibly closed",
    "Server disconnected",
)


OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables that tell the hub's library to stay offline; the first that says anything decides."""


def is_forbidden() -> bool:
    """Whether a person has told the hub's library to stay offline, in any of the ways that it takes."""
    said = next(filter(None, map(os.environ.get, OFFLINE_VARIABLES)), "")
    return said.strip().lower() in ("1", "on", "yes", "true")


def why(
    text: str,
    url: str,
    url_setting: str = "",
    certificates: str = "SSL_CERT_FILE",
    socks_package: str = "socksio",
    own_proxy: tuple[str, str] | None = None,
) -> str:
    """Cause and cure of a failed download, as the second half of a sentence; "" where it is none of the network's.

    Args:
        text: what the libraries said, with the messages of all exceptions that led to each other.
        url: what was asked for, or only "https://" where that is not known; which proxy is in charge depends on it.
        url_setting: the variable that sets the URL, if one does.
        certificates: the variable that names further certificates to the program that failed.
        socks_package: what that program needs for SOCKS proxies.
        own_proxy: what sets the proxy of that program alone, and that proxy; None where it uses everybody's.
    """
    text = text.lower()

    def has(signs: tuple[str, ...]) -> bool:
        return any(sign.lower() in text for sign in signs)

    setting, proxy = own_proxy or proxy_for(url)
    if proxy and (has(_SOCKS) or has(_ADDRESS)):
        return _unusable_proxy(setting, proxy, socks_package, has_package=False)
    if has(_PASSWORD):
        if "@" in proxy:
            return (
                f"the proxy {shown(proxy)} does not accept the name and the password that {setting} holds (407): "
                "correct them there; signs such as @ or : in a password are written as %40 or %3A"
            )
        return (
            f"the proxy {shown(proxy) or 'of this network'} requires a name and a password (407): put them into "
            f"{setting}, as http://NAME:PASSWORD@HOST:PORT, or ask your network administrator"
        )
    if is_distrust(text):
        return (
            f"this computer does not trust the certificate that came for {_named(url)}, as when a proxy or a virus "
            f"scanner opens encrypted connections: set {certificates} to the file (PEM) of its root certificate, and "
            "check the clock"
        )
    if has(_ADDRESS):
        return _no_address(url, url_setting)
    if has(_PROXY_DEAD) or (proxy and has(_UNREACHABLE)):
        return _dead_proxy(setting, proxy)
    if has(_UNREACHABLE):
        named = f"{_named(url)} (set by {url_setting})" if url_setting else _named(url)
        return f"{named} cannot be reached: check the address, the network and a firewall"
    return ""


def is_distrust(text: str) -> bool:
    """Whether libraries say that they do not trust a certificate, which does not change when they try again."""
    return any(sign.lower() in text.lower() for sign in _CERTIFICATE)


def unreachable(url: str, url_setting: str = "", seconds: float = CONNECT_SECONDS) -> str:
    """Why there is no use in asking for a URL, by one attempt to connect; "" where something answers.

    Libraries ask again for half a minute before they give up. What is said is as in `why`.
    """
    setting, proxy = proxy_for(url)
    has_package = find_spec("socksio") is not None
    try:
        _address(url)
    except ValueError:
        return _no_address(url, url_setting)
    try:
        address = _address(proxy or url)
    except ValueError:
        return _unusable_proxy(setting, proxy, "socksio", has_package)
    scheme = proxy.partition("://")[0]
    if proxy and (scheme.startswith("socks4") or (scheme.startswith("socks5") and not has_package)):
        return _unusable_proxy(setting, proxy, "socksio", has_package)
    try:
        socket.create_connection(address, timeout=seconds).close()
    except (OSError, UnicodeError) as error:
        if proxy:
            return _dead_proxy(setting, proxy)
        return why(f"timed out {error}", url, url_setting)
    return ""


def proxy_for(url: str) -> tuple[str, str]:
    """What sets the proxy for a URL ("HTTPS_PROXY", or the system's settings), and that proxy; "" where none is set.

    Of a scheme alone ("https://"), the proxy of all hosts that are no exceptions.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme if rest else "https"
    proxies = getproxies()
    host = re.split(r"[/?#]", rest.rpartition("@")[2] or rest)[0]
    name = next((name for name in (scheme, "all") if proxies.get(name)), scheme)
    proxy = proxies.get(name, "")
    if not proxy or (host and proxy_bypass(host)):
        return f"{scheme.upper()}_PROXY", ""
    variable = f"{name}_proxy"
    setting = variable.upper() if {variable, variable.upper()} & set(os.environ) else "the system's proxy setting"
    return setting, proxy if "://" in proxy else f"http://{proxy}"


def shown(url: str) -> str:
    """An address that may be shown: without a name and a password, and without what follows the host."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    host = re.split(r"[/?#]", rest.rpartition("@")[2])[0]
    return f"{scheme}{separator}{host}"


def chain(error: BaseException) -> list[BaseException]:
    """An exception and those that led to it, the last one first."""
    errors: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in errors:
        errors.append(following)
        following = following.__cause__ or following.__context__
    return errors


def _address(url: str) -> tuple[str, int]:
    """Host and port; raises ValueError where there are none."""
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in _PORTS:
        raise ValueError(url)
    return parts.hostname, parts.port or _PORTS[parts.scheme]


def _named(url: str) -> str:
    return shown(url) if url.partition("://")[2] else "the server"


def _no_address(url: str, setting: str) -> str:
    named = f"{setting} is set to" if setting else "there is"
    return f'{named} "{shown(url)}", which is not a web address: write one that begins with https://'


def _unusable_proxy(setting: str, proxy: str, socks_package: str, has_package: bool) -> str:
    scheme = proxy.partition("://")[0]
    if scheme in ("socks5", "socks5h") and not has_package:
        return (
            f"{setting} is set to {shown(proxy)}, a SOCKS proxy, for which the Python package {socks_package} is "
            f"missing: set it to an HTTP proxy (http://HOST:PORT), or install {socks_package} into the engine's Python"
        )
    if scheme.startswith("socks"):
        return (
            f"{setting} is set to {shown(proxy)}, a kind of SOCKS proxy that cannot be used: set it to an HTTP proxy "
            "(http://HOST:PORT)"
        )
    return (
        f"{setting} is set to {shown(proxy)}, which is not a proxy address: write it as http://HOST:PORT, or clear it"
    )


def _dead_proxy(setting: str, proxy: str) -> str:
    return (
        f"the proxy {shown(proxy) or 'of this network'} does not respond: start it, or correct or clear {setting}, "
        "which names it"
    )
