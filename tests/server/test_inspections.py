"""The API for machines: what is sent is judged, stored once, and found again."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import vtadl
from helpers.categories import defective_image
from helpers.server_client import DEFECTIVE, GOOD, NAME, send, stored_files
from vtadl.server.tables import Act


def test_an_inspection_says_what_the_detector_says(client, run_folder):
    answer = send(client, GOOD, DEFECTIVE, part="A-1", batch="B", tag=["night", "line 2"])
    assert answer.status_code == 201
    good, defective = answer.json()["inspections"]
    prediction = vtadl.load(run_folder).predict(defective_image(501)[0])
    assert defective["score"] == prediction.score
    assert defective["p_value"] == prediction.p_value
    assert [region["box"] for region in defective["regions"]] == [list(r.box) for r in prediction.regions]
    assert (good["verdict"], defective["verdict"]) == ("good", "defective")
    assert defective["part"] == "A-1" and defective["batch"] == "B" and defective["tags"] == ["line 2", "night"]
    assert client.get(f"/v1/inspections/{defective['id']}").json() == defective


def test_its_pictures_are_served(client, run_folder):
    (one,) = send(client, DEFECTIVE).json()["inspections"]
    links = one["links"]
    assert client.get(links["image"]).content == DEFECTIVE
    stored = np.asarray(Image.open(io.BytesIO(client.get(links["map"]).content)))
    prediction = vtadl.load(run_folder).predict(defective_image(501)[0])
    np.testing.assert_array_equal(stored, prediction.anomaly_map)
    overlay = np.asarray(Image.open(io.BytesIO(client.get(links["overlay"]).content)))
    left, top, right, bottom = one["regions"][0]["box"]
    colourful = np.ptp(overlay.astype(int), axis=2) > 20
    assert colourful[top:bottom, left:right].mean() > 0.5
    assert client.get(f"/v1/inspections/{one['id']}/thumbnail").headers["content-type"] == "image/jpeg"
    assert client.get(f"/v1/inspections/{one['id']}/heat").status_code == 200


def test_a_repeated_key_gives_the_first_answer(client):
    key = {"Idempotency-Key": "k1"}
    first, second = (send(client, GOOD, headers=key).json() for _ in range(2))
    assert first == second
    assert len(client.get("/v1/inspections").json()["inspections"]) == 1
    other = send(client, DEFECTIVE, headers=key)
    assert other.status_code == 409 and "k1" in other.json()["detail"]


def test_one_bad_picture_stores_none(client, tmp_path):
    answer = send(client, GOOD, b"\x89PNG nothing")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "'1.png'" in answer.json()["detail"]
    assert client.get("/v1/inspections").json() == {"inspections": [], "next": None}
    assert not stored_files(tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 422), (b"GIF89a", 422), (GOOD + b"\0" * 300_000, 413), (GOOD[:-40], 422)]
)
def test_what_is_no_picture_is_refused(serve, content, status):
    client = serve(max_image_bytes=200_000)
    assert send(client, content).status_code == status
    assert send(client, GOOD).status_code == 201


def test_a_request_has_limits(serve):
    client = serve(max_images=2, max_request_bytes=100_000)
    assert send(client, GOOD, GOOD, GOOD).status_code == 413
    assert send(client, b"\x89PNG" + b"\0" * 200_000).status_code == 413
    assert client.post(f"/v1/detectors/{NAME}/inspections", files=[("other", b"x")]).status_code == 422
    assert send(client, GOOD, name="nobody").status_code == 404


def test_the_history_pages_by_keyset_and_filters(client):
    ids = [send(client, GOOD, batch=f"b{n % 2}").json()["inspections"][0]["id"] for n in range(5)]
    ids.append(send(client, DEFECTIVE, batch="b1", tag="odd").json()["inspections"][0]["id"])
    seen, before = [], None
    while True:
        page = client.get("/v1/inspections", params={"limit": 2, **({"before": before} if before else {})}).json()
        seen += [one["id"] for one in page["inspections"]]
        before = page["next"]
        if before is None:
            break
    assert seen == ids[::-1]

    def count(**query):
        return len(client.get("/v1/inspections", params=query).json()["inspections"])

    assert (count(batch="b1"), count(verdict="defective"), count(tag="odd"), count(detector="x")) == (3, 1, 1, 0)
    assert (count(since="2100-01-01T00:00:00Z"), count(until="2100-01-01T00:00:00Z")) == (0, 6)
    assert count(since="", verdict="") == 6
    assert client.get("/v1/inspections", params={"verdict": "odd"}).status_code == 422


def test_labels_are_a_history(client):
    (one,) = send(client, DEFECTIVE).json()["inspections"]
    path = f"/v1/inspections/{one['id']}/label"
    assert client.put(path, json={"label": "good", "note": "dust"}).json()["corrected"] is True
    assert client.put(path, json={"label": "defective"}).json()["corrected"] is False
    assert client.put(path, json={"label": None}).json()["label"] is None
    told = client.get(f"/v1/inspections/{one['id']}/labels").json()
    assert [(entry["label"], entry["note"]) for entry in told] == [("good", "dust"), ("defective", ""), (None, "")]
    with client.app.state.server.database.read() as session:
        assert [act.act for act in session.query(Act)].count("labelled") == 3
    assert client.put(path, json={"label": "fine"}).status_code == 422


def test_exports_hold_everything(client):
    send(client, GOOD, DEFECTIVE, part="=1+1", tag=["b", "a"])
    rows = list(csv.DictReader(io.StringIO(client.get("/v1/inspections/export").text)))
    assert [row["verdict"] for row in rows] == ["defective", "good"]
    assert rows[0]["part"] == "'=1+1" and rows[0]["tags"] == "a b"
    lines = client.get("/v1/inspections/export", params={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line) for line in lines] == client.get("/v1/inspections").json()["inspections"]


def test_detectors_and_versions(client, run_folder):
    (one,) = client.get("/v1/detectors").json()
    assert one["name"] == NAME and one["active"] == 1
    assert one["version"]["description"]["card"]["method"] == "by hand"
    assert client.get(f"/v1/detectors/{NAME}/versions").json() == [one["version"]]
    refused = client.post(f"/v1/detectors/{NAME}/rollback")
    assert refused.status_code == 409
    assert client.post(f"/v1/detectors/{NAME}/versions/9/activation").status_code == 404
    assert client.post(f"/v1/detectors/{NAME}/versions/1/activation").json()["active"] is True


def test_health(client):
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == {"status": "ready"}
    send(client, GOOD)
    metrics = client.get("/metrics").text
    assert 'vtadl_inspections_total{detector="parts",verdict="good"} 1.0' in metrics
    assert client.get("/nowhere").json()["title"] == "Not Found"
