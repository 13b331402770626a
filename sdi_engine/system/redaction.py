"""Passwords and access tokens removed from what we print, log or copy, so that nobody publishes them by accident.

Standard library only, and readable for Python 3.8.
"""

from __future__ import annotations

import io
import re
import sys

HIDDEN = "***"

_SECRET = r"(?:token|passw|pwd|secret|api[_-]?key|access[_-]?key|key-pair-id|credential|signature|\bsig\b|policy|auth)"
_RULES = (
    # https://user:password@host, where a careless password may hold "@", or after its colon also "/"
    r"(://)(?:[^\s/?#\"'<>@:]{0,200}:(?!\d+[/?#])[^\s\"'<>]{0,500}|[^\s/?#\"'<>]{1,500})(?=@)",
    # the same, as many programs take a proxy: user:password@host:8080
    r"(?<![\w.+%/\-])()[\w.+%\-]{1,200}:[^\s:@/\"'<>]{1,500}(?=@[\w.\-]{1,200}:\d)",
    # https://host/path?token=…&X-Amz-Signature=…
    r"([?&;][\w.\-%]{0,50}?" + _SECRET + r"[\w.\-%]{0,50}=)[^\s&;#\"'<>)]+",
    # Authorization: Bearer …
    r"(\bauthorization[\"']?\s?[:=]\s?[\"']?(?:(?:basic|bearer|token|digest)\s)?)[^\s\"',;]+",
    r"(\bbearer\s)[\w.~+/\-]{16,}=*",
    # HF_TOKEN=…, 'MY_PASSWORD': '…'
    r"((?-i:\b[A-Z0-9_]{0,50}(?:TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY)[A-Z0-9_]{0,50}[\"']?\s?[:=]\s?[\"']?))"
    r"[^\s\"',;]+",
    # what hubs and code hosts give out
    r"\b(hf_|api_org_|gh[pousr]_|github_pat_|glpat-|sk-|pypi-)(?=[\w\-]{0,50}\d)[\w\-]{20,}",
)
_PATTERNS = tuple(re.compile(rule, re.IGNORECASE) for rule in _RULES)
"""Each keeps its group. What may be repeated is bounded where many places try it, so that long texts take no time."""


def redacted(text: str) -> str:
    """The text with "***" for passwords and tokens: in addresses, headers, and values of settings.

    Rather too much is hidden than too little. A redacted text stays as it is.
    """
    for pattern in _PATTERNS:
        text = pattern.sub(r"\g<1>" + HIDDEN, text)
    return text


_RAISING = ("strict", "surrogateescape")
"""How streams treat what their encoding lacks where they raise; the second is the usual one in the locale C."""


class RedactedOutput(io.TextIOWrapper):
    """Like the text stream that it takes the place of, but redacts what is written."""

    def write(self, text: str) -> int:
        super().write(redacted(text))
        return len(text)


def redact_output() -> None:
    """From now on this process redacts all that its Python code prints and logs, its warnings and last tracebacks.

    That holds for libraries too, which have logs of their own. What the stream's encoding lacks, such as κ in a code
    page of Windows, is escaped. For a program's first lines: a stream that is replaced (by a test, say) stays replaced.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:  # already
            continue
        stream.flush()
        output = RedactedOutput(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace" if stream.errors in _RAISING else stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, output)
