"""Detectors by name, and the versions of each: added, activated, rolled back."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from vtadl.errors import ConfigError
from vtadl.server.problems import NotFoundError
from vtadl.server.tables import Act, Detector, Version, now_ms

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"


def name_of(folder: Path) -> str:
    """The detector's name: that of its folder.

    Raises:
        ConfigError: it is no name for an address.
    """
    name = folder.absolute().name
    if not re.match(NAME, name):
        raise ConfigError(f"'{name}' is no name for a detector; rename the folder: letters, digits and . _ - only")
    return name


def add_version(
    session: Session, name: str, folder: str, fingerprint: str, description: dict[str, Any], *, why: str, by: str
) -> Version:
    """Add a version and let it judge from now on."""
    at = now_ms()
    last = session.scalar(select(func.max(Version.number)).where(Version.detector == name)) or 0
    detector = session.get(Detector, name)
    if detector is None:
        session.add(Detector(name=name, active=1, created_ms=at))
        session.flush()
    else:
        detector.active = last + 1
    version = Version(
        detector=name,
        number=last + 1,
        folder=folder,
        fingerprint=fingerprint,
        description=description,
        why=why,
        by=by,
        created_ms=at,
    )
    session.add_all([version, Act(at_ms=at, by=by, act="version added", what=f"{name} {last + 1}: {why}")])
    session.flush()
    return version


def is_known(session: Session, name: str, fingerprint: str) -> bool:
    """Whether a detector has a version of this content."""
    asked = select(Version.id).where(Version.detector == name, Version.fingerprint == fingerprint)
    return session.scalar(asked.limit(1)) is not None


def active_version(session: Session, name: str) -> Version:
    """The version that judges.

    Raises:
        NotFoundError: no such detector.
    """
    asked = select(Version).join(Detector, Detector.name == Version.detector)
    found = session.scalar(asked.where(Detector.name == name, Version.number == Detector.active))
    if found is None:
        raise NotFoundError(f"there is no detector '{name}'; GET /v1/detectors lists them")
    return found


def one_version(session: Session, name: str, number: int) -> Version:
    """A version by its number.

    Raises:
        NotFoundError: no such detector or version.
    """
    found = session.scalar(select(Version).where(Version.detector == name, Version.number == number))
    if found is None:
        raise NotFoundError(f"there is no version {number} of a detector '{name}'; GET /v1/detectors/{name} lists them")
    return found


def versions_of(session: Session, name: str) -> Sequence[Version]:
    """All versions, the newest first.

    Raises:
        NotFoundError: no such detector.
    """
    found = session.scalars(select(Version).where(Version.detector == name).order_by(Version.number.desc())).all()
    if not found:
        raise NotFoundError(f"there is no detector '{name}'; GET /v1/detectors lists them")
    return found


def activate(session: Session, name: str, number: int, by: str) -> Version:
    """Let a version judge from now on.

    Raises:
        NotFoundError: no such detector or version.
    """
    version = one_version(session, name, number)
    detector = session.get_one(Detector, name)
    before, detector.active = detector.active, number
    session.add(Act(at_ms=now_ms(), by=by, act="version activated", what=f"{name}: {before} -> {number}"))
    return version
