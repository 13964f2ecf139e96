"""A person at the line, in a real browser: sees, zooms, corrects, tries a threshold, reads Korean; all by keyboard."""

import shutil
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from helpers.server_client import DEFECTIVE, GOOD, NAME
from helpers.server_process import ServerProcess
from vtadl.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium")


@pytest.fixture(scope="module")
def server(run_folder, tmp_path_factory):
    process = ServerProcess(tmp_path_factory.mktemp("browser") / "data", [run_folder], "--workers", "0")
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page on which nothing may go wrong."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(120_000)
    found, page = [], context.new_page()
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    yield page
    context.close()
    assert found == []


def picture(content: bytes) -> dict:
    return {"name": "part.png", "mimeType": "image/png", "buffer": content}


def inspect(page, server, content: bytes) -> None:
    page.goto(server.url)
    page.set_input_files("#files", picture(content))
    page.wait_for_selector(".result")


def test_a_picture_is_judged_zoomed_and_corrected_by_key(page, server):
    inspect(page, server, DEFECTIVE)
    assert page.inner_text(".verdict h2") == "Defective"
    page.locator(".heat").evaluate("image => image.decode()")
    assert page.evaluate("document.querySelector('.heat').style.opacity") == "0.7"
    page.fill(".opacity", "20")
    assert page.evaluate("document.querySelector('.heat').style.opacity") == "0.2"
    before = page.inner_text(".scale")
    page.focus(".stage-frame")
    for _ in range(20):
        page.keyboard.press("+")
    assert page.inner_text(".scale") == "3200 %" != before
    assert "pixels" in page.get_attribute(".stage", "class")
    page.press(".region", "Enter")
    assert page.inner_text(".scale") != "3200 %"
    page.focus(".stage-frame")
    page.keyboard.press("0")
    assert page.inner_text(".scale") == before
    page.keyboard.press("g")
    page.wait_for_selector("button[data-label=good][aria-pressed=true]")
    page.keyboard.press("u")
    page.wait_for_selector("button[data-label=good]:not([aria-pressed])")


@pytest.mark.slow
def test_a_picture_is_dropped(page, server):
    page.goto(server.url)
    page.evaluate(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
            document.getElementById("drop").dispatchEvent(event);
        }""",
        list(GOOD),
    )
    page.wait_for_selector(".result")
    assert page.inner_text(".verdict h2") == "Good"


@pytest.mark.slow
def test_a_picture_is_pasted(page, server):
    page.goto(server.url)
    page.evaluate(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        list(DEFECTIVE),
    )
    page.wait_for_selector(".result")
    assert page.inner_text(".verdict h2") == "Defective"


@pytest.mark.slow
def test_the_camera_takes_a_picture(page, server):
    page.context.grant_permissions(["camera"])
    page.goto(server.url)
    page.click("#camera")
    ready = "video => video.videoWidth || new Promise(done => video.addEventListener('loadedmetadata', done))"
    page.locator("#video").evaluate(f"async video => {{ await ({ready})(video); }}")
    page.focus("#snap")
    page.keyboard.press("Enter")
    page.wait_for_selector(".result")
    assert "camera.png" in page.inner_text(".facts")
    page.click("#camera-off")
    assert page.evaluate("document.activeElement.id") == "camera"


@pytest.mark.slow
def test_everything_on_the_first_page_is_reached_by_tab(page, server):
    inspect(page, server, DEFECTIVE)
    page.evaluate("document.activeElement.blur()")
    wanted = page.evaluate(
        """() => [...document.querySelectorAll("a, button, select, input, summary, [tabindex='0']")]
            .filter((one) => !one.disabled && one.tabIndex >= 0 && one.checkVisibility()).length"""
    )
    reached = set()
    for _ in range(wanted + 1):
        page.keyboard.press("Tab")
        place = "[...document.querySelectorAll('*')].indexOf(document.activeElement)"
        reached.add(page.evaluate(place))
    assert len(reached - {-1, 0}) >= wanted


@pytest.mark.slow
def test_the_history_is_corrected_by_key(page, server):
    inspect(page, server, DEFECTIVE)
    page.goto(f"{server.url}/history?verdict=defective")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("g")
    page.wait_for_selector(".entry:focus .corrected")
    page.keyboard.press("u")
    page.wait_for_selector(".entry:focus:not(:has(.said))")
    page.keyboard.press("Enter")
    page.wait_for_url("**/inspections/*")


@pytest.mark.slow
def test_the_history_is_filtered_by_the_clock_of_the_place(browser, server):
    context = browser.new_context(timezone_id="Asia/Seoul")
    page = context.new_page()
    inspect(page, server, GOOD)
    page.goto(f"{server.url}/history?view=table")
    entries = page.locator(".entry").count()
    written = page.inner_text(".entry time")
    at = page.get_attribute(".entry time", "datetime")
    assert datetime.fromisoformat(at).astimezone(ZoneInfo("Asia/Seoul")).strftime("%Y-%m-%d %H:%M:%S") == written
    page.fill("[data-moment=since]", "2099-01-01T09:00")
    page.click("button.primary")
    page.wait_for_selector(".empty")
    assert "since=2099-01-01T00%3A00%3A00" in page.url
    assert page.input_value("[data-moment=since]") == "2099-01-01T09:00"
    page.fill("[data-moment=since]", "2020-01-01T09:00")
    page.click("button.primary")
    page.wait_for_selector(".entry")
    assert page.locator(".entry").count() == entries
    context.close()


@pytest.mark.slow
def test_a_threshold_is_tried_asked_for_and_rolled_back(page, server):
    for content, key in ((GOOD, "g"), (DEFECTIVE, "d")):
        inspect(page, server, content)
        page.keyboard.press(key)
        page.wait_for_selector("button[aria-pressed=true]")
    page.goto(f"{server.url}/detectors/{NAME}")
    assert "0 /" in page.inner_text("#missed")
    page.focus("#threshold")
    page.keyboard.press("End")
    assert not page.inner_text("#missed").startswith("0 /")
    page.click("#change")
    page.click("dialog[open] button.primary")
    page.wait_for_selector("tbody tr:nth-child(2)")
    page.click("text=Activate")
    page.wait_for_selector("tbody tr:nth-child(2) .badge.good")


@pytest.mark.slow
def test_the_browser_decides_the_language(browser, server):
    context = browser.new_context(locale="ko-KR")
    page = context.new_page()
    page.goto(server.url)
    assert page.get_attribute("html", "lang") == "ko"
    assert page.inner_text("#choose") == "사진 선택"
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_violation(browser, server, scheme):
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    axe = Path(package.__file__).with_name("axe.min.js")
    context = browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    inspect(page, server, DEFECTIVE)
    addresses = ["/", "/history", "/history?view=table", "/detectors", f"/detectors/{NAME}", f"/detectors/{NAME}/drift"]
    addresses += ["/new", "/settings", "/settings/audit", "/docs", "/sign-in"]
    addresses.append(f"/inspections/{page.get_attribute('.result', 'data-inspection')}")
    found = []
    for address in [None, *addresses]:
        if address is not None:
            page.goto(server.url + address)
        page.add_script_tag(path=axe)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        result = page.evaluate("(tags) => axe.run({ runOnly: tags })", tags)
        found += [
            (address, one["id"], node["html"][:150], node["failureSummary"][-200:])
            for one in result["violations"]
            for node in one["nodes"]
        ]
    context.close()
    assert found == []


@pytest.mark.slow
def test_a_detector_is_trained_from_upload_to_verdict(page, server, run_folder):
    page.goto(f"{server.url}/new")
    page.fill("[name=name]", "uploaded")
    files = sorted((run_folder.parent / "images/train/good").glob("*.png"))
    page.set_input_files("[name=pictures]", [str(file) for file in files])
    page.click("button.primary")
    page.wait_for_selector("text=The detector is ready", timeout=240_000)
    page.click("text=Inspect >> nth=-1")
    page.wait_for_selector("#detector")
    assert page.input_value("#detector") == "uploaded"
    page.set_input_files("#files", picture(DEFECTIVE))
    page.wait_for_selector(".result")
    assert "uploaded, version 1" in page.inner_text(".facts")


@pytest.mark.slow
def test_two_roles_see_what_they_may(page, server, capsys):
    data = ["--data", str(server.data)]
    tokens = {}
    for role in ("operator", "admin"):
        assert main(["serve", "token", "add", role, "--role", role, *data]) == 0
        tokens[role] = capsys.readouterr().out.splitlines()[0]
    page.goto(server.url)
    page.fill("[name=token]", tokens["operator"])
    page.keyboard.press("Enter")
    page.wait_for_selector("#drop")
    assert page.locator("nav a").all_inner_texts() == ["Inspect", "History", "Detectors"]
    page.click("text=Sign out")
    page.fill("[name=token]", tokens["admin"])
    page.keyboard.press("Enter")
    page.click("nav >> text=Settings")
    page.wait_for_selector("text=operator")
    page.click("text=Sign out")
    page.wait_for_selector("[name=token]")
    assert main(["serve", "token", "remove", "operator", *data]) == 0
    assert main(["serve", "token", "remove", "admin", *data]) == 0
