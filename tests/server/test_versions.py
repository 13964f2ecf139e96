"""What judges is a copy that nothing changes; a new version is tried on what people judged before it."""

import shutil
import time
from types import SimpleNamespace

import pytest

import vtadl
from helpers.server_client import DEFECTIVE, GOOD, NAME, send
from vtadl.server import error_rates, new_versions
from vtadl.server.tables import Rescore, Version
from vtadl.server.versions import active_version


@pytest.fixture(scope="module")
def other_run(run_folder, tmp_path_factory):
    """A detector of the same name with other weights, and a threshold that nothing exceeds."""
    detector = vtadl.train(run_folder.parent / "images", preset="gaussian", model={"image_size": 96})
    detector.calibrate(threshold=1e6)
    folder = tmp_path_factory.mktemp("other") / NAME
    detector.save(folder)
    return folder


def judged(client, content) -> dict:
    return send(client, content).json()["inspections"][0]


def test_corrections_make_a_new_version(client):
    (one,) = send(client, DEFECTIVE).json()["inspections"]
    refused = client.post(f"/detectors/{NAME}/learn", data={"what": "rejects"})
    assert refused.status_code == 409
    client.put(f"/v1/inspections/{one['id']}/label", json={"label": "good"})
    answer = client.post(f"/detectors/{NAME}/threshold", data={"value": str(one["score"] + 1)}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert send(client, DEFECTIVE).json()["inspections"][0]["verdict"] == "good"
    card = client.get(f"/v1/detectors/{NAME}").json()["version"]["description"]["card"]
    assert card["threshold"] == one["score"] + 1 and card["promise"] == "none"
    assert client.post(f"/v1/detectors/{NAME}/rollback").json()["number"] == 1
    assert send(client, DEFECTIVE).json()["inspections"][0]["verdict"] == "defective"


def test_a_folder_that_changes_is_a_new_version_at_the_next_start(serve, run_folder, other_run, tmp_path):
    folder = tmp_path / NAME
    shutil.copytree(run_folder, folder)
    client = serve(folders=[folder])
    first = judged(client, DEFECTIVE)
    shutil.rmtree(folder)
    shutil.copytree(other_run, folder)
    assert judged(client, DEFECTIVE)["score"] == first["score"]
    again = serve(folders=[folder])
    assert (judged(again, DEFECTIVE)["version"], judged(again, DEFECTIVE)["verdict"]) == (2, "good")
    again.post(f"/v1/detectors/{NAME}/rollback")
    assert (judged(again, DEFECTIVE)["score"], judged(again, DEFECTIVE)["version"]) == (first["score"], 1)
    serve(folders=[folder])
    assert again.get(f"/v1/detectors/{NAME}").json()["active"] == 1


def test_a_version_is_tried_on_what_another_missed(serve, run_folder, other_run):
    client = serve()
    ones = [judged(client, content) for content in (GOOD, DEFECTIVE, DEFECTIVE)]
    for one, label in zip(ones, ("good", "defective", "defective"), strict=True):
        client.put(f"/v1/inspections/{one['id']}/label", json={"label": label})
    server = client.app.state.server
    client.portal.call(add, server, other_run)
    wait_for_rescores(client, 3)
    with server.database.read() as session:
        active = active_version(session, NAME)
        again = error_rates.labelled(session, active)
        before = error_rates.labelled(session, session.query(Version).filter_by(number=1).one())
    assert again.defective[0] != ones[1]["score"]
    expected = vtadl.load(other_run).predict(client.app.state.server.storage.picture(ones[1]["id"], "png")).score
    assert active.number == 2 and again.defective == (expected, expected) and len(again.good) == 1
    assert before.defective == (ones[1]["score"],) * 2
    page = client.get(f"/detectors/{NAME}").text
    assert "2 / 2" in page and "0 / 2" in page  # the newer misses both, the earlier none


def wait_for_rescores(client, count: int) -> list[float | None]:
    """What the server adds by itself while nobody waits."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with client.app.state.server.database.read() as session:
            scores = [score for (score,) in session.query(Rescore.score)]
        if len(scores) == count:
            return scores
        time.sleep(0.05)
    raise AssertionError(f"{len(scores)} of {count} were scored")


async def add(server, folder):
    return await new_versions.make_version(server, NAME, folder, why="a test", by="test")


def test_a_picture_that_a_version_cannot_read_is_passed_over(client, other_run):
    one = judged(client, DEFECTIVE)
    client.put(f"/v1/inspections/{one['id']}/label", json={"label": "defective"})
    server = client.app.state.server
    server.storage.picture(one["id"], "png").write_bytes(b"lost")
    client.portal.call(add, server, other_run)
    assert wait_for_rescores(client, 1) == [None]
    with server.database.read() as session:
        assert error_rates.labelled(session, active_version(session, NAME)).defective == ()


@pytest.mark.parametrize(
    ("what", "days", "command", "count"),
    [
        ("teach", "", ("teach",), 1),
        ("rejects", "", ("calibrate", "--add-rejects"), 1),
        ("good", "", ("calibrate", "--add-good"), 2),
        ("good", "1", ("calibrate", "--add-good"), 2),
    ],
)
def test_a_version_learns_from_the_history(client, monkeypatch, what, days, command, count):
    for content, label in ((GOOD, None), (DEFECTIVE, "good"), (DEFECTIVE, "unsure"), (DEFECTIVE, None)):
        client.put(f"/v1/inspections/{judged(client, content)['id']}/label", json={"label": label})
    seen = SimpleNamespace(arguments=(), pictures=0)

    def run(*arguments):
        name, copy, *flag, images = arguments[: len(command) + 2]
        seen.arguments, seen.pictures = (name, *flag), len(list(new_versions.Path(images).iterdir()))
        (new_versions.Path(copy) / "card.json").touch()

    monkeypatch.setattr(new_versions, "run_command", run)
    answer = client.post(f"/detectors/{NAME}/learn", data={"what": what, "days": days}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert (seen.arguments, seen.pictures) == (command, count)


def test_an_old_period_has_nothing_to_learn_from(client):
    judged(client, GOOD)
    answer = client.post(f"/detectors/{NAME}/learn", data={"what": "good", "days": "1e-9"})
    assert answer.status_code == 409 and "no such pictures" in answer.json()["detail"]
