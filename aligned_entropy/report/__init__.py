"""HTML pages for an evaluation and for benchmark results."""

from .evaluation_page import write_report
from .rows import Rows, facts_of, rows_of

__all__ = ["Rows", "facts_of", "rows_of", "write_report"]
