"""A tiny calibrated detector, trained once, and a server in this process that scores in a thread."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import vtadl
from helpers.categories import good_image, make_category
from helpers.server_client import NAME
from vtadl.cli import main
from vtadl.server.app import create_app
from vtadl.server.settings import Settings


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("detector")
    category = make_category(root / "images", train=24)
    detector = vtadl.train(category, preset="gaussian", model={"image_size": 64})
    # Few images are held out, so the threshold is set by hand: above every good one of this generator.
    threshold = 1.2 * max(detector.predict(good_image(seed)).score for seed in range(500, 506))
    detector.calibrate(threshold=threshold)
    detector.save(root / NAME)
    return root / NAME


@pytest.fixture(scope="session")
def export_folder(run_folder) -> Path:
    """The same detector without PyTorch: a server of it starts in a second."""
    folder = run_folder.parent / "export" / NAME
    images = str(run_folder.parent / "images/train/good")
    assert main(["export", str(run_folder), "--to", "onnx", "--images", images, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def serve(run_folder, tmp_path) -> Iterator[Callable[..., TestClient]]:
    """Starts servers on the same data folder, one after the other or side by side."""
    clients = []

    def start(folders=(run_folder,), **settings) -> TestClient:
        chosen = Settings(**{"data": tmp_path / "data", "workers": 0, **settings})
        app = create_app(chosen, folders)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve) -> TestClient:
    return serve()
