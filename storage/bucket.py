"""Preparing a bucket: created when missing, and made readable by everyone only where asked, only where meant."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from imagegen.errors import InvalidRequest, StorageError
from imagegen.layout import PUBLIC_PREFIX
from imagegen.settings import Settings
from storage.blobs import LocalBlobs, open_blobs
from storage.s3 import S3Blobs

SID = "ImagegenPublicRead"
"""Name of our statement in a bucket's policy; the others in it are left alone."""
_WILD = re.compile(r"[*?$]")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was found and done: one sentence each."""

    bucket: str
    created: bool
    public: bool

    def sentences(self) -> list[str]:
        """For a person to read."""
        return [
            f"bucket {self.bucket} {'created' if self.created else 'is there'}",
            "pictures (project_*) may be read by everyone; nothing else, and nobody may list"
            if self.public
            else "its policy was not touched",
        ]


def bucket_of(settings: Settings) -> S3Blobs:
    """The S3 store of the settings; `InvalidRequest` where pictures are kept in a folder."""
    blobs = open_blobs(
        settings.storage,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        aws=settings.aws_environ(),
    )
    if isinstance(blobs, LocalBlobs):
        raise InvalidRequest.of(
            "IMAGEGEN_STORAGE_URL",
            f"is the folder {blobs.root}",
            "A folder needs no preparing; for S3 set s3://bucket.",
        )
    return blobs


def public_read_policy(blobs: S3Blobs) -> dict[str, Any]:
    """The policy that lets everyone read `project_*` below the prefix, and that alone. No call is made."""
    return {"Version": "2012-10-17", "Statement": [_statement(blobs)]}


def prepare_bucket(blobs: S3Blobs, *, public: bool) -> Prepared:
    """Creates the bucket if it is missing and, with `public`, adds our statement to its policy.

    Safe to repeat. Raises `StorageError` with what to do, or `PartUnavailable`.
    """
    created = _create(blobs)
    if public:
        _allow_public_read(blobs)
    return Prepared(blobs.bucket, created, public)


def _statement(blobs: S3Blobs) -> dict[str, Any]:
    if _WILD.search(blobs.prefix):
        raise InvalidRequest.of(
            "IMAGEGEN_STORAGE_URL",
            f"the prefix {blobs.prefix!r} holds a wildcard, which would open more than the pictures",
            "Use a prefix without *, ? and $.",
        )
    partition = blobs.client.meta.partition
    return {
        "Sid": SID + (hashlib.sha256(blobs.prefix.encode()).hexdigest()[:8] if blobs.prefix else ""),
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:{partition}:s3:::{blobs.bucket}/{blobs.prefix}{PUBLIC_PREFIX}*",
    }


def _create(blobs: S3Blobs) -> bool:
    with blobs.told(""):
        try:
            blobs.client.head_bucket(Bucket=blobs.bucket)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        else:
            return False
        extra: dict[str, Any] = {}
        if blobs.region != "us-east-1":  # the one region that refuses to be named here
            extra["CreateBucketConfiguration"] = {"LocationConstraint": blobs.region}
        try:
            blobs.client.create_bucket(Bucket=blobs.bucket, **extra)
        except ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou":
                return False
            raise
    return True


def _allow_public_read(blobs: S3Blobs) -> None:
    ours = _statement(blobs)
    with blobs.told(""):
        policy = _policy(blobs)
        held = policy["Statement"]
        others = [one for one in (held if isinstance(held, list) else [held]) if one.get("Sid") != ours["Sid"]]
        policy["Statement"] = [*others, ours]
        try:
            blobs.client.put_bucket_policy(Bucket=blobs.bucket, Policy=json.dumps(policy))
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            raise StorageError(
                f"{blobs.bucket}: a public policy is refused: allow s3:PutBucketPolicy to these credentials and switch "
                "off BlockPublicPolicy and RestrictPublicBuckets in the bucket's Block Public Access settings"
            ) from error


def _policy(blobs: S3Blobs) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(blobs.client.get_bucket_policy(Bucket=blobs.bucket)["Policy"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
            raise
        return {"Version": "2012-10-17", "Statement": []}
    return found
