"""Entry point of ``python -m aligned_entropy``, for shells that do not find the command ``alien``."""

from .cli import main

if __name__ == "__main__":
    main()
