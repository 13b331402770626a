"""What an address of a Ray cluster looks like, so that a wrong one is refused before anything waits for it."""

from __future__ import annotations

import re

from ..errors import BadInputError
from .untrusted import printable

AUTO = "auto"
CLIENT_PORT = 10001
CLIENT_PREFIX = "ray://"

_ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>[\w.\-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?/?")


def check_cluster_address(address: str) -> re.Match[str]:
    """The parts of an address: "client" (`CLIENT_PREFIX` or None), "host", and "port" (digits or None).

    Raises:
        BadInputError: this is no address.
    """
    match = _ADDRESS.fullmatch(address.strip())
    if match is None or not 0 < int(match["port"] or CLIENT_PORT) < 2**16:
        raise BadInputError(
            f'"{printable(address)}" is no address of a Ray cluster: give auto, HOST:PORT or ray://HOST:PORT.'
        )
    return match
