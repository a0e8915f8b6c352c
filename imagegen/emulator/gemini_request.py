"""The body of `generateContent`, checked as the Gemini Developer API checks it.

Proto JSON takes camelCase and snake_case alike and refuses every name it does not know; `imageConfig` knows two fields
here (the others are Vertex AI's). Source: ai.google.dev/gemini-api/docs/image-generation and google-genai's converters.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagegen.emulator import sizes
from imagegen.emulator.picture.sitting import Reference
from imagegen.emulator.references import NotAPicture, References

MAX_INLINE = 20 * 1024 * 1024
"""Bytes of a whole request (figure of the batch guide)."""

MAX_REFERENCES = 14

_ANY: Mapping[str, Any] = {}
_PART = {
    "text": None,
    "inlineData": {"mimeType": None, "data": None},
    "fileData": {"mimeType": None, "fileUri": None},
    "thought": None,
    "thoughtSignature": None,
    "functionCall": _ANY,
    "functionResponse": _ANY,
    "executableCode": _ANY,
    "codeExecutionResult": _ANY,
    "videoMetadata": _ANY,
    "mediaResolution": _ANY,
}
_CONTENT = {"role": None, "parts": [_PART]}
_SCALARS = (
    *("temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "presencePenalty"),
    *("frequencyPenalty", "responseMimeType", "responseLogprobs", "logprobs", "mediaResolution"),
    "enableEnhancedCivicAnswers",
)
_CONFIG = {
    "responseModalities": None,
    "seed": None,
    "thinkingConfig": {"thinkingLevel": None, "thinkingBudget": None, "includeThoughts": None},
    "imageConfig": {"aspectRatio": None, "imageSize": None},
    "responseFormat": _ANY,
    "speechConfig": _ANY,
    "responseSchema": _ANY,
    "responseJsonSchema": _ANY,
} | dict.fromkeys(_SCALARS)
_BODY = {
    "model": None,
    "contents": [_CONTENT],
    "systemInstruction": _CONTENT,
    "safetySettings": [{"category": None, "threshold": None}],
    "generationConfig": _CONFIG,
    "tools": [_ANY],
    "toolConfig": _ANY,
    "cachedContent": None,
    "serviceTier": None,
    "store": None,
}
_MIME = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_LEVELS = frozenset({"minimal", "low", "medium", "high"})


class InvalidArgument(Exception):
    """400 INVALID_ARGUMENT with the service's words; `path` names the field where it does so."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class PermissionDenied(Exception):
    """403 PERMISSION_DENIED: a file of somebody else, or none at all."""


@dataclass(frozen=True)
class Model:
    """An image model. Prices are US dollars per million tokens, `tokens` those of one picture per tier."""

    tokens: Mapping[str, int]
    ratios: frozenset[str]
    thinking: str | None
    """The thinking level where none is asked for; None for a model that does not think."""


@dataclass(frozen=True)
class Wanted:
    """A checked request."""

    prompt: str
    ratio: str
    tier: str
    seed: int
    references: tuple[Reference, ...]
    text: bool
    thinking: str | None
    thoughts: bool


def read(body: Any, model_name: str, model: Model, pictures: References) -> Wanted:
    """Checks a request body; InvalidArgument or PermissionDenied say what the service would."""
    if not isinstance(body, dict):
        raise InvalidArgument("Invalid JSON payload received. Expected an object.")
    body = _known(body, _BODY, "")
    contents = body.get("contents") or []
    if not isinstance(contents, list) or not contents:
        raise InvalidArgument("* GenerateContentRequest.contents: contents is not specified\n", "contents")
    texts, references = _parts(contents, pictures)
    if not texts and not references:
        raise InvalidArgument("Unable to submit request because it must have a text parameter.", "contents")
    if len(references) > MAX_REFERENCES:
        raise InvalidArgument(f"{model_name} supports up to {MAX_REFERENCES} images as input.", "contents")
    if body.get("tools") and any(
        "functionDeclarations" in tool or "function_declarations" in tool for tool in body["tools"]
    ):
        raise InvalidArgument(f"Function calling is not enabled for models/{model_name}")
    return _configured(body.get("generationConfig") or {}, model_name, model, "\n".join(texts), references)


def _configured(
    config: Mapping[str, Any], model_name: str, model: Model, prompt: str, references: tuple[Reference, ...]
) -> Wanted:
    if config.get("responseMimeType") not in (None, "text/plain") or "responseSchema" in config:
        raise InvalidArgument(f"JSON mode is not enabled for models/{model_name}")
    modalities = [str(modality).upper() for modality in config.get("responseModalities") or ["TEXT", "IMAGE"]]
    if "IMAGE" not in modalities or set(modalities) - {"TEXT", "IMAGE"}:
        raise InvalidArgument(
            f"The requested combination of response modalities ({', '.join(modalities)}) is not supported by the "
            f"model. models/{model_name} accepts the following combination of response modalities:\n* IMAGE\n"
            "* IMAGE, TEXT\n"
        )
    seed = config.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not -(2**31) <= seed < 2**31:
        raise InvalidArgument(
            f"Invalid value at 'generation_config.seed' (TYPE_INT32), {seed}", "generation_config.seed"
        )
    if config.get("candidateCount", 1) != 1:
        raise InvalidArgument("Multiple candidates is not enabled for this model")
    image = config.get("imageConfig") or {}
    ratio, tier = _shape(image, model, references)
    level, thoughts = _thinking(config.get("thinkingConfig") or {}, model)
    return Wanted(prompt, ratio, tier, seed, references, "TEXT" in modalities, level, thoughts)


def _shape(image: Mapping[str, Any], model: Model, references: tuple[Reference, ...]) -> tuple[str, str]:
    """Ratio and tier. Without a ratio the model copies the first picture's, else it draws a square."""
    ratio, tier = image.get("aspectRatio"), image.get("imageSize", "1K")
    if ratio is None:
        ratio = sizes.nearest((references[0].width, references[0].height), model.ratios) if references else "1:1"
    if ratio not in model.ratios:
        allowed = ", ".join(f"'{name}'" for name in sorted(model.ratios))
        raise InvalidArgument(f"aspect_ratio must be one of {allowed}.", "generation_config.image_config.aspect_ratio")
    if tier not in model.tokens:
        allowed = ", ".join(f"'{name}'" for name in model.tokens)
        raise InvalidArgument(f"image_size must be one of {allowed}.", "generation_config.image_config.image_size")
    return ratio, tier


def _thinking(config: Mapping[str, Any], model: Model) -> tuple[str | None, bool]:
    level = config.get("thinkingLevel")
    if level is None:
        return model.thinking, bool(config.get("includeThoughts"))
    level = str(level).lower()
    if level not in _LEVELS:
        raise InvalidArgument(
            f"Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\"",
            "generation_config.thinking_config.thinking_level",
        )
    if model.thinking is None:
        raise InvalidArgument("Thinking level is not supported for this model.")
    return level, bool(config.get("includeThoughts"))


def _parts(contents: list[Any], pictures: References) -> tuple[list[str], tuple[Reference, ...]]:
    texts: list[str] = []
    references: list[Reference] = []
    for row, content in enumerate(contents):
        if content.get("role") not in (None, "user", "model"):
            raise InvalidArgument("Please use a valid role: user, model.")
        for column, part in enumerate(content.get("parts") or []):
            if part.get("text"):
                texts.append(str(part["text"]))
            if "inlineData" in part:
                where = f"contents[{row}].parts[{column}].inline_data"
                references.append(_inline(part["inlineData"], where, pictures))
            if "fileData" in part:
                name = str(part["fileData"].get("fileUri", "")).rpartition("/")[2]
                raise PermissionDenied(f"You do not have permission to access the File {name} or it may not exist.")
    return texts, tuple(references)


def _inline(blob: Mapping[str, Any], where: str, pictures: References) -> Reference:
    mime = blob.get("mimeType")
    if mime not in _MIME:
        raise InvalidArgument(f"Unsupported MIME type: {mime}", f"{where}.mime_type")
    text = str(blob.get("data") or "").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(
            f"Invalid value at '{where}.data' (TYPE_BYTES), Base64 decoding failed", f"{where}.data"
        ) from error
    try:
        return pictures.look_at(data)
    except NotAPicture as error:
        raise InvalidArgument(
            "Unable to process input image. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting"
        ) from error


def _known(value: Any, schema: Any, path: str) -> Any:
    """The value with camelCase names, or InvalidArgument about the first unknown one."""
    if isinstance(schema, list):
        if not isinstance(value, list):
            raise InvalidArgument(f"Invalid value at '{path}', expected a list", path)
        return [_known(item, schema[0], f"{path}[{index}]") for index, item in enumerate(value)]
    if schema is None or schema is _ANY:
        return value
    if not isinstance(value, dict):
        raise InvalidArgument(f"Invalid value at '{path}', expected an object", path)
    result = {}
    for name, item in value.items():
        camel = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        if camel not in schema:
            at = f" at '{path}'" if path else ""
            raise InvalidArgument(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', path)
        result[camel] = _known(item, schema[camel], f"{path}.{_snake(camel)}" if path else _snake(camel))
    return result


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)
