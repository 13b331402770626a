"""`python -m sdi_engine …`"""

import sys

from .cli import main
from .redaction import redact_output

if __name__ == "__main__":
    redact_output()
    sys.exit(main())
