"""The pictures of docs/server.md: the server's pages on the demo's parts, in a real browser.

python benchmarks/server_pictures.py DEMO docs/pictures     (DEMO: the folder that vtadl demo made; needs Chromium)
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

URL, PORT = "http://127.0.0.1:8178", 8178
SIZE = {"width": 1280, "height": 860}


def main() -> None:
    demo, out = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "vtadl", "serve", *(str(one) for one in sorted((demo / "runs").iterdir()))]
        server = subprocess.Popen([*command, "--data", scratch, "--port", str(PORT)], start_new_session=True)
        try:
            wait()
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = chromium.new_context(viewport=SIZE).new_page()
                take(page, demo / "images/macaroni/test", out)
                chromium.close()
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def take(page: Page, images: Path, out: Path) -> None:
    files = [file for label in ("good", "bad") for file in sorted((images / label).iterdir())]
    page.goto(f"{URL}/?detector=macaroni")
    for file in files:
        page.set_input_files("#files", str(file))
        page.wait_for_selector("#result:not([aria-busy]) .result")
        page.wait_for_timeout(500)
    page.click("#recent .defective")
    page.wait_for_selector(".result[data-verdict=defective]")
    page.locator(".heat").evaluate("image => image.decode()")
    keep(page, out / "server_inspect.jpg")
    page.goto(f"{URL}/history?detector=macaroni")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1000)
    keep(page, out / "server_history.jpg")


def keep(page: Page, file: Path) -> None:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, quality=82, optimize=True)


def wait() -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{URL}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.3)


if __name__ == "__main__":
    main()
