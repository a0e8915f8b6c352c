"""What the HTTP door is compared with: FastAPI and one SQLModel insert, nothing else."""

from __future__ import annotations

import os
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import BaseModel
from sqlmodel import Field, Session, SQLModel, create_engine

engine = create_engine(os.environ["BARE_DATABASE_URL"], pool_size=16, max_overflow=16)
app = FastAPI()


class Picture(SQLModel, table=True):
    """One row per request."""

    __tablename__ = "bare_pictures"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner: str
    status: str = "queued"
    prompt: str


class Asked(BaseModel):
    """The request."""

    prompt: str


SQLModel.metadata.create_all(engine)


@app.post("/pictures", status_code=202)
def ask(asked: Asked) -> dict[str, str]:
    """Writes the row."""
    with Session(engine) as session:
        row = Picture(owner="bench", prompt=asked.prompt)
        session.add(row)
        session.commit()
        return {"id": str(row.id), "status": row.status}


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it lives."""
    return {"status": "ok"}
