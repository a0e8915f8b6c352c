"""Fingerprints, body digests and derived ids."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from imagegen import fingerprint as module
from imagegen.contracts import parse_request
from imagegen.fingerprint import Shape, body_sha256, canonical_json, digest, fingerprint
from imagegen.ids import batch_id_for, job_id_for, member_id_for

PROPERTY = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sizes = st.integers(min_value=64, max_value=8192)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "sent_prompt": text,
    "model": text,
    "ratio": text,
    "tier": text,
    "width": sizes,
    "height": sizes,
    "format": st.sampled_from(["png", "jpeg", "webp"]),
    "emulated": st.booleans(),
    "references": st.lists(text, max_size=3).map(tuple),
    "source": st.none() | text,
    "mask": st.none() | text,
    "seed": st.none() | st.integers(min_value=0, max_value=2**31 - 1),
}
shapes = st.builds(Shape, **VALUES)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
)


def test_every_shaping_field_is_tried() -> None:
    """The property below knows every field there is."""
    assert set(VALUES) == {field.name for field in fields(Shape)}


@PROPERTY
@given(shapes, st.sampled_from(sorted(VALUES)), st.data())
def test_any_change_of_any_shaping_field_changes_the_fingerprint(shape: Shape, name: str, data: st.DataObject) -> None:
    """Two jobs that ask for different pictures never share one."""
    value = data.draw(VALUES[name])
    assume(value != getattr(shape, name))
    assert fingerprint(replace(shape, **{name: value})) != fingerprint(shape)


@PROPERTY
@given(shapes)
def test_equal_shapes_share_a_fingerprint(shape: Shape) -> None:
    """The same picture asked for twice is found again."""
    assert fingerprint(Shape(**dict(reversed(asdict(shape).items())))) == fingerprint(shape)
    assert len(fingerprint(shape)) == 64


@PROPERTY
@given(st.lists(text, min_size=2, max_size=4, unique=True))
def test_the_order_of_references_matters(references: list[str]) -> None:
    """Models read references in order, so their order shapes the picture."""
    shape = Shape(
        sent_prompt="p", model="m", ratio="1:1", tier="1K", width=64, height=64, format="png", emulated=True,
        references=tuple(references),
    )  # fmt: skip
    assert fingerprint(replace(shape, references=tuple(reversed(references)))) != fingerprint(shape)


def test_a_new_way_of_postprocessing_makes_old_pictures_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures published by an older way of cutting are not taken for the new one's."""
    shape = Shape(
        sent_prompt="p", model="m", ratio="1:1", tier="1K", width=64, height=64, format="png", emulated=True
    )  # fmt: skip
    before = fingerprint(shape)
    monkeypatch.setattr(module, "POSTPROCESSING", module.POSTPROCESSING + 1)
    assert fingerprint(shape) != before


@PROPERTY
@given(st.dictionaries(text, json_values, max_size=5))
def test_the_order_of_keys_is_no_difference(value: dict[str, Any]) -> None:
    """Canonical JSON has one spelling per value, and it is that value."""
    assert digest(dict(reversed(value.items()))) == digest(value)
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_refuses_what_json_cannot_say() -> None:
    """NaN has no canonical spelling."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_the_body_digest_is_of_what_was_asked() -> None:
    """Key order, the idempotency key and defaults spelt out are no difference; a changed field is one."""
    body = {"prompt": "A fox", "width": 640, "height": 480, "metadata": {"a": 1, "b": 2}}
    same = {**dict(reversed(body.items())), "idempotencyKey": "k", "format": "png", "metadata": {"b": 2, "a": 1}}
    assert body_sha256(parse_request(same)) == body_sha256(parse_request(body))
    for change in ({"prompt": "A cat"}, {"metadata": {"a": 1}}, {"seed": 7}, {"owner": "other"}, {"fresh": True}):
        assert body_sha256(parse_request({**body, **change})) != body_sha256(parse_request(body))


@PROPERTY
@given(text, text, text, text)
def test_derived_ids_are_one_to_one(owner: str, key: str, other_owner: str, other_key: str) -> None:
    """Owner and key name one job for ever, and no other pair names it, wherever the separators fall."""
    assert job_id_for(owner, key) == job_id_for(owner, key)
    assert job_id_for(owner, key) != batch_id_for(owner, key)
    assume((owner, key) != (other_owner, other_key))
    assert job_id_for(owner, key) != job_id_for(other_owner, other_key)
    assert batch_id_for(owner, key) != batch_id_for(other_owner, other_key)


def test_derived_ids_never_change() -> None:
    """A resend after an upgrade names the same job: these values are part of the wire."""
    assert job_id_for("default", "order-1") == UUID("21f2c6ff-a712-5a4a-a36c-3a0480e62b02")
    assert batch_id_for("default", "order-1") == UUID("6d240a42-ba0b-5d54-bcec-7ecde8b319a2")


def test_members_of_a_batch_have_ids_of_their_own() -> None:
    """Each place in a batch has its id, the same when the batch is sent again."""
    batch = uuid4()
    ids = [member_id_for(batch, index) for index in range(4)]
    assert len(set(ids)) == 4
    assert ids == [member_id_for(batch, index) for index in range(4)]
