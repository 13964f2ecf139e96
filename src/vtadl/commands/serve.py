"""``vtadl serve``."""

import argparse
import signal
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtadl.commands.arguments import add_command, warn
from vtadl.errors import ConfigError, DataError, optional

if TYPE_CHECKING:
    from vtadl.server.settings import Settings, Watched

DEMO = Path("vtadl-demo")
GRACE_SECONDS = 60
CONNECTIONS = 256
USAGE = "vtadl serve RUN_OR_EXPORT... | --demo [DIR] | token add NAME --role ROLE | token remove NAME"


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, run, "serve", "inspect on a page and over HTTP, and keep a history")
    parser.usage = USAGE
    parser.epilog = "token add NAME --role operator|engineer|admin makes a token, and shows it once."
    parser.add_argument("detectors", nargs="*", metavar="RUN_OR_EXPORT", help="a detector's name is its folder's")
    parser.add_argument(
        "--demo", nargs="?", type=Path, const=DEMO, metavar="DIR", help=f"what vtadl demo wrote there (default {DEMO})"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s, this machine only"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=Path("vtadl-data"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--database", metavar="URL", help="postgresql+psycopg://... (default: SQLite in --data)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that score (default %(default)s)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="score on a Ray cluster instead; local starts one here")
    parser.add_argument(
        "--queue", type=int, default=64, metavar="N", help="pictures that may wait (default %(default)s)"
    )
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="[NAME=]FOLDER",
        help="inspect what comes into a folder; NAME is the detector's, where there are several",
    )
    parser.add_argument("--backup", type=Path, metavar="FILE", help="write all of --data to a file, also while it runs")
    parser.add_argument("--restore", type=Path, metavar="FILE", help="put a backup into an empty --data")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    parser.add_argument("--role", metavar="ROLE", help="with token add: operator, engineer or admin")


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, or do what is asked for instead."""
    with optional("vtadl serve", "server"):
        from vtadl.server.app import create_app
    _check(options)
    if options.detectors[:1] == ["token"]:
        return _token(options)
    if options.backup is not None or options.restore is not None:
        return _back_up_or_restore(options)
    return _serve(options, create_app)


def _check(options: argparse.Namespace) -> None:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together; give both or none")
    if options.workers < 0 or options.queue < 1 or not 0 <= options.port < 65536:
        raise ConfigError("--workers is 0 or more, --queue 1 or more, and --port between 0 and 65535")
    if options.role is not None and options.detectors[:2] != ["token", "add"]:
        raise ConfigError("--role goes with token add NAME")


def _settings(options: argparse.Namespace, watched: "tuple[Watched, ...]" = ()) -> "Settings":
    from vtadl.server.settings import Settings

    return Settings(
        data=options.data,
        database=options.database,
        host=options.host,
        port=options.port,
        workers=options.workers,
        ray=options.ray,
        queue=options.queue,
        tls=options.tls_cert is not None,
        watched=watched,
        samples=options.demo / "images" if options.demo else None,
    )


def _back_up_or_restore(options: argparse.Namespace) -> int:
    from vtadl.server.backup import back_up, restore

    if options.backup is not None and options.restore is not None:
        raise ConfigError("--backup and --restore cannot both be; give one of them")
    if options.backup is not None:
        back_up(_settings(options), options.backup)
        print(f"backup: {options.backup}")
    else:
        restore(_settings(options), options.restore)
        print(f"restored to {options.data}; serve it with: vtadl serve --data {options.data}")
    return 0


def _watched(options: argparse.Namespace, folders: list[Path]) -> "tuple[Watched, ...]":
    from vtadl.server.settings import Watched

    names = [folder.absolute().name for folder in folders]
    found = []
    for text in options.watch:
        name, separator, folder = text.partition("=")
        if not separator or name not in names:
            if len(names) != 1:
                raise ConfigError(f"--watch '{text}': expected NAME=FOLDER, NAME being one of: {', '.join(names)}")
            name, folder = names[0], text
        if not Path(folder).is_dir():
            raise DataError(f"--watch: there is no folder '{folder}'")
        found.append(Watched(folder=Path(folder), detector=name))
    return tuple(found)


def _token(options: argparse.Namespace) -> int:
    from vtadl.server.database import Database
    from vtadl.server.security import add_token, remove_token
    from vtadl.server.storage import Storage

    Storage(options.data)
    with closing(Database(_settings(options).database_url)) as database:
        database.migrate()
        match options.detectors[1:]:
            case ["add", name] if options.role is not None:
                print(add_token(database, name, options.role, by="command line"))
                print("Keep it: it is shown this once.")
            case ["remove", name]:
                remove_token(database, name, by="command line")
            case _:
                raise ConfigError("expected token add NAME --role operator|engineer|admin, or token remove NAME")
    return 0


def _serve(options: argparse.Namespace, create_app: Callable[..., Any]) -> int:
    import uvicorn

    from vtadl.server.database import Database
    from vtadl.server.security import LOOPBACK, has_tokens

    folders = _folders(options)
    settings = _settings(options, _watched(options, folders))
    app = create_app(settings, folders)
    # Large uploads are spooled where their pictures will be, not into a /tmp that may be memory.
    tempfile.tempdir = str(settings.data.absolute() / "incoming")
    with closing(Database(settings.database_url)) as database:
        is_open = not has_tokens(database)
    if is_open and options.host not in LOOPBACK:
        raise ConfigError(
            f"without a token the server listens on 127.0.0.1 only, not on '{options.host}'; "
            "make one: vtadl serve token add NAME --role admin"
        )
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        log_level="warning",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal again when it has finished: that must not turn a clean end into an error.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    shown = "localhost" if options.host in LOOPBACK else options.host
    print(f"http{'s' if settings.tls else ''}://{shown}:{options.port}  (Ctrl-C ends it)", flush=True)
    server.run()
    if not server.started:
        warn("the server did not start; the lines above say why")
        return 1
    return 0


def _folders(options: argparse.Namespace) -> list[Path]:
    folders = [Path(name) for name in options.detectors]
    if options.demo:
        runs = options.demo / "runs"
        if not runs.is_dir():
            raise DataError(f"there is no demo at '{options.demo}'; make it with: vtadl demo --out {options.demo}")
        folders += sorted(runs.iterdir())
    if not folders and not options.data.is_dir():
        raise ConfigError(f"name a detector: {USAGE}")
    return folders
