"""`imagegen bucket`: made once, opened only where asked, as far as meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from imagegen.cli.bucket import bucket as bucket_command
from imagegen.errors import InvalidRequest, StorageError
from storage.bucket import SID, prepare_bucket, public_read_policy
from storage.s3 import S3Blobs
from tests.answers import a_dead_address, a_store_that_answers

pytest_plugins = ["tests.s3"]

Open = Callable[..., S3Blobs]


def test_a_bucket_is_made_once(s3_open: Open) -> None:
    """A missing bucket is created, in its region too; a second run finds it; no policy appears."""
    for region in ("us-east-1", "eu-west-1"):
        aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": region}
        blobs = s3_open(bucket=f"made-in-{region}", aws=aws)
        assert prepare_bucket(blobs, public=False).created
        again = prepare_bucket(blobs, public=False)
        assert (again.created, again.public) == (False, False)
        with pytest.raises(blobs.client.exceptions.ClientError, match="NoSuchBucketPolicy"):
            blobs.client.get_bucket_policy(Bucket=blobs.bucket)


def test_public_opens_pictures_and_nothing_else(s3_open: Open) -> None:
    """The policy allows GetObject on `project_*` below the prefix alone: no listing, no blobs, attempts or inputs."""
    blobs = s3_open(prefix="kept")
    prepare_bucket(blobs, public=True)
    (statement,) = json.loads(blobs.client.get_bucket_policy(Bucket=blobs.bucket)["Policy"])["Statement"]
    assert statement["Action"] == "s3:GetObject"
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == f"arn:aws:s3:::{blobs.bucket}/kept/project_*"
    assert public_read_policy(blobs)["Statement"] == [statement]


def test_strangers_read_pictures_and_nothing_else(s3_open: Open) -> None:
    """Without credentials: nothing before `--public`; after it a picture by its URL, but no original."""
    blobs = s3_open(prefix="kept")
    keys = ["project_p/a.png", "blobs/abc", "attempts/abc", "inputs/abc"]
    for key in keys:
        blobs.put(key, b"picture", "image/png")

    def statuses() -> list[int]:
        return [requests.get(url, timeout=5).status_code for url in map(blobs.public_url, keys)]

    prepare_bucket(blobs, public=False)
    assert statuses() == [403] * 4
    prepare_bucket(blobs, public=True)
    assert statuses() == [200, 403, 403, 403]


def test_a_policy_of_others_is_kept(s3_open: Open) -> None:
    """Statements that are not ours stay, another prefix's stay, and running again adds nothing."""
    root, below = s3_open(), s3_open(prefix="kept")
    theirs = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket"}
    theirs["Resource"] = f"arn:aws:s3:::{root.bucket}"
    policy = {"Version": "2012-10-17", "Statement": [theirs]}
    root.client.put_bucket_policy(Bucket=root.bucket, Policy=json.dumps(policy))
    for blobs in (root, below, root, below):
        prepare_bucket(blobs, public=True)
    found = json.loads(root.client.get_bucket_policy(Bucket=root.bucket)["Policy"])["Statement"]
    assert len(found) == 3
    assert theirs in found
    assert sum(statement["Sid"].startswith(SID) for statement in found) == 2


def test_a_wildcard_in_the_prefix_opens_nothing(s3_open: Open) -> None:
    """A prefix that a policy would read as a pattern is refused."""
    with pytest.raises(InvalidRequest, match="wildcard"):
        prepare_bucket(s3_open(prefix="a*"), public=True)


def test_a_refused_policy_says_why(s3_open: Open) -> None:
    """Where the store blocks public policies, the error names the permission and the switch."""
    answers = {"HEAD": (200, ""), "GET": (404, "NoSuchBucketPolicy")}
    with a_store_that_answers(403, "AccessDenied", by_method=answers) as (address, seen):
        with pytest.raises(StorageError, match=r"s3:PutBucketPolicy .* BlockPublicPolicy"):
            prepare_bucket(s3_open(endpoint_url=address), public=True)
        assert seen[-1].startswith("PUT ")


def test_a_bucket_of_somebody_else_is_not_touched(s3_open: Open) -> None:
    """A bucket that these credentials may not see is neither created nor opened."""
    with a_store_that_answers(403, "AccessDenied") as (address, seen):
        with pytest.raises(StorageError, match="access is denied"):
            prepare_bucket(s3_open(endpoint_url=address), public=True)
        assert [line.split()[0] for line in seen] == ["HEAD"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `imagegen bucket` with an environment of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        names = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1", **environ}
        result = CliRunner().invoke(bucket_command, list(arguments), env=names)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout, result.stderr

    return run


def test_the_command_prepares_the_bucket(command: Callable[..., tuple[int, str, str]], s3_endpoint: str) -> None:
    """`bucket` creates, and with `--public` opens; the policy that `--dry-run` prints is the one that is set."""
    environ = {"IMAGEGEN_STORAGE_URL": "s3://by-command/kept", "IMAGEGEN_S3_ENDPOINT_URL": s3_endpoint}
    code, printed, _ = command("--public", "--dry-run", **environ)
    assert code == 0
    policy = json.loads(printed)
    assert policy["Statement"][0]["Resource"] == "arn:aws:s3:::by-command/kept/project_*"
    assert command(**environ)[:2] == (0, "bucket by-command created\nits policy was not touched\n")
    assert command("--public", **environ)[1].startswith("bucket by-command is there\npictures (project_*)")


def test_the_command_tells_what_is_wrong(command: Callable[..., tuple[int, str, str]]) -> None:
    """A folder is exit 2, an unreachable store exit 3, a refusal exit 1; `--dry-run` calls nobody."""
    code, _, error = command(IMAGEGEN_STORAGE_URL="file:///tmp/pictures")
    assert (code, "A folder needs no preparing" in error) == (2, True)
    environ = {"IMAGEGEN_STORAGE_URL": "s3://pictures", "IMAGEGEN_S3_ENDPOINT_URL": a_dead_address()}
    assert command("--dry-run", **environ)[0] == 0
    assert command(**environ)[0] == 3
    with a_store_that_answers(403, "AccessDenied") as (address, _):
        assert command(IMAGEGEN_STORAGE_URL="s3://pictures", IMAGEGEN_S3_ENDPOINT_URL=address)[0] == 1


def test_a_bare_wheel_says_so(command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the application is not installed the command exits 2 with a sentence, not a traceback."""
    monkeypatch.setitem(sys.modules, "storage.bucket", None)
    code, _, error = command()
    assert code == 2
    assert "run it from a checkout or the image" in error
