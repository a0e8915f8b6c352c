"""What the server's own access log may tell of an address: its path alone.

The queries of callbacks and of signed pictures are secrets: whoever reads them may use them.
"""

from __future__ import annotations

import logging

ACCESS_LOG = "uvicorn.access"
_PATH = 2
"""Where uvicorn's records have the address: client, method, address, HTTP version, status."""


def hide_queries() -> None:
    """From here on no query stands in the access log of this process. Once is enough, more does no harm."""
    log = logging.getLogger(ACCESS_LOG)
    if _without_query not in log.filters:
        log.addFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    told = record.args
    if isinstance(told, tuple) and len(told) > _PATH:
        path, mark, _ = str(told[_PATH]).partition("?")
        record.args = (*told[:_PATH], f"{path}{mark and '?…'}", *told[_PATH + 1 :])
    return True
