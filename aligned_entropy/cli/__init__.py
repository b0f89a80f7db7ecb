"""The command ``alien``. Exit code 0 done, 1 the work failed (one line on stderr), 2 bad usage."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors of this package become one line on stderr."""
    import warnings

    from ..errors import AlignedEntropyError
    from .app import app

    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except (AlignedEntropyError, OSError) as error:
        print(f"alien: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
