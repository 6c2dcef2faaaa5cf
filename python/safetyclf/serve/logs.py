"""Logs: a JSON object a line on standard error. No text of a request is ever part of one."""

from __future__ import annotations

import json
import logging
import os
import traceback
from typing import Any, Final

LOGGER: Final = "safetyclf.serve"


class JsonFormatter(logging.Formatter):
    """Time, level, event, process and the fields that came with the record.

    Of an exception the class and the places are shown. Its message could quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": os.getpid(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            places = traceback.extract_tb(error.__traceback__)
            line["exception"] = type(error).__name__
            line["places"] = [f"{os.path.basename(p.filename)}:{p.lineno} {p.name}" for p in places]
        return json.dumps(line, ensure_ascii=True)

    @staticmethod
    def converter(seconds: float | None) -> Any:
        """UTC."""
        import time

        return time.gmtime(seconds)


def configuration(level: str) -> dict[str, Any]:
    """For logging.config.dictConfig, which uvicorn calls in every worker."""
    logger = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
        },
        # Requests are logged by us, with --access-log.
        "loggers": {"uvicorn": logger, LOGGER: logger},
    }
