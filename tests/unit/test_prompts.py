"""Prompts: from brief, style and scene to the words that are sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen.contracts import ImageRequest, JobType, Style, parse_request, parse_style
from imagegen.errors import InvalidRequest
from imagegen.prompts import (
    NAMES,
    character_block,
    check_length,
    load_templates,
    parse_template,
    render,
    style_sha256,
    summary,
    template_for,
)

SHIPPED = load_templates(None)
MARA = {
    "name": "Mara",
    "description": "a tired detective in her fifties.",
    "outfit": "grey coat",
    "pose": "leaning on a lamp post",
    "expression": "wary",
    "setting": "a wet street at night",
    "scars": ["left cheek", "right hand"],
    "age": 52,
}
NOIR = parse_style(
    {
        "name": "Noir",
        "modifiers": ["high contrast.", "film grain"],
        "palette": ["#101010", "teal"],
        "avoid": ["text", "watermark"],
    }
)


def sent(body: dict[str, Any], style: Style | None = None, **counts: int) -> str:
    return render(parse_request(body), style, SHIPPED, **counts).sent_prompt


def problem(error: pytest.ExceptionInfo[InvalidRequest]) -> tuple[str, str]:
    return error.value.problems[0]["field"], error.value.problems[0]["reason"]


def test_a_plain_prompt_without_a_style_is_sent_word_for_word() -> None:
    """Nobody improves what the user wrote when nothing asks for it: line breaks and braces included."""
    words = "A fox.\n\n  It {sleeps} in {{snow}}, under {style}"
    rendered = render(parse_request({"prompt": words}), None, SHIPPED)
    assert rendered.sent_prompt == words
    assert rendered.user_words == words
    assert (rendered.style_name, rendered.style_sha256) == (None, None)


def test_a_plain_prompt_is_enhanced_by_its_style() -> None:
    """Modifiers, palette and what to avoid follow the user's words, in clean sentences."""
    assert sent({"prompt": "A red fox"}, NOIR) == (
        "A red fox\n\nStyle: high contrast, film grain.\nColour palette: #101010, teal.\nAvoid: text, watermark."
    )


def test_a_style_that_is_only_a_name_speaks_by_its_name() -> None:
    """A capsule with nothing but a name still changes the picture; one with content keeps its label to itself."""
    assert sent({"prompt": "A fox"}, Style(name="watercolour")) == "A fox\n\nStyle: watercolour."
    assert "Noir" not in sent({"prompt": "A fox"}, NOIR)


def test_a_master_asset_tells_the_whole_brief_once() -> None:
    """Everything in the brief, keys of one's own included, reaches the prompt, in a fixed order."""
    assert sent({"character": MARA}, NOIR) == (
        "A reference picture of one character: a single figure, clearly lit and fully in frame.\n"
        "Mara: a tired detective in her fifties; outfit: grey coat; age: 52; scars: left cheek, right hand.\n"
        "Pose: leaning on a lamp post. Expression: wary. Setting: a wet street at night.\n\n"
        "Style: high contrast, film grain.\n"
        "Colour palette: #101010, teal.\n"
        "Avoid: text, watermark."
    )


def test_a_bare_name_leaves_no_empty_labels() -> None:
    """Fields that say nothing leave nothing behind: no label, no double stop, no trailing line."""
    text = sent({"character": {"name": "Ada", "description": " ", "mood": None, "props": [], "hat": ""}})
    assert text.splitlines()[1:] == ["Ada."]


@pytest.mark.parametrize("job_type", ["master_asset", "start_frame", "end_frame"])
def test_the_character_keeps_its_exact_words_in_every_job(job_type: str) -> None:
    """The look is told in the same words whatever the job, the pose and the order of the brief's keys."""
    moved = dict(reversed({**MARA, "pose": "running", "setting": "a roof"}.items()))
    block = character_block(parse_request({"character": MARA}).character)  # type: ignore[arg-type]
    assert block in sent({"character": moved, "jobType": job_type, "prompt": "She runs."})


def test_a_scene_prompt_and_a_brief_both_reach_the_picture() -> None:
    """With both given, the user's words are the scene, and are what the document keeps as the prompt."""
    body = {"character": MARA, "prompt": "The door opens.", "jobType": "start_frame"}
    rendered = render(parse_request(body), None, SHIPPED)
    assert rendered.user_words == "The door opens."
    assert "The door opens.\nPose: leaning on a lamp post." in rendered.sent_prompt


def test_a_brief_alone_is_summed_up_in_one_line() -> None:
    """A job without a prompt shows its brief in one readable line instead."""
    rendered = render(parse_request({"character": MARA}), NOIR, SHIPPED)
    assert rendered.user_words == (
        "Mara: a tired detective in her fifties; pose: leaning on a lamp post; expression: wary; outfit: grey coat; "
        "setting: a wet street at night; age: 52; scars: left cheek, right hand"
    )


def test_values_of_ones_own_are_written_as_people_write_them() -> None:
    """Numbers, flags, lists and nested objects in a brief become words; empty ones vanish."""
    body = {"name": "Bo", "tail": True, "wings": False, "eyes": {"right": "blue", "left": "green", "third": None}}
    block = character_block(parse_request({"character": body}).character)  # type: ignore[arg-type]
    assert block == "Bo; eyes: left: green, right: blue; tail: yes; wings: no."


def test_each_job_type_has_its_own_words() -> None:
    """The four job types and the plain prompt are rendered by five different templates."""
    edit = {"sourceImage": "https://a/b", "mask": "https://a/c"}
    texts = {
        sent({"character": MARA, "jobType": kind.value, **(edit if kind is JobType.INPAINT else {})})
        for kind in JobType
    }
    assert len(texts) == 4
    assert template_for(parse_request({"prompt": "x", "jobType": "end_frame"})) == "plain"


def test_an_edit_without_a_character_still_explains_its_mask() -> None:
    """An inpaint prompt says which image is the mask even when it is only a few words."""
    text = sent({"prompt": "A red hat", "jobType": "inpaint", "sourceImage": "https://a/b", "mask": "https://a/c"})
    assert text.startswith("Edit the first image. The second image is its mask")
    assert text.endswith("A red hat")


def test_reference_pictures_are_explained() -> None:
    """The prompt says what the pictures sent along are for: the character's look, or the style alone."""
    text = sent({"character": MARA}, NOIR, references=2, style_references=1)
    assert "Keep Mara looking exactly as in the reference images." in text
    assert "Take only the visual style from the last image, not what is shown there." in text
    assert "reference image" not in sent({"prompt": "A fox"}, references=1)


def test_the_style_digest_depends_on_content_alone() -> None:
    """Two capsules with the same content share a digest whatever the order of keys; another word changes it."""
    body = NOIR.model_dump()
    assert style_sha256(parse_style(dict(reversed(body.items())))) == style_sha256(NOIR)
    assert style_sha256(parse_style({**body, "avoid": ["text"]})) != style_sha256(NOIR)
    rendered = render(parse_request({"prompt": "x"}), NOIR, SHIPPED)
    assert (rendered.style_name, rendered.style_sha256) == ("Noir", style_sha256(NOIR))


def test_templates_of_ones_own_override_by_name(tmp_path: Path) -> None:
    """A file in IMAGEGEN_TEMPLATES replaces the template of its name and no other; comments are not sent."""
    (tmp_path / "plain.txt").write_text("# ours\n{{drawn}} {scene}\nfor {name} {palette}\n")
    (tmp_path / "notes.md").write_text("{nonsense}")
    own = load_templates(tmp_path)
    assert render(parse_request({"prompt": "A fox"}), None, own).sent_prompt == "{drawn} A fox"
    assert render(parse_request({"prompt": "A fox"}), NOIR, own).sent_prompt == "{drawn} A fox\nfor  #101010, teal"
    assert own["start_frame"] == SHIPPED["start_frame"]
    assert set(own) == set(NAMES)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("{scene}\n{chracter}", 2, "{chracter} is not a value of a template"),
        ("{scene.__class__}", 1, "{scene.__class__} is not a value of a template"),
        ("# c\n{scene} {", 2, "has a lonely {"),
        ("{scene} }", 1, "has a lonely }"),
        ("{scene} {}", 1, "{} is not a value of a template"),
    ],
)
def test_a_wrong_template_is_refused_by_file_and_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    """A template is data: whatever it does not know is refused, with the file, the line and the placeholder."""
    (tmp_path / "plain.txt").write_text(text)
    with pytest.raises(InvalidRequest) as error:
        load_templates(tmp_path)
    assert problem(error) == (f"{tmp_path / 'plain.txt'}:{line}", reason)


@pytest.mark.parametrize(
    ("name", "text"), [("plain", "{style}"), ("start_frame", "{scene}"), ("inpaint", "{character}")]
)
def test_a_template_that_would_drop_the_users_words_is_refused(name: str, text: str) -> None:
    """Nobody pays for a picture of something else because a template forgot the scene or the character."""
    with pytest.raises(InvalidRequest, match="would not be sent"):
        parse_template(text, name=name, source=f"{name}.txt")


def test_a_misnamed_template_is_refused(tmp_path: Path) -> None:
    """An override that would be ignored because of its name is an error, not a surprise."""
    (tmp_path / "master-asset.txt").write_text("{scene} {character}")
    with pytest.raises(InvalidRequest, match=r"overrides no template.*master_asset\.txt"):
        load_templates(tmp_path)


def test_unreadable_templates_are_refused(tmp_path: Path) -> None:
    """A folder that is none, and a file that is no UTF-8 text, are named."""
    with pytest.raises(InvalidRequest, match="is no folder"):
        load_templates(tmp_path / "nowhere")
    (tmp_path / "plain.txt").write_bytes(b"\xff\xfe{scene}")
    with pytest.raises(InvalidRequest, match=r"plain\.txt: cannot be read"):
        load_templates(tmp_path)


@pytest.mark.parametrize(("body", "field"), [({"prompt": "x" * 50}, "prompt"), ({"character": MARA}, "character")])
def test_a_prompt_that_is_too_long_for_the_model_is_refused_with_the_numbers(body: dict[str, Any], field: str) -> None:
    """The error names what to shorten, how long the prompt became, what the model takes, and by how much."""
    request = parse_request(body)
    check_length(request, "x" * 40, limit=40, model="m")
    with pytest.raises(InvalidRequest) as error:
        check_length(request, "x" * 50, limit=40, model="m")
    assert problem(error)[0] == field
    assert "50 characters" in str(error.value)
    assert "m takes 40" in str(error.value)
    assert "by 10" in str(error.value)


PROPERTY = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
values = st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))


@PROPERTY
@given(
    st.dictionaries(words.filter(lambda key: key.strip() != ""), values, max_size=4),
    st.lists(words, max_size=3),
    st.sampled_from(["master_asset", "start_frame", "end_frame"]),
)
def test_any_brief_renders_deterministically_and_tidily(
    extra: dict[str, Any], modifiers: list[str], job_type: str
) -> None:
    """Whatever is in the brief: the same words twice, also after a trip through JSON, and nothing left hanging."""
    body = {
        **extra,
        "name": "Ada",
        "description": "a sailor",
        "pose": "",
        "expression": "",
        "outfit": "",
        "setting": "",
    }
    style = Style(name="s", modifiers=modifiers)
    request = parse_request({"character": body, "jobType": job_type})
    again = parse_request(json.loads(json.dumps(request.model_dump(mode="json", by_alias=True), sort_keys=True)))
    text = render(request, style, SHIPPED).sent_prompt
    assert text == render(again, style, SHIPPED).sent_prompt
    assert text == text.strip()
    assert "\n\n\n" not in text
    assert "Ada: a sailor" in text
    assert summary(request.character).count("\n") == 0  # type: ignore[arg-type]


def test_rendering_does_not_touch_the_request() -> None:
    """Rendering is pure: the request is the same afterwards."""
    request = parse_request({"character": MARA})
    before: ImageRequest = request.model_copy(deep=True)
    render(request, NOIR, SHIPPED)
    assert request == before
