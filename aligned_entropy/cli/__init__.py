"""The command ``alien``. Exit code 0 done, 1 the work failed (one line on stderr), 2 bad usage."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; whatever goes wrong becomes one line on stderr, unless ``ALIEN_TRACEBACK=1``."""
    import warnings

    from ..errors import AlignedEntropyError
    from .app import app

    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads the answers has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes stdout once more
        sys.exit(1)
    except Exception as error:
        if os.environ.get("ALIEN_TRACEBACK") == "1":
            raise
        message = " ".join(str(error).split())
        known = isinstance(error, (AlignedEntropyError, OSError)) and message
        print(f"alien: {message if known else f'{type(error).__name__}: {message}'}", file=sys.stderr)
        sys.exit(1)
