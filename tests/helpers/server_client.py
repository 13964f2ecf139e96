"""What the server's tests send, and how."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from helpers.categories import defective_image, good_image

NAME = "parts"


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


GOOD, DEFECTIVE = png(good_image(500)), png(defective_image(501)[0])


def stored_files(data: Path) -> list[Path]:
    """What inspections left in a server's folder."""
    return [path for name in ("incoming", "pictures", "maps") for path in (data / name).rglob("*") if path.is_file()]


def send(client: TestClient, *contents: bytes, name: str = NAME, headers: dict | None = None, **query):
    files = [("images", (f"{number}.png", content, "image/png")) for number, content in enumerate(contents)]
    return client.post(f"/v1/detectors/{name}/inspections", files=files, params=query, headers=headers)
