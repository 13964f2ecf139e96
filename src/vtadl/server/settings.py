"""How a server is run: where it listens, where it keeps things, and how much it takes."""

from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A folder, and the detector that its pictures go to."""

    folder: Path
    detector: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the command line decides."""

    data: Path
    """Folder of pictures, maps, versions and, by default, the database."""
    database: str | None = None
    """SQLAlchemy URL; ``None``: SQLite in ``data``."""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    """Processes that score; 0: a thread of the server itself."""
    ray: str | None = None
    """Address of a Ray cluster that scores instead."""
    queue: int = 64
    """Pictures that may wait; more are answered with 503."""
    tls: bool = False
    """Whether requests come over TLS, so that cookies may say so."""
    watched: tuple[Watched, ...] = ()
    """Folders whose pictures are inspected as they come."""
    samples: Path | None = None
    """Folder with pictures to try, shown on the first page."""
    max_images: int = 16
    """Pictures of a request."""
    max_image_bytes: int = 64 * MEGABYTE
    max_request_bytes: int = 256 * MEGABYTE

    @property
    def database_url(self) -> str:
        """The database's address."""
        return self.database or f"sqlite:///{self.data.absolute() / 'vtadl.sqlite'}"
