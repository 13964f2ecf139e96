"""What happens besides answering: webhooks, retention, watched folders, backups, new versions, languages."""

import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest
from sqlalchemy import select

from helpers.server_client import DEFECTIVE, GOOD, NAME, send
from vtadl.cli import main
from vtadl.errors import BundleError
from vtadl.server import retention, watching, webhooks
from vtadl.server.backup import back_up, restore
from vtadl.server.language import languages, preferred, translations
from vtadl.server.settings import Settings, Watched
from vtadl.server.tables import Choice, Delivery, Inspection, Webhook, first_id
from vtadl.server.watching import Watch
from vtadl.server.webhooks import SIGNATURE


@pytest.fixture
def receiver():
    """An address that refuses the first message and takes the others."""
    got, refuse = [], [True]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500 if refuse else 204)
            self.end_headers()
            got.append((self.headers[SIGNATURE], body)) if not refuse else refuse.clear()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", got
        server.shutdown()


def test_a_webhook_is_signed_and_tried_again(client, receiver, monkeypatch):
    assert [webhooks.pause_ms(tries) for tries in (1, 2, 3, 30)] == [2000, 4000, 8000, 3_600_000]
    monkeypatch.setattr(webhooks, "pause_ms", lambda tries: 0)
    address, got = receiver
    database = client.app.state.server.database
    with database.write() as session:
        session.add(Webhook(url=address, secret="s", verdicts=["defective"]))
    ids = [send(client, content).json()["inspections"][0]["id"] for content in (GOOD, DEFECTIVE)]

    def waiting():
        with database.read() as session:
            return session.scalars(select(Delivery)).all()

    deadline = time.monotonic() + 30
    while waiting() and time.monotonic() < deadline:
        time.sleep(0.05)
    ((signature, body),) = got
    assert json.loads(body)["inspection"]["id"] == ids[1]
    assert signature == "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
    assert waiting() == []


def test_retention_takes_good_parts_first_and_labelled_ones_never(client):
    server = client.app.state.server
    one, two, bad, said = (send(client, c).json()["inspections"][0]["id"] for c in (GOOD, GOOD, DEFECTIVE, GOOD))
    client.put(f"/v1/inspections/{said}/label", json={"label": "good"})
    with server.database.write() as session:
        size = session.get(Inspection, one).bytes
        session.merge(Choice(name=retention.NAME, value={"days": None, "gigabytes": 2.5 * size / 1e9}))
    retention.apply_rule(server.database, server.storage)

    def kept():
        return {i for i in (one, two, bad, said) if client.get(f"/v1/inspections/{i}").json()["kept"]}

    assert kept() == {bad, said}
    assert client.get(f"/v1/inspections/{one}/image").status_code == 404
    assert not server.storage.picture(one, "png").exists() and server.storage.picture(said, "png").exists()
    with server.database.write() as session:
        session.merge(Choice(name=retention.NAME, value={"days": 1e-9, "gigabytes": None}))
    time.sleep(0.01)
    retention.apply_rule(server.database, server.storage)
    assert kept() == {said}
    assert client.get(f"/inspections/{one}").status_code == 200


def test_leftovers_of_a_kill_are_removed(client, monkeypatch):
    server = client.app.state.server
    (kept,) = send(client, GOOD).json()["inspections"]
    orphan = first_id(int(kept["id"][:12], 16))
    path = server.storage.picture(orphan, "png")
    path.write_bytes(GOOD)
    arrived, _ = server.storage.arriving(orphan)
    arrived.write_bytes(GOOD)
    folders = [server.storage.incoming / "images-x", server.storage.versions / NAME / ".new-x"]
    for folder in folders:
        (folder / "in").mkdir(parents=True)
    monkeypatch.setattr("vtadl.server.storage.ORPHAN_SECONDS", -3600)
    monkeypatch.setattr("vtadl.server.storage.WORK_SECONDS", 0)
    monkeypatch.setattr(
        server.storage, "recent", lambda hours: [(p.stem, p) for p in server.storage.root.glob("pictures/*/*/*")]
    )
    retention.remove_orphans(server.database, server.storage)
    assert not any(one.exists() for one in (path, arrived, *folders))
    assert client.get(kept["links"]["image"]).content == GOOD


def test_a_watched_folder_is_recorded_once(client, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", -1.0)
    server, folder = client.app.state.server, tmp_path / "camera"
    folder.mkdir()
    (folder / "a.png").write_bytes(GOOD)
    (folder / "half.png").write_bytes(GOOD[:100])
    for _ in range(2):  # The second is a restart: it has forgotten everything.
        watch = Watch(Watched(folder=folder, detector=NAME), server.recorder, server.database)
        for _ in range(3):
            client.portal.call(watch.look)
    (one,) = client.get("/v1/inspections").json()["inspections"]
    assert (one["name"], one["source"], one["verdict"]) == ("a.png", "watch", "good")


def test_a_backup_is_made_while_it_runs_and_restored(serve, tmp_path, run_folder):
    client = serve()
    (one,) = send(client, DEFECTIVE, tag="kept").json()["inspections"]
    back_up(Settings(data=tmp_path / "data"), tmp_path / "all.tar")
    with pytest.raises(BundleError, match="not empty"):
        restore(Settings(data=tmp_path / "data"), tmp_path / "all.tar")
    assert main(["serve", "--restore", str(tmp_path / "all.tar"), "--data", str(tmp_path / "new")]) == 0
    other = serve(data=tmp_path / "new")
    assert other.get(f"/v1/inspections/{one['id']}").json() == one
    assert other.get(one["links"]["image"]).content == DEFECTIVE
    assert (tmp_path / "new" / other.get(f"/v1/detectors/{NAME}").json()["version"]["folder"] / "run.json").exists()
    assert send(other, GOOD).status_code == 201


def test_every_message_is_translated():
    from babel.messages.extract import extract_from_dir

    from vtadl.server.pages.rendering import TEMPLATES

    found = {one[2] for one in extract_from_dir(TEMPLATES, method_map=[("**.html", "jinja2")])}
    assert len(found) > 100
    for language in languages()[1:]:
        catalogue = translations(language)
        assert [text for text in found if catalogue.gettext(text) == text] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [("ko-KR,ko;q=0.9,en;q=0.8", "ko"), ("de,en;q=0.5", "en"), ("", "en"), ("en,ko", "en"), ("x;q=y,\0", "en")],
)
def test_the_browser_decides_the_language(header, language):
    assert preferred(header) == language
