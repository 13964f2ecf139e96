"""What people judged, scored by the versions that did not judge it: a new version is tried on what was really missed.

It goes on while nobody waits for the line, so that the line waits for one picture at most.
"""

import asyncio
import contextlib

from sqlalchemy import exists, select
from sqlalchemy.exc import SQLAlchemyError

from vtadl.errors import DataError, VtadlError
from vtadl.server.database import Database
from vtadl.server.detectors import Picture
from vtadl.server.misses import same_weights, weights_of
from vtadl.server.scoring import Scorer
from vtadl.server.storage import Storage
from vtadl.server.tables import Inspection, Rescore, Version

INTERVAL_SECONDS = 2.0


class Rescoring:
    """Scores one picture after the other in the background."""

    def __init__(self, database: Database, storage: Storage, scorer: Scorer) -> None:
        self._database, self._storage, self._scorer = database, storage, scorer

    async def forever(self, stop: asyncio.Event) -> None:
        """Score what there is to score until told to stop."""
        while not stop.is_set():
            worked = False
            with contextlib.suppress(SQLAlchemyError, VtadlError, OSError):
                worked = self._scorer.waiting == 0 and await self.work()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.0 if worked else INTERVAL_SECONDS)

    async def work(self) -> bool:
        """Score one picture; whether there was one."""
        found = await asyncio.to_thread(self._next)
        if found is None:
            return False
        version, row = found
        picture = Picture(str(self._storage.picture(row.id, row.kind)), None, row.name)
        score = None
        with contextlib.suppress(DataError):  # A picture that cannot be read is passed over for good.
            (result,) = await self._scorer.score(str(self._storage.root / version.folder), [picture])
            score = result["score"]
        with self._database.write() as session:
            session.merge(Rescore(inspection=row.id, weights=weights_of(version), score=score))
        return True

    def _next(self) -> tuple[Version, Inspection] | None:
        """A labelled inspection, and a version whose weights have not scored it."""
        with self._database.read() as session:
            versions = session.scalars(select(Version).order_by(Version.id.desc())).all()
            for version in {(one.detector, weights_of(one)): one for one in versions if weights_of(one)}.values():
                scored = exists().where(Rescore.inspection == Inspection.id, Rescore.weights == weights_of(version))
                asked = select(Inspection).where(
                    Inspection.detector == version.detector,
                    Inspection.label.in_(("good", "defective")),
                    Inspection.kept.is_(True),
                    Inspection.version.not_in(same_weights(versions, version)),
                    ~scored,
                )
                row = session.scalar(asked.order_by(Inspection.id.desc()).limit(1))
                if row is not None:
                    return version, row
        return None
