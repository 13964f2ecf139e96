"""What people judged, scored by the versions that did not judge it: a new version is tried on what was really missed.

It works while nobody waits for the line, so that the line waits for one picture at most.
"""

import asyncio
import contextlib

from sqlalchemy import exists, func, select

from vtadl.errors import DataError
from vtadl.server.database import Database
from vtadl.server.detectors import Picture
from vtadl.server.error_rates import same_weights, weights_of
from vtadl.server.scoring import Scorer
from vtadl.server.storage import Storage
from vtadl.server.tables import Inspection, Label, Rescore, Version

INTERVAL_SECONDS = 2.0


class Rescoring:
    """Scores one picture after the other in the background."""

    def __init__(self, database: Database, storage: Storage, scorer: Scorer) -> None:
        self._database, self._storage, self._scorer = database, storage, scorer
        self._done: tuple[int | None, int | None] | None = None
        """The last label and the last version when nothing was left to score."""

    async def work(self) -> bool:
        """Score one picture; whether there was one, and nobody else waited."""
        found = None if self._scorer.waiting else await asyncio.to_thread(self._next)
        if found is None:
            return False
        version, row = found
        picture = Picture(str(self._storage.picture(row.id, row.kind)), None, row.name)
        score = None
        with contextlib.suppress(DataError):  # A picture that cannot be read is passed over for good.
            (result,) = await self._scorer.score(str(self._storage.root / version.folder), [picture])
            score = result["score"]
        await asyncio.to_thread(self._keep, Rescore(inspection=row.id, weights=weights_of(version), score=score))
        return True

    def _keep(self, rescore: Rescore) -> None:
        with self._database.write() as session:
            session.merge(rescore)

    def _next(self) -> tuple[Version, Inspection] | None:
        """A labelled inspection, and a version whose weights have not scored it."""
        with self._database.read() as session:
            last = session.scalar(select(func.max(Label.id))), session.scalar(select(func.max(Version.id)))
            if last == self._done:
                return None
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
            self._done = last
        return None
