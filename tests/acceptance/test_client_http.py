"""`Client` and `AsyncClient` on a running system: pictures for their owner, each charged once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from imagegen.cli.token import mint_here
from imagegen.client import Batch, Job
from tests.acceptance.system import System, words
from tests.drawings import a_file
from tests.twin import KINDS, Twin

SMALL: dict[str, Any] = {"width": 512, "height": 512}


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_gets_its_pictures_over_http(system: System, kind: str) -> None:
    """A dry run, a picture with a stored reference, a batch, the list and the report; three pictures, three charges."""
    about, owner = words("a harbour"), f"{kind}-client"
    token = mint_here(system.settings, owner, service=False, ttl=timedelta(hours=1))
    with Twin(kind, system.run.instance.addresses["api"], token) as client:
        assert client.estimate(about, provider="gemini", **SMALL).budget.admitted
        reference = client.upload_input(a_file("PNG"))
        job = client.generate(about, provider="gemini", reference_images=[reference], **SMALL)
        batch = client.batch(["Mara", "Tom"], prompt=about, provider="nanobanana", **SMALL)
        batch, job = client.wait(batch, timeout=60), client.wait(job, timeout=60)
        assert (type(job), type(batch), job.ok, batch.ok) == (Job, Batch, True, True)
        assert (job.owner, job.public_url is not None, job.width) == (owner, True, 512)
        assert {one.id for one in client.list()} == {job.id, *(one.id for one in batch.jobs)}
        told = client.costs("job_type", emulated=True).total
    assert len(system.charges(about)) == told.jobs == 3
    assert told.actual == pytest.approx(float(system.paid([job.id, *(one.id for one in batch.jobs)])))
