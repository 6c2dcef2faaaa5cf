"""Every option of the server: default, check and help, for the command line and the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from .._errors import InvalidArgumentError

PREFIX: Final = "SAFETYCLF_"


class PolicySource(NamedTuple):
    """A policy by the name that requests give: a file, and one of its audiences."""

    name: str
    path: str
    audience: str | None


def policy_source(value: str) -> PolicySource:
    """`[NAME=]FILE[#AUDIENCE]`; without a name the file's name without its suffix."""
    name, equals, rest = value.partition("=")
    path, _, audience = (rest if equals else value).partition("#")
    if not equals:
        name = os.path.splitext(os.path.basename(path))[0]
    if not name or not path or not name.isascii() or not name.isprintable() or name.strip() != name:
        raise ValueError(f"{value!r} is not of the form [NAME=]FILE[#AUDIENCE]")
    return PolicySource(name, path, audience or None)


def _several(parse: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda value: tuple(parse(part.strip()) for part in value.split(",") if part.strip())


def _yes(value: str) -> bool:
    if value.lower() not in ("0", "1", "false", "true", "no", "yes"):
        raise ValueError(f"{value!r} is neither yes nor no")
    return value.lower() in ("1", "true", "yes")


def _number(low: float, high: float, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    def parse(value: str) -> Any:
        number = kind(value)
        if not low <= number <= high:
            raise ValueError(f"{value} is not in [{low}, {high}]")
        return number

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        return value

    return parse


def _option(
    default: Any, parse: Callable[[str], Any], metavar: str | None, text: str, *, repeat: bool = False
) -> Any:
    """A field whose `parse` reads the option's and the environment's value and raises ValueError."""
    return field(
        default=default, metadata={"parse": parse, "metavar": metavar, "help": text, "repeat": repeat}
    )


@dataclass(frozen=True)
class Settings:
    """What the server was told. `--some-option` is `some_option` here and SAFETYCLF_SOME_OPTION outside."""

    host: str = _option("127.0.0.1", str, "ADDRESS", "address to listen on")
    port: int = _option(8000, _number(0, 65535), "N", "port; 0 takes a free one, which the log names")
    workers: int = _option(1, _number(1, 64), "N", "worker processes")
    model: str | None = _option(None, str, "FILE", "model file; default: the one in the package")
    policy: tuple[PolicySource, ...] = _option(
        (),
        policy_source,
        "[NAME=]FILE[#AUDIENCE]",
        "a policy that requests can choose with x-safetyclf-policy; the first decides where none is chosen",
        repeat=True,
    )
    shadow: str | None = _option(
        None, str, "FILE", "a second model file: counts where it would decide otherwise"
    )
    threads: int = _option(1, _number(1, 1024), "N", "threads of each worker that work on one batch")
    isa: str | None = _option(None, str, "NAME", "instruction set; default: the best")
    device: str | None = _option(None, str, "NAME", "cpu, cuda, cuda:1, ... or auto; default: cpu")
    effort: str = _option("full", _choice("full", "adaptive"), "NAME", "full or adaptive")
    api_keys_file: str | None = _option(
        None, str, "FILE", "keys, one a line; also SAFETYCLF_API_KEYS, separated by commas"
    )
    without_keys: bool = _option(False, _yes, None, "listen on other addresses than loopback without keys")
    images: str = _option(
        "refuse",
        _choice("refuse", "ignore"),
        "NAME",
        "image parts: refuse is a 400, ignore says they were not considered",
    )
    feedback: str | None = _option(
        None, str, "FILE", "keep what comments:suggestscore suggests, with the texts; default: keep nothing"
    )
    perspective_unscored: str = _option(
        "refuse",
        _choice("refuse", "drop"),
        "NAME",
        "Perspective attributes without a score: a 400, or left out",
    )
    perspective_language: tuple[str, ...] = _option(
        ("en",),
        str,
        "TAG",
        "a language that the model reads, the one of Latin script first; default: en",
        repeat=True,
    )
    max_body: int = _option(4 << 20, _number(1024, 1 << 30), "BYTES", "larger requests are refused")
    max_texts: int = _option(1024, _number(1, 1 << 20), "N", "texts in one request at most")
    max_text_bytes: int = _option(1 << 20, _number(1, 1 << 30), "BYTES", "longer texts are refused")
    max_connections: int = _option(4096, _number(1, 1 << 20), "N", "connections of a worker at most")
    queue: int = _option(
        2048, _number(1, 1 << 20), "N", "requests that wait in a worker at most; beyond: 429"
    )
    queue_bytes: int = _option(16 << 20, _number(1024, 1 << 32), "BYTES", "their texts together at most")
    batch_tokens: int = _option(1024, _number(1, 1 << 20), "N", "at which a batch is full")
    max_wait: float = _option(
        2.0, _number(0, 1000, float), "MS", "milliseconds that a request waits for company at most"
    )
    read_timeout: float = _option(
        10.0, _number(0.1, 3600, float), "S", "seconds for a request to arrive completely"
    )
    keep_alive: int = _option(75, _number(1, 3600), "S", "seconds that an idle connection stays open")
    drain: float = _option(
        1.0, _number(0, 3600, float), "S", "seconds between SIGTERM and the last new connection"
    )
    cors: tuple[str, ...] = _option((), str, "ORIGIN", "an origin whose pages may call, or *", repeat=True)
    audit: str | None = _option(None, str, "FILE", "a line for each decision, without the text")
    log_level: str = _option(
        "info", _choice("debug", "info", "warning", "error"), "NAME", "of the log on standard error"
    )
    access_log: bool = _option(False, _yes, None, "a log line for each request")
    no_workbench: bool = _option(False, _yes, None, "leave out the page at / for trying texts and policies")
    otel: bool = _option(False, _yes, None, "send OpenTelemetry spans, as the OTEL_* variables say")

    @classmethod
    def read(cls, given: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
        """From options (those not given are None) and the environment.

        Raises:
            InvalidArgumentError: a variable is out of its range, or the host needs keys and there are none.
        """
        values: dict[str, Any] = {}
        for option in fields(cls):
            value, variable = given.get(option.name), PREFIX + option.name.upper()
            if value is None and environment.get(variable):
                parse = option.metadata["parse"]
                try:
                    value = (_several(parse) if option.metadata["repeat"] else parse)(environment[variable])
                except ValueError as error:
                    raise InvalidArgumentError(f"{variable}: {error}") from None
            if value is not None:
                values[option.name] = tuple(value) if option.metadata["repeat"] else value
        return cls(**values)

    def check(self, keys: int) -> None:
        """Refuses to open a server to others by accident. Raises InvalidArgumentError."""
        if keys == 0 and not self.without_keys and not _is_loopback(self.host):
            raise InvalidArgumentError(
                f"host {self.host} can be reached by others and there are no API keys: give --api-keys-file "
                "or SAFETYCLF_API_KEYS, or say --without-keys"
            )
        names = [source.name for source in self.policy]
        if len(set(names)) < len(names):
            raise InvalidArgumentError(f"two policies have the same name: {', '.join(names)}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # another name could be anything
