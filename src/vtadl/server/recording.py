"""From an upload to a stored inspection. Whoever gets an answer may rely on it: picture, map and row are durable."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from vtadl.server.database import Database
from vtadl.server.detectors import Picture
from vtadl.server.metrics import Metrics
from vtadl.server.problems import ConflictError
from vtadl.server.scoring import Scorer
from vtadl.server.storage import Storage, save_upload
from vtadl.server.tables import Answer, Inspection, Tag, Version, new_id, now_ms
from vtadl.server.versions import active_version
from vtadl.server.webhooks import queue_deliveries


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A picture on its way."""

    name: str
    content: BinaryIO


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is said of the pictures of a request."""

    source: str
    by: str
    part: str | None = None
    batch: str | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None
    """Idempotency key."""


@dataclass(frozen=True, kw_only=True)
class _Saved:
    identifier: str
    name: str
    sha256: str
    bytes: int
    kind: str


class Recorder:
    """Stores what it is given, once."""

    def __init__(
        self, database: Database, storage: Storage, scorer: Scorer, metrics: Metrics, *, max_image_bytes: int
    ) -> None:
        self._database, self._storage, self._scorer, self._metrics = database, storage, scorer, metrics
        self._max_image_bytes = max_image_bytes

    async def record(self, detector: str, uploads: Sequence[Upload], context: Context) -> list[Inspection]:
        """Score pictures and store them: all of them, or none.

        Raises:
            NotFoundError: no such detector.
            DataError: a picture that cannot be used.
            ConflictError: the key was used for another request.
            FullError: too many wait.
            OSError: no room on the disk.
        """
        version = await asyncio.to_thread(self._active, detector)
        # Sorted, so that the pictures of a request keep their order even within a millisecond.
        identifiers = sorted(new_id() for _ in uploads)
        saved: list[_Saved] = []
        try:
            for identifier, upload in zip(identifiers, uploads, strict=True):
                saved.append(await asyncio.to_thread(self._save, identifier, upload))
            request = _request_hash(detector, saved, context)
            known = await asyncio.to_thread(self._answered, context, request)
            if known is not None:
                self._discard(identifiers, saved)
                return known
            results = await self._scorer.score(
                str(self._storage.root / version.folder), [self._picture(one) for one in saved]
            )
            for one in saved:
                await asyncio.to_thread(self._storage.publish, one.identifier, one.kind)
        except BaseException:
            self._discard(identifiers, saved)
            raise
        rows = [_row(one, result, version, context) for one, result in zip(saved, results, strict=True)]
        try:
            # From here on the outcome may be unknown, so nothing is discarded that a row may point to.
            await asyncio.to_thread(self._commit, rows, context, request)
        except IntegrityError:
            self._discard(identifiers, saved)
            known = await asyncio.to_thread(self._answered, context, request)
            if known is None:
                raise
            return known
        self._metrics.recorded(rows)
        return rows

    def _active(self, detector: str) -> Version:
        with self._database.read() as session:
            return active_version(session, detector)

    def _save(self, identifier: str, upload: Upload) -> _Saved:
        target, _ = self._storage.arriving(identifier)
        sha256, length, kind = save_upload(upload.content, target, self._max_image_bytes, upload.name)
        return _Saved(identifier=identifier, name=upload.name, sha256=sha256, bytes=length, kind=kind)

    def _picture(self, saved: _Saved) -> Picture:
        picture, anomaly_map = self._storage.arriving(saved.identifier)
        return Picture(str(picture), str(anomaly_map), saved.name)

    def _answered(self, context: Context, request: str) -> list[Inspection] | None:
        if context.key is None:
            return None
        with self._database.read() as session:
            answer = session.get(Answer, (context.key, context.by))
            if answer is None:
                return None
            if answer.request != request:
                raise ConflictError(
                    f"the Idempotency-Key '{context.key}' was used for another request; give each request its own"
                )
            found = session.scalars(select(Inspection).where(Inspection.id.in_(answer.inspections))).all()
            return sorted(found, key=lambda row: answer.inspections.index(row.id))

    def _commit(self, rows: Sequence[Inspection], context: Context, request: str) -> None:
        with self._database.write() as session:
            session.add_all(rows)
            session.flush()
            session.add_all(Tag(tag=tag, inspection=row.id) for row in rows for tag in context.tags)
            queue_deliveries(session, rows)
            if context.key is not None:
                identifiers: list[Any] = [row.id for row in rows]
                session.add(
                    Answer(key=context.key, by=context.by, request=request, inspections=identifiers, at_ms=now_ms())
                )

    def _discard(self, identifiers: Sequence[str], saved: Sequence[_Saved]) -> None:
        kinds = {one.identifier: one.kind for one in saved}
        for identifier in identifiers:
            self._storage.discard(identifier, kinds.get(identifier))


def _request_hash(detector: str, saved: Sequence[_Saved], context: Context) -> str:
    pictures = [(one.name, one.sha256) for one in saved]
    content = json.dumps([detector, pictures, context.part, context.batch, list(context.tags)])
    return hashlib.sha256(content.encode()).hexdigest()


def _row(saved: _Saved, result: dict[str, Any], version: Version, context: Context) -> Inspection:
    return Inspection(
        id=saved.identifier,
        created_ms=int(saved.identifier[:12], 16),
        detector=version.detector,
        version=version.number,
        source=context.source,
        by=context.by,
        name=saved.name,
        part=context.part,
        batch=context.batch,
        sha256=saved.sha256,
        bytes=saved.bytes,
        kind=saved.kind,
        kept=True,
        label=None,
        corrected=False,
        **result,
    )
