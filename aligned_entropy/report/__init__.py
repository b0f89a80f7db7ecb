"""HTML pages for an evaluation and for benchmark results."""

from .evaluation_page import write_report

__all__ = ["write_report"]
