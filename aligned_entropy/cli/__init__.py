"""Command ``alien``: exit code 0 if the work is done, 1 if it failed (one line on stderr), 2 for wrong usage.

Work has also failed if the requested result was not written, for instance a refitted head that is not better.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and print every error as one line on stderr, unless ``ALIEN_TRACEBACK=1`` is set."""
    import warnings

    from ..errors import AlignedEntropyError
    from .app import app
    from .terminal import show_warning

    warnings.showwarning = show_warning
    try:
        app()
    except KeyboardInterrupt:
        print("alien: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of stdout has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes stdout once more
        sys.exit(1)
    except Exception as error:
        if os.environ.get("ALIEN_TRACEBACK") == "1":
            raise
        message = " ".join(str(error).split())
        stands_alone = isinstance(error, (AlignedEntropyError, OSError)) and message
        print(f"alien: {message if stands_alone else f'{type(error).__name__}: {message}'}", file=sys.stderr)
        sys.exit(1)
