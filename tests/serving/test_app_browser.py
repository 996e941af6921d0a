"""The page in a real, headless Chromium, from upload to download; the model is one whose answer is known.

Screenshots go into pytest's temporary folder, or into the one that ECMVAE_SCREENSHOTS names.
"""

import base64
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from listening_model import ListeningModel, Output
from PIL import Image

from ecmvae.data.video import probe, read_clip, write_video
from ecmvae.serving.app import build_page, launch, own_folder
from ecmvae.serving.quotas import UploadStore
from ecmvae.serving.service import Limits, PredictionService, SessionStore

pytestmark = pytest.mark.browser

LIMITS = Limits(seconds=10.0, megabytes=1)
WIDTH, HEIGHT, FPS, SECONDS, RATE = 160, 120, 20, 4, 16_000
SOUND_FROM = 2.0
SUMMARY = "document.querySelector('#summary textarea, #summary input').value"
WAIT = 45_000  # milliseconds; a busy machine is slow


def box_at(time: float) -> tuple[slice, slice]:
    """Rows and columns of the white box that moves to the right."""
    left = round(10 + 20 * time)
    return slice(40, 80), slice(left, left + 50)


def draw_clip(path: Path, seconds: float = SECONDS) -> Path:
    """A white box moves over dark blue; a tone sounds from the second second on."""
    frames = np.empty((round(seconds * FPS), HEIGHT, WIDTH, 3), np.uint8)
    frames[:] = (10, 20, 90)
    for index, frame in enumerate(frames):
        frame[box_at(index / FPS)] = 255
    moments = np.arange(round(seconds * RATE)) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 440 * moments) * (moments >= SOUND_FROM)
    write_video(path, frames, FPS, tone.astype(np.float32), RATE)
    return path


class GatedModel(ListeningModel):
    """Marks what is bright while it is loud, and can be held in the middle of a job."""

    def __init__(self) -> None:
        super().__init__(64, 2)
        self.entered, self.open = Event(), Event()
        self.open.set()

    def forward(self, *args: Any, **kwargs: Any) -> Output:
        self.entered.set()
        assert self.open.wait(60)
        return super().forward(*args, **kwargs)


@dataclass
class Site:
    """A running page and a browser that looks at it."""

    address: str
    folder: Path
    model: GatedModel
    context: Any
    screenshots: Path
    requests: list[str] = field(default_factory=list)

    def visit(self, width: int = 1280, scheme: str = "light") -> Any:
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(WAIT)
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.address)
        page.locator("#start").wait_for()
        return page

    def jobs(self) -> list[Path]:
        return list(self.folder.glob("job-*"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # a camera that beeps
        media = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=media)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clip") / "my box.mp4")


@pytest.fixture(scope="module")
def site(browser: Any, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    screenshots = Path(
        os.environ.get("ECMVAE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    )
    model = GatedModel()
    service = PredictionService(model, "cpu", LIMITS)
    with own_folder() as folder:
        uploads = UploadStore(LIMITS)
        page = build_page(service, LIMITS, SessionStore(folder), uploads, [clip])
        yield Site(launch(page, LIMITS, uploads), folder, model, browser.new_context(), screenshots)
        page.close(verbose=False)
    assert not folder.exists()


@pytest.fixture
def page(site: Site) -> Iterator[Any]:
    page = site.visit()
    yield page
    page.close()


def upload(page: Any, video: Path) -> None:
    page.locator("#source input[type=file]").first.set_input_files(video)
    page.locator("#source video").wait_for()


def find_what_sounds(page: Any) -> str:
    """Press the button and wait for the result."""
    page.locator("#start").click()
    page.wait_for_function(
        f"() => /frames;/.test({SUMMARY}) && document.querySelector('#result video')?.readyState >= 2"
    )
    return str(page.evaluate(SUMMARY))


def shown(page: Any, box: str, time: float) -> np.ndarray:
    """(H, W, 3) pixels that the video in `box` shows at a moment, as the browser draws them."""
    picture = page.evaluate(
        """async ([box, time]) => {
            const video = document.querySelector(box + " video");
            const seeked = new Promise((done) => video.addEventListener("seeked", done, {once: true}));
            video.currentTime = time;
            await seeked;
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
            canvas.getContext("2d").drawImage(video, 0, 0);
            return canvas.toDataURL("image/png");
        }""",
        [box, time],
    )
    png = base64.b64decode(picture.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def change(page: Any, time: float, where: tuple[slice, slice]) -> float:
    """How far the result's pixels differ from the original's, on average over a part of the picture."""
    before, after = (shown(page, box, time).astype(int) for box in ("#source", "#result"))
    return float(abs(after - before)[where].mean())


def until(condition: Callable[[], bool], page: Any) -> None:
    """Wait for something that happens on the server."""
    end = time.monotonic() + WAIT / 1000
    while not condition():
        assert time.monotonic() < end
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def calls() -> Iterator[set[str]]:
    """Hosts that this process connects to while the module's tests run."""
    hosts: set[str] = set()
    listening = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "socket.connect" and isinstance(arguments[1], tuple):
            hosts.add(str(arguments[1][0]))
        elif listening and event == "socket.getaddrinfo":
            hosts.add(str(arguments[0]))

    sys.addaudithook(note)  # stays for good, hence the switch
    yield hosts
    listening = False


def test_upload_to_download(
    calls: set[str], site: Site, page: Any, clip: Path, tmp_path: Path
) -> None:
    upload(page, clip)
    share = float(find_what_sounds(page).partition("seen in ")[2].partition("%")[0]) / 100
    page.screenshot(path=site.screenshots / "result-1280-light.png", full_page=True)
    # the sound begins half-way, and a key frame hears a second
    assert share == pytest.approx(0.5, abs=0.15)
    assert page.evaluate("document.querySelector('#result video').duration") == pytest.approx(
        SECONDS, abs=0.05
    )

    inside = slice(46, 74), slice(round(10 + 20 * 3.5) + 8, round(10 + 20 * 3.5) + 42)
    outside = slice(10, 30), slice(0, WIDTH)
    assert change(page, 3.5, inside) > 40  # the box sounds: tinted
    assert change(page, 3.5, outside) < 8  # nothing but compression
    assert change(page, 0.5, inside) < 8  # the box is silent

    got = {}
    for label in ("Overlay video", "Mask video", "COCO JSON", "NumPy arrays"):
        with page.expect_download() as waiting:
            page.locator("#downloads").get_by_text(label).click()
        got[label] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(got[label])
    assert [path.name for path in got.values()] == [
        f"my box{ending}" for ending in (".overlay.mp4", ".mask.mp4", ".coco.json", ".npz")
    ]
    assert abs(read_clip(got["Overlay video"]).waveform).max() > 0.3  # with its sound
    assert probe(got["Mask video"]).duration == pytest.approx(SECONDS, abs=0.05)
    with np.load(got["NumPy arrays"]) as arrays:
        mask = arrays["masks"][round(3.5 * FPS)]
    truth = np.zeros_like(mask)
    truth[box_at(3.5)] = True
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert len(json.loads(got["COCO JSON"].read_text())["images"]) == SECONDS * FPS

    lanes = page.locator("#timeline .lane").all_inner_texts()
    assert [lane.partition("\n")[0].split(" ")[0] for lane in lanes] == [
        "sound",
        "masked",
        "uncertainty",
    ]
    page.locator("#timeline .lanes").click(position={"x": 10, "y": 10})  # near the beginning
    page.wait_for_function("() => document.querySelector('#result video').currentTime < 0.2")

    assert {urlsplit(url).hostname for url in site.requests if url.startswith("http")} == {
        "127.0.0.1"
    }
    assert {urlsplit(url).scheme for url in site.requests} <= {"http", "data", "blob"}
    assert {host for host in calls if not host.startswith("127.")} <= {"localhost", "::1"}


def test_choices_change_the_result(site: Site, page: Any) -> None:
    page.locator(".gallery-item").click()  # the example clip
    page.locator("#source video").wait_for()
    page.get_by_label("spotlight").check()
    threshold = page.locator("#threshold input[type=range]")
    threshold.press("End")
    assert threshold.input_value() == "0.95"
    page.locator("#samples input[type=range]").press("ArrowRight")
    page.locator("#smoothing input[type=range]").press("Home")
    strict = find_what_sounds(page)
    page.screenshot(path=site.screenshots / "spotlight.png", full_page=True)
    silent = slice(10, 30), slice(0, WIDTH)
    assert change(page, 3.5, silent) > 15  # what is silent lies in the dark
    assert change(page, 3.5, (slice(46, 74), slice(90, 120))) < 8  # what sounds does not

    site.model.entered.clear()
    threshold.press("Home")
    page.locator("#start").click()
    page.wait_for_function(f"(old) => ![old, ''].includes({SUMMARY})", arg=strict)
    assert not site.model.entered.is_set()  # drawn again, not predicted again
    assert site.model.seen_shapes[-1][0] == site.model.seen_shapes[-2][0]


def test_cancelling_a_job_and_a_queued_one(site: Site, page: Any, tmp_path: Path) -> None:
    site.model.open.clear()
    site.model.entered.clear()
    upload(page, draw_clip(tmp_path / "first.mp4", 3))
    page.locator("#start").click()
    until(site.model.entered.is_set, page)
    second = site.visit()
    upload(second, draw_clip(tmp_path / "second.mp4", 3))
    second.locator("#start").click()
    second.get_by_text("queue: 1/1").wait_for()
    second.screenshot(path=site.screenshots / "queued.png")
    assert len(site.jobs()) == 1
    for each in (second, page):
        each.locator("#cancel").click()
        each.wait_for_function(f"() => {SUMMARY} == 'Cancelled.'")
    site.model.open.set()
    until(lambda: not site.jobs(), page)
    find_what_sounds(second)  # the page still works
    assert len(site.jobs()) == 1
    second.close()  # who leaves takes the results along
    until(lambda: not site.jobs(), page)


def test_a_bad_file_gets_one_line(site: Site, page: Any, tmp_path: Path) -> None:
    bad = tmp_path / "not a video.mp4"
    bad.write_text("nothing to see")
    upload(page, bad)
    page.locator("#start").click()
    line = page.get_by_text("is not a video that can be read")
    line.wait_for()
    page.screenshot(path=site.screenshots / "bad.png")
    # and not where the server keeps it
    assert line.inner_text().startswith("not a video.mp4 is not")
    assert "\n" not in line.inner_text()
    assert not site.jobs()


def test_an_old_result_does_not_stay_beside_another_video(
    site: Site, page: Any, clip: Path, tmp_path: Path
) -> None:
    upload(page, clip)
    find_what_sounds(page)
    assert page.locator("#timeline .lane").count() == 3
    page.locator("#source").get_by_label("Clear").click()
    bad = tmp_path / "bad.mp4"
    bad.write_text("nothing to see")
    upload(page, bad)
    page.wait_for_function(f"() => {SUMMARY} == ''")
    assert page.locator("#timeline .lane").count() == 0
    assert page.locator("#result video").count() == 0
    assert not page.get_by_text("Overlay video").is_visible()


def test_too_large_and_too_long(site: Site, page: Any, tmp_path: Path) -> None:
    upload(page, draw_clip(tmp_path / "long.mp4", 12))
    page.locator("#start").click()
    page.get_by_text("the video has 12 s, more than 10 s: cut it first").wait_for()
    page.locator("#source").get_by_label("Clear").click()
    (tmp_path / "large.mp4").write_bytes(bytes(1_100_000))
    page.locator("#source input[type=file]").first.set_input_files(tmp_path / "large.mp4")
    page.get_by_text("exceed the maximum allowed size of 1.0 Mb").wait_for()
    assert not site.jobs()


def test_webcam(site: Site, page: Any) -> None:
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    record = page.get_by_label("start recording")  # its label stays while its text becomes "Stop"
    record.click()
    page.wait_for_timeout(3000)
    record.get_by_text("Stop").click()
    page.wait_for_function(
        "() => document.querySelector('#source video')?.currentSrc.includes('/file=')"
    )
    assert "frames" in find_what_sounds(page)
    page.screenshot(path=site.screenshots / "webcam.png", full_page=True)
    (recorded,) = site.folder.rglob("*.webm")
    length = float(read_clip(recorded).timestamps[-1])  # a busy machine begins to record late
    assert 0 < length < 4
    assert page.evaluate("document.querySelector('#result video').duration") == pytest.approx(
        length, abs=0.2
    )


def serious_violations(page: Any) -> list[str]:
    """What axe-core finds that keeps people from using a page: contrast, names of controls, roles."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_layout(site: Site, clip: Path, width: int, scheme: str) -> None:
    page = site.visit(width, scheme)
    upload(page, clip)
    find_what_sounds(page)
    shown(page, "#source", 3.0)
    shown(page, "#result", 3.0)
    page.screenshot(path=site.screenshots / f"layout-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    left, right = (page.locator(f"{box} video").bounding_box() for box in ("#source", "#result"))
    if width == 1280:
        assert left["y"] == pytest.approx(right["y"], abs=2)
        assert left["height"] == pytest.approx(right["height"], abs=2)
        assert right["x"] > left["x"] + left["width"]
    else:
        assert right["y"] > left["y"] + left["height"]
        assert min(left["width"], right["width"]) > 300
        page.evaluate("scrollTo(0, 0)")
        button = page.locator("#start").bounding_box()
        assert 700 < button["y"] + button["height"] <= 900  # in reach without scrolling
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean(
        [int(value) for value in ground[ground.index("(") + 1 : -1].split(",")[:3]]
    )
    assert (brightness < 60) == (scheme == "dark")
    found = serious_violations(page)
    assert not found, "\n".join(found)
    page.close()


def test_the_browser_contacts_only_the_page(page: Any) -> None:
    blocked = page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (event) => done(event.blockedURI));
            fetch("http://192.0.2.1/").catch(() => {});
        })"""
    )
    assert blocked.startswith("http://192.0.2.1")


def test_password(site: Site) -> None:
    with own_folder() as folder:
        uploads = UploadStore(LIMITS)
        page = build_page(
            PredictionService(site.model, "cpu", LIMITS), LIMITS, SessionStore(folder), uploads
        )
        address = launch(page, LIMITS, uploads, password="open sesame")
        tab = site.context.new_page()
        requests: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address)
        tab.get_by_label("username").fill("ecmvae")
        tab.get_by_label("password").fill("guess")
        tab.get_by_role("button", name="Login").click()
        tab.get_by_text("Incorrect Credentials").wait_for()
        assert tab.locator("#start").count() == 0
        tab.get_by_label("username").fill("ecmvae")  # the page forgets it
        tab.get_by_label("password").fill("open sesame")
        tab.get_by_role("button", name="Login").click()
        tab.locator("#start").wait_for()
        assert {urlsplit(url).hostname for url in requests if url.startswith("http")} == {
            "127.0.0.1"
        }
        tab.close()
        page.close(verbose=False)
