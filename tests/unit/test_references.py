"""Input pictures: every spelling, every way one can be unreadable, and how they reach a provider."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from imagegen.errors import InvalidRequest, NotFound, PartUnavailable, StorageError, Temporary
from imagegen.guard import checked_address, system_lookup
from imagegen.inputs import MAX_INPUT_BYTES, Door, input_ref, store_input
from imagegen.jobs import Job
from imagegen.references import Input, Resolver, check_reachable, order, to_provider
from imagegen.states import Stage, Status
from tests.admission_parts import NOW, Shop, World
from tests.drawings import a_file

PNG = a_file("PNG")
SHA = hashlib.sha256(PNG).hexdigest()
URL = "https://pictures.example/mara.png"
PUBLIC = {"pictures.example": ["93.184.216.34"], "inside.example": ["93.184.216.34", "10.0.0.7"]}
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()
OTHER_OWNER = "somebody else"


def lookup(host: str) -> list[str]:
    if host not in PUBLIC:
        raise OSError("unknown host")
    return PUBLIC[host]


@pytest.fixture
def world() -> World:
    return World()


def resolver(world: World, *, door: Door = "http", owner: str = "default", **settings: Any) -> Resolver:
    return Resolver(world.with_(**settings), door=door, owner=owner, lookup=lookup)


def refused(world: World, ref: str, **settings: Any) -> str:
    """The reason for which the reference is refused; it always comes with its field and a remedy."""
    with pytest.raises(InvalidRequest) as error:
        resolver(world, **settings).resolve(ref, "referenceImages.1")
    (problem,) = error.value.problems
    assert problem["field"] == "referenceImages.1"
    assert problem["remedy"]
    return problem["reason"]


def completed(world: World, **changes: Any) -> Job:
    job = Job(
        id=uuid4(), owner="default", status=Status.COMPLETED, stage=Stage.UPLOAD, job_type="master_asset",
        project_id="p", branch_id="b", provider="gemini", model="m", width=320, height=180, format="png",
        created_at=NOW, updated_at=NOW, next_run_at=None, deadline_at=NOW, emulated=True, sha256=SHA,
        content_type="image/png", bytes=len(PNG), object_key="project_p/mara.png",
    )  # fmt: skip
    job = replace(job, **changes)
    world.rows.jobs[job.id] = job
    world.blobs.put("project_p/mara.png", PNG, "image/png")
    return job


def test_a_url_is_read_verified_and_kept(world: World) -> None:
    """The picture is ours from admission on: its facts are in the plan and its bytes under their digest."""
    world.web.serve(URL, PNG)
    assert resolver(world).resolve(URL, "referenceImages.0") == Input(
        kind="https", key=f"inputs/{SHA}", sha256=SHA, contentType="image/png", width=320, height=180, bytes=len(PNG)
    )
    assert world.blobs.get(f"inputs/{SHA}") == PNG


def test_a_reference_named_often_is_read_once(world: World) -> None:
    """Four members of a batch with one style share one download."""
    world.web.serve(URL, PNG)
    one = resolver(world)
    assert one.resolve(URL, "a") == one.resolve(URL, "b")
    assert world.web.asked == [URL]


def test_a_redirect_is_followed_and_checked(world: World) -> None:
    """A public URL may move to a public one; one that moves to a private address is refused before it is asked."""
    target = world.web.serve("https://pictures.example/new.png", PNG)
    world.web.serve(URL, b"", 302, Location="/new.png")
    assert resolver(world).resolve(URL, "mask")["sha256"] == SHA
    assert world.web.asked == [URL, target]
    world.web.serve("https://pictures.example/trap", b"", 302, Location="https://169.254.169.254/secrets")
    assert "not a public address" in refused(world, "https://pictures.example/trap")
    assert "https://169.254.169.254/secrets" not in world.web.asked


def test_endless_redirects_are_refused(world: World) -> None:
    """A circle of redirects ends after a few."""
    world.web.serve(URL, b"", 301, Location=URL)
    assert refused(world, URL) == "answers 301"
    assert len(world.web.asked) == 4


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<html>login</html>", "an HTML page"),
        (PNG[:-20], "truncated"),
        (PNG[:41] + bytes(50) + PNG[91:], "does not decode"),
        (b"GIF89a" + bytes(20), "a GIF image"),
    ],
)
def test_what_is_no_whole_picture_is_refused(world: World, body: bytes, told: str) -> None:
    """HTML, cut files, damaged files and other formats are refused in words that say what came."""
    world.web.serve(URL, body)
    assert told in refused(world, URL)
    assert world.blobs.keys == []


@pytest.mark.parametrize("status", [204, 403, 404, 500])
def test_a_url_that_does_not_answer_with_a_picture_is_refused(world: World, status: int) -> None:
    """Any status but 200 refuses the request, and says which."""
    world.web.serve(URL, PNG, status)
    assert refused(world, URL) == f"answers {status}"


def test_a_failing_connection_is_the_requests_problem(world: World) -> None:
    """A host that breaks off is named as an unreadable reference, not as our failure."""
    world.web.pages[URL] = Temporary("GET https://pictures.example: no whole answer came")
    assert "cannot be read" in refused(world, URL)


def test_all_pictures_share_one_deadline(world: World) -> None:
    """Slow hosts cannot hold a caller for minutes: after half a minute the next picture is refused unread."""
    world.web.slow = 31.0
    other = world.web.serve("https://pictures.example/2.png", PNG)
    world.web.serve(URL, PNG)
    one = resolver(world)
    one.resolve(URL, "referenceImages.0")
    with pytest.raises(InvalidRequest, match="was not reached within the 30 s"):
        one.resolve(other, "referenceImages.1")
    assert world.web.asked == [URL]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://inside.example/a.png", "not a public address"),
        ("https://127.0.0.1/a.png", "not a public address"),
        ("https://[::1]/a.png", "not a public address"),
        ("https://[::ffff:10.1.2.3]/a.png", "not a public address"),
        ("https://169.254.169.254/latest", "not a public address"),
        ("https://224.0.0.1/a.png", "not a public address"),
        ("http://pictures.example/a.png", "is not https"),
        ("https://user:secret@pictures.example/a.png", "carries a user name"),
        ("https://nowhere.example/a.png", "not known to the name service"),
        ("https:///a.png", "no URL with a host"),
        ("https://[::1/a.png", "no URL with a host"),
        ("https://pictures.example:99999/a.png", "no URL with a host"),
        ("ftp://pictures.example/a.png", "ftp: names no picture"),
        ("file:///etc/passwd", "file: names no picture"),
    ],
)
def test_addresses_that_are_not_public_https_are_refused_unasked(world: World, url: str, told: str) -> None:
    """Nobody makes us ask inside our own network: literal, resolved and mapped addresses are all looked at."""
    assert told in refused(world, url)
    assert world.web.asked == []


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://inside.example/a.png", "inside.example"),
        ("http://127.0.0.1:8080/a.png", "127.0.0.0/8"),
        ("https://[::1]/a.png", "::1"),
        ("https://inside.example/a.png", "10.0.0.0/8"),
    ],
)
def test_allowed_hosts_and_networks_are_exempt(world: World, url: str, allowed: str) -> None:
    """IMAGEGEN_ALLOW_HOSTS opens exactly what it names: a host, an address or a network, http included."""
    world.web.serve(url, PNG)
    assert resolver(world, allow_hosts=(allowed,)).resolve(url, "mask")["sha256"] == SHA
    assert refused(world, "https://192.168.7.7/a.png", allow_hosts=(allowed,))


def test_a_literal_address_needs_no_name_service() -> None:
    """An IP address in a URL is checked as it is."""
    checked_address("https://93.184.216.34/a.png", "mask", (), lookup=lambda host: pytest.fail(f"looked up {host}"))
    assert system_lookup("127.0.0.1")[0] == "127.0.0.1"


def test_another_jobs_picture_is_reused_without_reading_it(world: World) -> None:
    """`job:ID` brings the published picture of a completed job of the same owner into the inputs."""
    job = completed(world)
    found = resolver(world).resolve(f"job:{job.id}", "referenceImages.0")
    assert found == Input(
        kind="job", key=f"inputs/{SHA}", sha256=SHA, contentType="image/png", width=320, height=180, bytes=len(PNG)
    )
    assert world.blobs.get(f"inputs/{SHA}") == PNG


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"owner": OTHER_OWNER}, "there is no such job of this owner"),
        ({"status": Status.GENERATING}, "that job is generating"),
        ({"status": Status.FAILED}, "that job is failed"),
        ({"placeholder": True}, "a placeholder"),
        ({"emulated": False}, "a real one"),
        ({"object_key": None}, "has no picture"),
        ({"object_key": "project_p/erased.png"}, "was removed"),
        ({"bytes": MAX_INPUT_BYTES + 1}, f"has {MAX_INPUT_BYTES + 1} bytes"),
    ],
)
def test_a_job_without_a_fitting_picture_is_refused(world: World, changes: dict[str, Any], told: str) -> None:
    """Another owner's job answers like a missing one; unfinished, fake, erased and huge pictures are refused."""
    job = completed(world, **changes)
    assert told in refused(world, f"job:{job.id}")


@pytest.mark.parametrize("ref", ["job:", "job:mara", f"job:{UUID(int=7)}"])
def test_a_job_that_does_not_exist_is_refused(world: World, ref: str) -> None:
    """A wrong id and an unknown one are the request's problem."""
    assert refused(world, ref) in {"is no job:ID", "there is no such job of this owner"}


def test_an_emulated_picture_is_no_reference_for_a_real_one(world: World) -> None:
    """Nobody pays a provider to look at the emulator's drawings."""
    job = completed(world)
    assert "an emulated one" in refused(world, f"job:{job.id}", emulated=False)


def test_an_object_of_our_bucket_is_read(world: World) -> None:
    """`s3://` names objects of our own bucket, below the prefix we were given."""
    world.blobs.put("uploads/mara.png", PNG, "image/png")
    settings: dict[str, Any] = {"storage_url": "s3://bucket/kept"}
    assert resolver(world, **settings).resolve("s3://bucket/kept/uploads/mara.png", "mask")["key"] == f"inputs/{SHA}"
    assert "is not in the object store" in refused(world, "s3://bucket/kept/uploads/none.png", **settings)


@pytest.mark.parametrize(
    "ref",
    [
        "s3://other/kept/a.png",
        "s3://bucket/elsewhere/a.png",
        "s3://bucket/kept/blobs/0123",
        "s3://bucket/kept/attempts/0123",
        "s3://bucket/kept/../kept/blobs/0123",
        "s3://bucket/keptsafe/a.png",
    ],
)
def test_what_lies_outside_the_open_part_of_the_bucket_is_refused(world: World, ref: str) -> None:
    """Other buckets, other prefixes, and the originals other owners paid for stay closed."""
    world.blobs.put("blobs/0123", PNG, "image/png")
    assert refused(world, ref, storage_url="s3://bucket/kept")


def test_anothers_picture_in_our_bucket_is_as_if_it_were_not_there(world: World) -> None:
    """A published picture is named by its own owner alone: who knows another's job id learns nothing by its key."""
    job = completed(world)
    key = f"project_p/branch_b/master-assets/mara_{job.id}.png"
    world.blobs.put(key, PNG, "image/png")
    ref, settings = f"s3://bucket/kept/{key}", {"storage_url": "s3://bucket/kept"}
    assert resolver(world, **settings).resolve(ref, "mask")["sha256"] == SHA
    unknown = ref.replace(str(job.id), str(uuid4()))
    told = [refused(world, one, owner=OTHER_OWNER, **settings) for one in (ref, unknown)]
    assert told == ["is not in the object store"] * 2


def test_s3_without_a_bucket_is_refused(world: World) -> None:
    """Where pictures are kept in a folder, `s3://` names nothing."""
    for url in (None, "file:///var/pictures"):
        assert "no bucket is configured" in refused(world, "s3://bucket/a.png", storage_url=url)


def test_a_large_object_is_refused_before_it_is_read(world: World) -> None:
    """The size is looked at first."""
    world.blobs.put("uploads/large.png", bytes(MAX_INPUT_BYTES + 1), "image/png")
    assert f"has {MAX_INPUT_BYTES + 1} bytes" in refused(world, "s3://b/uploads/large.png", storage_url="s3://b")


def test_a_stored_input_is_found_by_its_digest(world: World) -> None:
    """`input:SHA256` names a picture uploaded before, at every door; an unknown or odd digest is refused."""
    ref = input_ref(store_input(PNG, "mask", world.blobs))
    doors: tuple[Door, ...] = ("http", "cli", "celery")
    for door in doors:
        assert resolver(world, door=door).resolve(ref, "mask")["width"] == 320
    assert "is not in the object store" in refused(world, f"input:{'0' * 64}")
    assert "is no input:SHA256" in refused(world, "input:../blobs/0123")


def test_an_object_store_that_is_away_is_not_the_requests_fault(world: World) -> None:
    """An outage passes as `PartUnavailable`; a refusal for good says which field cannot be read."""
    ref = input_ref(store_input(PNG, "mask", world.blobs))
    world.blobs.outage = PartUnavailable("S3 is away", {"part": "S3"})
    with pytest.raises(PartUnavailable):
        resolver(world).resolve(ref, "mask")
    world.blobs.outage = StorageError("access denied")
    assert refused(world, ref) == "cannot be read: access denied"


def kept_input(world: World) -> Input:
    return resolver(world).resolve(input_ref(store_input(PNG, "mask", world.blobs)), "mask")


def test_providers_get_bytes_or_addresses(world: World) -> None:
    """One that takes bytes gets them from the store; one that fetches gets a URL that lives an hour."""
    one = kept_input(world)
    (sent,) = to_provider([one], world.services, Shop("gemini", True))
    assert (sent.data, sent.url, sent.content_type) == (PNG, None, "image/png")
    (named,) = to_provider([one], world.services, Shop("nanobanana", False))
    assert named.data is None
    assert named.url == world.blobs.presigned_url(one["key"], timedelta(hours=1))


@pytest.mark.parametrize("base", ["file:///var/pictures", "http://127.0.0.1:8000/files", "http://localhost/files"])
def test_a_provider_that_cannot_reach_our_store_is_refused_at_admission(world: World, base: str) -> None:
    """A real provider cannot fetch from this machine: the request is refused with what to set, before it costs."""
    one = kept_input(world)
    world.blobs._public_base_url = base
    real = world.with_(emulated=False)
    with pytest.raises(InvalidRequest, match="Set IMAGEGEN_PUBLIC_BASE_URL or an S3 store"):
        check_reachable([one], real, Shop("nanobanana", False))
    check_reachable([one], real, Shop("gemini", True))
    check_reachable([], real, Shop("nanobanana", False))
    if base.startswith("http"):
        check_reachable([one], world.services, Shop("nanobanana", False))


def test_a_picture_erased_since_admission_is_told(world: World) -> None:
    """Erasing an input ends the job that still needs it, instead of buying another picture."""
    one = kept_input(world)
    world.blobs.delete(one["key"])
    with pytest.raises(NotFound):
        to_provider([one], world.services, Shop("gemini", True))


def test_the_order_is_made_from_the_plan(world: World) -> None:
    """What is bought is what admission decided: prompt, shape, seed and pictures in their places."""
    one = kept_input(world)
    job = completed(
        world, sent_prompt="A fox", request={"seed": 7},
        plan={"ratio": "16:9", "tier": "2K", "format": "jpeg", "references": [one, one], "source": one, "mask": one},
    )  # fmt: skip
    made = order(job, world.services)
    assert (made.prompt, made.model, made.ratio, made.tier, made.format, made.seed) == (
        "A fox", "m", "16:9", "2K", "jpeg", 7,
    )  # fmt: skip
    assert len(made.references) == 2
    assert made.source is not None
    assert made.source == made.mask
    plain = order(replace(job, plan={"ratio": "1:1", "tier": "1K", "format": "png"}, request={}), world.services)
    assert (plain.references, plain.source, plain.mask, plain.seed) == ((), None, None, None)
