"""The object store on S3 and anything that speaks it, by boto3.

One client per process, made at its first use there: a client may be shared by threads but not by forks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)

from imagegen.errors import ImagegenError, InvalidRequest, NotFound, PartUnavailable, StorageError
from imagegen.layout import checked_key
from imagegen.links import LONGEST
from imagegen.ports import BlobInfo
from storage.per_process import PerProcess

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PART = "object store"
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 30
"""Seconds per connection and per read."""
POOL = 32
"""Connections kept per process; more threads than that wait for none, but reconnect."""
PAGE = 1000
"""Keys per page of a listing, the most that S3 gives."""
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_BUSY = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestLimitExceeded", "TooManyRequests"}
)
_REMEDIES = {
    "NoSuchBucket": "there is no such bucket: run `imagegen bucket`, or correct IMAGEGEN_STORAGE_URL",
    "AccessDenied": "access is denied: allow s3:GetObject, PutObject, DeleteObject and ListBucket to these credentials",
    "403": "access is denied: allow s3:GetObject, PutObject, DeleteObject and ListBucket to these credentials",
    "InvalidAccessKeyId": "the store does not know AWS_ACCESS_KEY_ID: correct it",
    "SignatureDoesNotMatch": "the signature is refused: correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired: renew AWS_SESSION_TOKEN",
    "PermanentRedirect": "the bucket is in another region: correct AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct AWS_DEFAULT_REGION",
    "QuotaExceeded": "the store is full: free space or raise its quota",
    "XMinioStorageFull": "the store is full: free space",
    "EntityTooLarge": "the object is too large for the store",
    "InvalidBucketName": "the bucket's name is not allowed: correct IMAGEGEN_STORAGE_URL",
}
# Not `mimetypes`: what that knows differs between machines and Python versions.
_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "json": "application/json",
    "txt": "text/plain",
    "html": "text/html",
}


class S3Blobs:
    """`Blobs` in one bucket, below a prefix.

    `endpoint_url`: a store other than AWS, addressed path-style. `public_endpoint_url`: its address for browsers, which
    presigned and public URLs carry. `public_base_url`: a CDN that stands for the bucket and prefix. `aws`: `AWS_*`
    names and values that the process environment lacks; boto3 finds its own otherwise.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        public_base_url: str | None = None,
        aws: Mapping[str, str] | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url or endpoint_url
        self._public_base_url = public_base_url
        self._aws = dict(aws or {})
        self._client = PerProcess(lambda: self._connect(endpoint_url))
        self._signer = PerProcess(lambda: self._connect(self._public_endpoint_url))

    @property
    def client(self) -> S3Client:
        """This process's boto3 client."""
        return self._client.get()

    @property
    def region(self) -> str:
        """The bucket's region as configured; `us-east-1` where none is."""
        return self.client.meta.region_name

    def close(self) -> None:
        """Gives this process's connections back."""
        for held in (self._client.drop(), self._signer.drop()):
            if held is not None:
                held.close()

    def put(self, key: str, data: bytes, content_type: str, *, cache_control: str | None = None) -> None:
        """S3 shows an object whole or not at all."""
        extra: dict[str, Any] = {"CacheControl": cache_control} if cache_control else {}
        with self.told(key):
            self.client.put_object(
                Bucket=self.bucket, Key=self._full(key), Body=data, ContentType=content_type, **extra
            )

    def get(self, key: str) -> bytes:
        """The object's bytes; `NotFound`."""
        with self.told(key):
            answer = self.client.get_object(Bucket=self.bucket, Key=self._full(key))
            with closing(answer["Body"]) as body:
                return body.read()

    def head(self, key: str) -> BlobInfo | None:
        """What is known of the object, or None."""
        try:
            with self.told(key):
                answer = self.client.head_object(Bucket=self.bucket, Key=self._full(key))
        except NotFound:
            return None
        return BlobInfo(
            key=key,
            bytes=answer["ContentLength"],
            content_type=answer["ContentType"],
            modified=answer["LastModified"].astimezone(UTC),
        )

    def delete(self, key: str) -> None:
        """Nothing there is fine."""
        with self.told(key):
            self.client.delete_object(Bucket=self.bucket, Key=self._full(key))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Objects whose key begins with `prefix`, in key order. S3 lists no content type: it is told by the key."""
        pages = self.client.get_paginator("list_objects_v2")
        listing = iter(
            pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix, PaginationConfig={"PageSize": PAGE})
        )
        while True:
            with self.told(prefix):
                page = next(listing, None)
            if page is None:
                return
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self.prefix)
                yield BlobInfo(
                    key=key,
                    bytes=entry["Size"],
                    content_type=type_by_name(key),
                    modified=entry["LastModified"].astimezone(UTC),
                )

    def copy(self, source: str, target: str, content_type: str) -> None:
        """Inside the store: the bytes do not pass through this process. `NotFound` where the source is missing."""
        with self.told(source):
            self.client.copy_object(
                Bucket=self.bucket,
                Key=self._full(target),
                CopySource={"Bucket": self.bucket, "Key": self._full(source)},
                ContentType=content_type,
                MetadataDirective="REPLACE",
            )

    def public_url(self, key: str) -> str:
        """Where a browser finds a public object: the CDN, the public endpoint, or AWS."""
        path = quote(checked_key(key))
        if self._public_base_url:
            return f"{self._public_base_url.rstrip('/')}/{path}"
        full = quote(self.prefix) + path
        if self._public_endpoint_url:
            return f"{self._public_endpoint_url.rstrip('/')}/{self.bucket}/{full}"
        if "." in self.bucket:  # AWS's certificate covers one label before `s3` only
            return f"https://s3.{self.region}.amazonaws.com/{self.bucket}/{full}"
        return f"https://{self.bucket}.s3.{self.region}.amazonaws.com/{full}"

    def presigned_url(self, key: str, ttl: timedelta) -> str:
        """A URL that reads one object for `ttl`, 1 second to 7 days; signed here, without a call."""
        if not timedelta(seconds=1) <= ttl <= LONGEST:
            raise InvalidRequest.of(
                "IMAGEGEN_URL_TTL", f"{ttl} is no life for a presigned URL", "Set one second to seven days, such as 1h."
            )
        with self.told(key):
            return self._signer.get().generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": self._full(key)},
                ExpiresIn=int(ttl.total_seconds()),
            )

    def check(self) -> None:
        """The bucket answers to these credentials; else `PartUnavailable` or `StorageError` with what to do."""
        try:
            with self.told(""):
                self.client.head_bucket(Bucket=self.bucket)
        except NotFound:  # HEAD carries no body, so no code: here only the bucket can be missing
            raise StorageError(f"{self.bucket}: {_REMEDIES['NoSuchBucket']}") from None

    @contextmanager
    def told(self, key: str) -> Iterator[None]:
        """Turns boto3's errors into ours."""
        try:
            yield
        except ClientError as error:
            raise translate(error, self.bucket, key) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageError(
                f"{self.bucket}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except (NoConnection, HTTPClientError, IncompleteReadError) as error:
            raise PartUnavailable(
                f"the object store at {self.endpoint_url or 'AWS'} cannot be reached: {error}", {"part": PART}
            ) from error
        except BotoCoreError as error:
            raise StorageError(f"{self.bucket}: {error}") from error

    def _full(self, key: str) -> str:
        return checked_key(self.prefix + checked_key(key))

    def _connect(self, endpoint_url: str | None) -> S3Client:
        own = {**os.environ, **self._aws}
        session = boto3.session.Session(
            aws_access_key_id=self._aws.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=self._aws.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=self._aws.get("AWS_SESSION_TOKEN"),
            region_name=own.get("AWS_DEFAULT_REGION") or own.get("AWS_REGION"),
        )
        # Checksum trailers, boto3's default, are refused by several other stores.
        checksums: Literal["when_required", "when_supported"] = "when_required" if endpoint_url else "when_supported"
        config = Config(
            signature_version="s3v4",
            retries={"mode": "standard", "total_max_attempts": 3},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=POOL,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        )
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)


def translate(error: ClientError, bucket: str, key: str) -> ImagegenError:
    """What a store's answer means: `NotFound`, `PartUnavailable` (its own trouble, throttling) or `StorageError`."""
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _REMEDIES:
        return StorageError(f"{bucket}: {_REMEDIES[code]}", {"storeCode": code})
    if code in _MISSING:
        return NotFound(f"the object store has no {key!r}")
    if code in _BUSY or status == 429 or status >= 500:
        return PartUnavailable(f"the object store answers {status} {code}", {"part": PART})
    return StorageError(f"{bucket}: the object store refuses: {status} {code} {answer.get('Message', '')}".rstrip())


def type_by_name(key: str) -> str:
    """The media type that a key's ending tells."""
    return _TYPES.get(key.rpartition(".")[2].lower(), "application/octet-stream")
