"""What is wrong with a request, in words that whoever sent it understands: field, reason, remedy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from imagegen.api.openapi import BudgetRequest, RetryRequest
from imagegen.client import Client
from imagegen.contracts import Character, parse_batch, parse_request, parse_style
from imagegen.errors import InvalidRequest
from imagegen.parsing import parse_as

ADA = 'Give an object with a name, e.g. {"name": "Ada"}.'
PYDANTIC = re.compile(r"Input should|valid |instance of|String should|Field required|Extra inputs|greater than or")


def refused(asked: Any, field: str, reason: str, remedy: str) -> None:
    """The request is refused for this, and for nothing else."""
    with pytest.raises(InvalidRequest) as caught:
        asked()
    (problem,) = caught.value.problems
    assert (problem["field"], problem["reason"]) == (field, reason)
    assert problem["remedy"].startswith(remedy)


@pytest.mark.parametrize(
    ("body", "field", "reason", "remedy"),
    [
        ({"characters": ["Ada"]}, "characters.0", "is text, not an object", ADA),
        ({"characters": [{"name": "Ada"}, None]}, "characters.1", "is null, not an object", ADA),
        ({"characters": "Ada"}, "characters", "is text, not a list", "Send a list"),
        ({"characters": {"name": "Ada"}}, "characters", "is an object, not a list", "Send a list"),
        ({"characters": [{"nom": "Ada"}]}, "characters.0.name", "is missing", "Send it."),
        ({"characters": [{"name": ""}]}, "characters.0.name", "is empty", "Send 1 or more characters."),
        ({"requests": ["a fox"]}, "requests.0", "is text, not an object", 'Give each as an object, e.g. {"prompt"'),
        ({"requests": [{"character": "Ada"}]}, "requests.0.character", "is text, not an object", ADA),
    ],
)
def test_a_batch_says_what_it_takes(body: dict[str, Any], field: str, reason: str, remedy: str) -> None:
    """A name in a character's place, a list that is none, a member that is none."""
    refused(lambda: parse_batch(body).members(), field, reason, remedy)


@pytest.mark.parametrize(
    ("field", "given", "reason", "remedy"),
    [
        ("prompt", 5, "is a number, not text", "Send text."),
        ("character", ["Ada"], "is a list, not an object", ADA),
        ("character", "Ada", "is text, not an object", ADA),
        ("style", "noir", "is text, not an object", 'Give an object with a name, e.g. {"name": "Noir"'),
        ("notifyTask", "shop.done", "is text, not an object", 'Give an object, e.g. {"name": "shop.'),
        ("metadata", [1], "is a list, not an object", "Give an object of your own"),
        ("metadata", None, "is null, not an object", "Give an object of your own"),
        ("projectId", None, "is null, not text", "Send text."),
        ("projectId", " ", "is empty", "Send 1 or more characters."),
        ("projectId", "x" * 121, "has more than 120 characters", "Send 120 characters at most."),
        ("format", None, "is null", "Send one of 'png', 'jpeg' or 'webp'."),
        ("format", "gif", "is none of the known words", "Send one of 'png', 'jpeg' or 'webp'."),
        ("fresh", None, "is null, not true or false", "Send true or false."),
        ("fresh", "maybe", "is text, not true or false", "Send true or false."),
        ("seed", "seven", "is text, not a whole number", "Send a whole number."),
        ("seed", 1.5, "is no whole number", "Send a whole number."),
        ("seed", -1, "is less than 0", "Send 0 or more."),
        ("seed", 2**31, "is more than 2147483647", "Send 2147483647 or less."),
        ("referenceImages", "https://a/b.png", "is text, not a list", "Send a list"),
        ("referenceImages", ["x"] * 15, "has 15 entries", "Send 14 at most."),
        ("scheduledAt", "tomorrow", "is no date and time", "Write it as RFC 3339"),
        ("scheduledAt", {}, "is an object, not a time", "Write it as RFC 3339"),
        ("callbackUrl", "ftp://a", "does not look as it must", "Give an address that begins with https://"),
        ("widht", 3, "is not a field of this request", "Remove it"),
    ],
)
def test_a_request_says_what_it_takes(field: str, given: Any, reason: str, remedy: str) -> None:
    """Whatever stands where something else is expected is named, with what would be right."""
    refused(lambda: parse_request({"prompt": "a fox", field: given}), field, reason, remedy)


def test_other_bodies_say_it_as_well() -> None:
    """Styles, budgets and retries, and what is no object at all."""
    refused(lambda: parse_style({"name": "Noir", "palette": "red"}), "palette", "is text, not a list", "Send a list")
    refused(lambda: parse_as(RetryRequest, {"buy": "perhaps"}), "buy", "is text, not true or false", "Send true")
    refused(lambda: parse_request(["a fox"]), "request", "is a list, not an object", "Send a JSON object.")  # type: ignore[arg-type]
    budget = {"scope": "all", "period": "day", "limit": 1}
    refused(lambda: parse_as(BudgetRequest, {**budget, "limit": []}), "limit", "is a list, not a number", "Send a num")
    refused(lambda: parse_as(BudgetRequest, {**budget, "limit": 0}), "limit", "is not more than 0", "Send more than 0.")
    refused(
        lambda: parse_as(BudgetRequest, {**budget, "period": "week"}), "period", "is none of the known words", "Send o"
    )


JUNK: list[Any] = [None, True, 7, 1.5, 1e300, -(10**30), "junk", "\ud800", "", [], ["junk"], {}, {"junk": 1}]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_no_finding_speaks_pydantic(junk: Any) -> None:
    """Any JSON in any field of a request: refused in our words, or taken."""
    fields = parse_request({"prompt": "a fox"}).model_dump(by_alias=True)
    for name in fields:
        try:
            parse_request({"prompt": "a fox", name: junk})
        except InvalidRequest as error:
            for problem in error.problems:
                assert not PYDANTIC.search(problem["reason"]), problem
                assert problem["remedy"] != "Correct it.", problem


@pytest.mark.parametrize(
    ("characters", "field", "reason"),
    [
        ([7], "characters.0", "is a number, not an object"),
        ("Ada", "characters", "is text, not a list"),
        ({"name": "Ada"}, "characters", "is an object, not a list"),
        (Character(name="Ada"), "characters", "is an object, not a list"),
        (7, "characters", "is a number, not a list"),
    ],
)
def test_the_client_says_it_before_anything_is_sent(characters: Any, field: str, reason: str) -> None:
    """By the same rules; a single character is never taken apart into several pictures."""
    with Client("http://127.0.0.1:1", "t") as client:
        refused(lambda: client.batch(characters), field, reason, "")
