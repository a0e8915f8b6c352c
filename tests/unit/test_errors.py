"""Errors keep their facts on every way they travel."""

from __future__ import annotations

import pickle

import pytest

from imagegen import errors
from imagegen.errors import BY_CODE, ImagegenError, InvalidRequest, rebuild

ALL = list(BY_CODE.values())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_error_is_rebuilt_from_its_args(kind: type[ImagegenError]) -> None:
    """Pickled, or made again from `args` as Celery does it, an error says the same."""
    error = kind("it went wrong", {"retryable": True, "billed": "unknown", "retryAfter": 2.5})
    for again in (pickle.loads(pickle.dumps(error)), type(error)(*error.args)):
        assert (type(again), again.message, again.details) == (kind, error.message, error.details)
        assert (again.retryable, again.billed, again.retry_after) == (True, "unknown", 2.5)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_error_survives_the_job_document(kind: type[ImagegenError]) -> None:
    """The `error` object of a document gives back an error of the same class and facts."""
    error = kind("it went wrong")
    again = rebuild(error.document("generating"))
    assert (type(again), again.retryable, again.billed) == (kind, error.retryable, error.billed)


def test_the_tree_in_the_docstring_is_complete() -> None:
    """Every class stands in the drawing with its code."""
    drawing = errors.__doc__ or ""
    assert [kind.__name__ for kind in ALL if kind.__name__ not in drawing] == []
    assert [code for code in BY_CODE if code != "ERROR" and code not in drawing] == []


def test_codes_are_told_apart() -> None:
    """No two classes share a code."""
    assert len({kind.code for kind in ALL}) == len(ALL)


def test_an_invalid_request_tells_every_problem() -> None:
    """The message and the problems name field, reason and remedy of each."""
    error = InvalidRequest.from_problems(
        [
            {"field": "width", "reason": "is 0", "remedy": "Send 64 or more."},
            {"field": "prompt", "reason": "is empty", "remedy": "Say what it shows."},
        ]
    )
    assert [problem["field"] for problem in error.problems] == ["width", "prompt"]
    assert str(error) == "width: is 0. Send 64 or more.; prompt: is empty. Say what it shows."
