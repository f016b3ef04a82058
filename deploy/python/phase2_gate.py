"""Asks the gate between Phase 2 and Phase 3 whether the raw data of a date may be processed.

    from phase2_gate import Phase2QualityGate

    result = Phase2QualityGate(caller="phase 3").check_raw_data_quality("2026-02-05")
    if not result.can_proceed:
        raise SystemExit(result.message)

Copy this file beside your job: it needs Python 3.9 and the standard library. The gate's address and token come from
HOST_URL and HOST_TOKEN. Without an answer there is no result: each reason raises a GateError that says what to do.
"""

import dataclasses
import datetime
import enum
import json
import os
import queue
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, List, Optional, Tuple, Union

__all__ = [
    "GateAnswerError", "GateArgumentError", "GateError", "GateNotEvaluated", "GateRefused", "GateResult", "GateStatus",
    "GateUnreachable", "Phase2QualityGate",
]

# An answer has some kilobytes. A larger one is not the host's.
MAX_ANSWER = 4 << 20
# Characters of somebody else's answer that are quoted.
QUOTED = 200
# Characters of a caller's name that the host keeps.
CALLER = 200


class GateError(Exception):
    """The gate gave no answer, so the date must not be processed. The message says why, and what to do."""


class GateArgumentError(GateError, ValueError):
    """The address, the token, the date or another argument is wrong. Nothing was asked."""


class GateUnreachable(GateError):
    """The host was not reached, did not answer in time, or is failing. Asking again later can help."""


class GateRefused(GateError):
    """The host refused the question: a wrong token, an unknown gate, a date it does not take."""


class GateNotEvaluated(GateError):
    """The gate could not be evaluated, as when the schedule is empty or the warehouse is down."""


class GateAnswerError(GateError):
    """The answer is not one that the host documents: another server answered, or it has another version."""


class GateStatus(enum.Enum):
    """The decision."""

    PROCEED = "PROCEED"
    PROCEED_WITH_WARNING = "PROCEED_WITH_WARNING"
    FAIL = "FAIL"


@dataclasses.dataclass(frozen=True)
class GateResult:
    """The decision about one date, with its reasons."""

    status: GateStatus
    # Whether Phase 3 may process the date.
    can_proceed: bool
    # From 0 to 1.
    quality_score: Optional[float]
    # One line for people.
    message: str
    # From 0 to 100; None if nothing was expected.
    completeness_pct: Optional[float]
    # Scheduled games, and those that have data.
    expected_count: Optional[int]
    actual_count: Optional[int]
    missing_items: List[str]
    quality_issues: List[str]
    quality_metadata: Dict[str, Any]
    # The rest of the answer.
    gate: str
    data_date: datetime.date
    evaluated_at: str
    plugin: Optional[Dict[str, Any]]

    def __bool__(self) -> bool:
        """A result that blocks is false."""
        return self.can_proceed


class Phase2QualityGate:
    """The gate of one host.

    url is the host's address (default: HOST_URL), token its token (default: HOST_TOKEN). caller is recorded with the
    answer (default: the program's name). timeout is the longest wait for an answer in seconds, from the first
    connection to the last byte.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        token: Optional[str] = None,
        *,
        gate: str = "phase2-gate",
        caller: Optional[str] = None,
        timeout: float = 300,
    ) -> None:
        self._url = _address(os.environ.get("HOST_URL", "") if url is None else url, gate)
        self._token = _token(os.environ.get("HOST_TOKEN", "") if token is None else token)
        self._gate = gate
        program = os.path.basename(sys.argv[0]) if sys.argv else ""
        self._caller = (caller or program or "phase2_gate.py")[:CALLER]
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 3600:
            raise GateArgumentError(f"timeout is {timeout!r}; give seconds, above 0 and at most 3600")
        self._timeout = timeout

    def check_raw_data_quality(self, date: Union[str, datetime.date]) -> GateResult:
        """The decision about a data date: "2026-02-05", or a datetime.date. Raises a GateError if there is none."""
        day = _day(date)
        body = json.dumps({"date": day.isoformat(), "caller": self._caller}).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        status, answer = self._ask(request)
        if status == 200:
            return self._result(self._parsed(status, answer), day)
        raise self._refused(status, answer)

    def _ask(self, request: urllib.request.Request) -> Tuple[int, bytes]:
        """The status and body of the answer. A thread waits for it, since no timeout of a socket bounds the whole."""
        ends = time.monotonic() + self._timeout
        answers: "queue.SimpleQueue[Union[Tuple[int, bytes], Exception]]" = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(_answered(request, self._timeout, ends))
            except Exception as error:  # It is raised below, in the caller's thread.
                answers.put(error)

        threading.Thread(target=ask, name="phase2-gate", daemon=True).start()
        try:
            answer = answers.get(timeout=self._timeout)
        except queue.Empty:
            answer = TimeoutError()
        if isinstance(answer, GateError):
            raise answer
        if isinstance(answer, Exception):
            reason = answer.reason if isinstance(answer, urllib.error.URLError) else answer
            if isinstance(reason, (TimeoutError, socket.timeout)):  # Two classes before Python 3.10.
                reason = f"no answer within {self._timeout:g} s"
            raise GateUnreachable(
                f"{self._url}: {str(reason) or type(reason).__name__}; do not process the date: check that the host is "
                "running and that url (HOST_URL) is its address, then ask again"
            ) from answer
        return answer

    def _refused(self, status: int, answer: bytes) -> GateError:
        """Why an answer other than 200 decides nothing."""
        if 300 <= status < 400:
            return self._foreign(status, "it redirects elsewhere, and the token is not sent there")
        try:
            said = self._parsed(status, answer)
        except GateAnswerError as error:
            if status < 500:
                return error
            said = {}
        error, message = said.get("error"), said.get("message")
        if status == 503 and said.get("status") == "NOT_EVALUATED" and said.get("gate") == self._gate:
            message = message if isinstance(message, str) and message else "no reason was given"
            return GateNotEvaluated(
                f"{self._gate} was not evaluated: {message}; do not process the date: mend the cause "
                f"(`host history {self._gate}` on the host shows it), then ask again"
            )
        if status >= 500:
            said_error = error if isinstance(error, str) else _quoted(answer)
            return GateUnreachable(
                f"{self._url}: answered {status}: {said_error}; do not process the date: look at the host's log, then "
                "ask again"
            )
        if status < 400 or not isinstance(error, str):
            return self._foreign(status, _quoted(answer))
        step = {
            401: "give the host's token as `token` or in HOST_TOKEN",
            403: "give the host a token and ask with it",
            404: "give the name of the gate's check as `gate`",
            421: "ask by a name that the host knows",
        }.get(status, "mend the question")
        return GateRefused(f"{self._url}: {error} ({status}); do not process the date: {step}")

    def _foreign(self, status: int, why: str) -> GateAnswerError:
        return GateAnswerError(
            f"{self._url}: the answer ({status}) is not the gate's: {why}; do not process the date: check that url "
            "(HOST_URL) is the host's own address"
        )

    def _parsed(self, status: int, answer: bytes) -> Dict[str, Any]:
        try:
            said = json.loads(answer, parse_constant=_no_constant, object_pairs_hook=_no_twins)
        except (ValueError, RecursionError):
            raise self._foreign(status, f"not JSON: {_quoted(answer)}") from None
        if not isinstance(said, dict):
            raise self._foreign(status, "not an object")
        return said

    def _result(self, said: Dict[str, Any], day: datetime.date) -> GateResult:
        """Each field as the host documents it; anything else decides nothing."""

        def field(name: str, is_right: bool) -> Any:
            if name not in said:
                raise self._foreign(200, f"it has no {name}")
            if not is_right:
                raise self._foreign(200, f"its {name} is {_quoted(repr(said[name]).encode())}")
            return said[name]

        def value(name: str) -> Any:
            return said.get(name)

        def number(name: str, most: float) -> Optional[float]:
            is_number = isinstance(value(name), (int, float)) and not isinstance(value(name), bool)
            found = field(name, value(name) is None or (is_number and 0 <= value(name) <= most))
            return None if found is None else float(found)

        def count(name: str) -> Optional[int]:
            is_count = isinstance(value(name), int) and not isinstance(value(name), bool) and value(name) >= 0
            return field(name, value(name) is None or is_count)

        def texts(name: str) -> List[str]:
            found = value(name)
            return field(name, isinstance(found, list) and all(isinstance(text, str) for text in found))

        field("gate", value("gate") == self._gate)
        field("data_date", value("data_date") == day.isoformat())
        words = [status.value for status in GateStatus]
        status = GateStatus(field("status", isinstance(value("status"), str) and value("status") in words))
        may = status is not GateStatus.FAIL
        return GateResult(
            status=status,
            can_proceed=field("can_proceed", value("can_proceed") is may),
            quality_score=number("quality_score", 1),
            message=field("message", isinstance(value("message"), str)),
            completeness_pct=number("completeness_pct", 100),
            expected_count=count("expected_count"),
            actual_count=count("actual_count"),
            missing_items=texts("missing_items"),
            quality_issues=texts("quality_issues"),
            quality_metadata=field("quality_metadata", isinstance(value("quality_metadata"), dict)),
            gate=self._gate,
            data_date=day,
            evaluated_at=field("evaluated_at", isinstance(value("evaluated_at"), str)),
            plugin=field("plugin", value("plugin") is None or isinstance(value("plugin"), dict)),
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address would get the token, and could answer for the host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _answered(request: urllib.request.Request, timeout: float, ends: float) -> Tuple[int, bytes]:
    try:
        answer = urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        parts, size = [], 0
        while size <= MAX_ANSWER:
            if time.monotonic() > ends:
                raise TimeoutError
            part = answer.read1(64 << 10) if hasattr(answer, "read1") else answer.read(64 << 10)
            if not part:
                break
            parts.append(part)
            size += len(part)
        else:
            raise GateAnswerError(
                f"{request.full_url}: the answer has more than {MAX_ANSWER >> 20} MiB, so it is not the gate's; do not "
                "process the date: check that url (HOST_URL) is the host's own address"
            )
        expected = answer.headers.get("Content-Length", "")
        if expected.isdigit() and size < int(expected):
            raise ConnectionError(f"the answer ended after {size} of {expected} bytes")
        return answer.status, b"".join(parts)


def _address(url: str, gate: str) -> str:
    if not url.strip():
        raise GateArgumentError("no address of the host; give url, or set HOST_URL: https://host.example.com")
    try:
        parts = urllib.parse.urlsplit(url.strip())
        _ = parts.port  # Raises if it is not a number.
    except ValueError as error:
        raise GateArgumentError(f"the host's address {url!r}: {error}; give https://host.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url.strip()):
        raise GateArgumentError(f"the host's address {url!r} is not a URL; give https://host.example.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # It may hold a secret, so it is not quoted.
        raise GateArgumentError("the host's address has a user, a query or a fragment; give https://host.example.com")
    if not isinstance(gate, str) or not gate:
        raise GateArgumentError("gate is empty; give the name of the gate's check: phase2-gate")
    return f"{url.strip().rstrip('/')}/api/v1/gates/{urllib.parse.quote(gate, safe='')}"


def _token(token: str) -> str:
    token = token.strip()
    if not token:
        raise GateArgumentError("no token; give token, or set HOST_TOKEN to the host's token")
    if not re.fullmatch(r"[!-~]+", token):
        raise GateArgumentError("the token has a space or a character that is not printable ASCII; copy it again")
    return token


def _day(date: Union[str, datetime.date]) -> datetime.date:
    if isinstance(date, datetime.datetime):
        # Its date depends on the time zone.
        raise GateArgumentError(f"{date!r} is a moment; give the date that it has in the pipeline's time zone")
    if isinstance(date, datetime.date):
        return date
    if isinstance(date, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", date):
        try:
            return datetime.date.fromisoformat(date)
        except ValueError:
            pass
    raise GateArgumentError(f"{date!r} is not a date; write it as 2026-02-05")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _quoted(answer: bytes) -> str:
    words = " ".join(answer[: 4 * QUOTED].decode(errors="replace").split())
    return "".join(letter for letter in words if letter.isprintable())[:QUOTED] or "nothing"
