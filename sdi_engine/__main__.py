"""`python -m sdi_engine …`: readable for Python 3.8, if only to say that it is too old."""

import json
import sys

from . import doctor
from .errors import EXIT_CANCELLED, EXIT_ENVIRONMENT
from .system.redaction import redact_output
from .system.streams import open_streams


def _refuse(why: str) -> int:
    """Say why this Python will not do; to the question what is missing that is the answer."""
    if sys.argv[1:2] == ["doctor"] and "--json" in sys.argv:
        print(json.dumps(doctor.glance()))
    else:
        print(why, file=sys.stderr)
    return EXIT_ENVIRONMENT


if __name__ == "__main__":
    open_streams()
    redact_output()
    refusal = doctor.refusal()
    if refusal:
        sys.exit(_refuse(refusal))
    try:
        from .cli.commands import main

        sys.exit(main())
    except KeyboardInterrupt:  # while it starts or ends
        sys.exit(EXIT_CANCELLED)
