"""The served OpenAPI and the door agree: whatever the schema allows or forbids, the answers are those it promises."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig

from imagegen.api import streams
from imagegen.api.app import create_app
from imagegen.api.setup import Setup
from imagegen.testing.breaker import MemoryBreaker
from tests.admission_parts import World
from tests.door import RULES, bearer

EXAMPLES = 12
"""Generated requests per route and test; more find more, and take longer."""
# No schema can tell some rules (a prompt or a character, a picture that can be read, a header and a parameter that must
# say the same), nor what a budget has left.
PLAUSIBLE = ["2xx", "400", "401", "402", "403", "404", "409", "422"]

load_all_checks()
ALL = CHECKS.get_all()
WORLD = World()
WORLD.settings["breaker"] = MemoryBreaker(WORLD.clock)
APP = create_app(lambda: WORLD.services, Setup(tokens=RULES))
CONFIG = SchemathesisConfig.from_dict({"checks": {"positive_data_acceptance": {"expected-statuses": PLAUSIBLE}}})
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, config=CONFIG)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of events end as soon as they have begun."""
    monkeypatch.setattr(streams, "STREAM_LIFE", 0.0)


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_schema_promises(case: Any) -> None:
    """All checks of schemathesis hold, for a caller with a token."""
    case.call_and_validate(headers=bearer("ada", WORLD.clock.now()), checks=ALL)


@SCHEMA.include(path_regex="/(budgets|costs|metrics)").parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_a_services_answers_are_promised_too(case: Any) -> None:
    """All checks hold for a service, which may do more."""
    case.call_and_validate(headers=bearer("shop", WORLD.clock.now(), service=True), checks=ALL)
