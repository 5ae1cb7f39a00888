"""`mnist demo`: the page in a real browser, its server in this process, and the command itself."""

import csv
import json
import logging
import shutil
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from copy import copy
from dataclasses import replace
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from commands.demo import allowed_hosts, run
from commands.demo_answers import Answers, load_answers
from commands.demo_app import FORMATS, make_app
from commands.reasons import explainer, neighbours
from commands.trained import load_trained
from stages.dataset.prepared import load_info, load_split
from stages.evaluation.attribution import integrated_gradients
from stages.learners.keras_classifier import KerasClassifier
from stages.process.errors import UserError
from tests.browser import chromium, troubles_of
from tests.conftest import PROJECT, Clone
from tests.learners.test_training import VALIDATION
from tests.learners.test_training import run as train_small
from tests.servers import free_port

MODELS = ["mlp", "cnn", "random_forest"]
# Strokes in shares of the drawing area's side, as a hand draws them.
DIGITS = {
    "1": [[(0.53, 0.15), (0.5, 0.85)]],
    "3": [[(0.3, 0.25), (0.5, 0.15), (0.66, 0.3), (0.45, 0.48), (0.68, 0.6), (0.62, 0.8), (0.45, 0.85), (0.3, 0.78)]],
    "7": [[(0.28, 0.22), (0.72, 0.22), (0.6, 0.45), (0.45, 0.82)]],
}


def load(folder: Path) -> Answers:
    """The answers of the models in `folder`."""
    with chdir(folder):
        info = load_info()
        return load_answers(info, load_trained(info))


def application(answers: Answers) -> FastAPI:
    return make_app(answers, allowed_hosts("127.0.0.1"))


@pytest.fixture(scope="module")
def loaded(reproduced) -> Answers:
    return load(reproduced.folder)


@pytest.fixture(scope="module")
def app(loaded: Answers) -> FastAPI:
    return application(loaded)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1")


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve the application from a thread, and yield its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def opened(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """The page, with its `troubles`, in a window of its own."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.troubles = troubles_of(page)
    page.goto(url)
    yield page
    context.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url) as page:
        yield page
        assert page.troubles == []


def draw(page: Page, digit: str) -> None:
    page.locator("#paper").scroll_into_view_if_needed()
    box = page.locator("#paper").bounding_box()
    for stroke in DIGITS[digit]:
        for index, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5 if index else 1)
            if not index:
                page.mouse.down()
        page.mouse.up()


def answers(page: Page) -> list[str]:
    """What each model says, once the reasons are there too."""
    expect(page.locator(".why.there")).to_have_count(len(MODELS), timeout=60_000)
    return page.locator(".answer").all_inner_texts()


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def paper_with_a_one() -> bytes:
    picture = Image.new("L", (300, 400), 235)
    ImageDraw.Draw(picture).line([(160, 80), (150, 320)], fill=40, width=28)
    return png(np.asarray(picture))


def ink_of_a_one() -> bytes:
    pixels = np.zeros((140, 140), np.uint8)
    pixels[20:120, 62:78] = 255
    return png(pixels)


# -------------------------------------------------------------------------------------------- in the browser


@pytest.mark.parametrize("digit", DIGITS)
def test_a_digit_drawn_with_the_mouse_gets_answers_and_reasons_of_all_models(page: Page, digit: str):
    draw(page, digit)
    said = answers(page)
    assert len(said) == 3
    # These small models are right on 95 to 98 of 100 images; the large ones are asked below.
    assert said.count(digit) >= 2, said
    assert page.locator("#seen").evaluate("image => image.naturalWidth") == 8
    assert page.locator(".model").first.locator(".fill").count() == 10
    heights = page.locator(".model").first.locator(".fill").evaluate_all("all => all.map(each => each.clientHeight)")
    # 68 pixels are certainty.
    assert 60 < sum(heights) < 76
    assert page.locator("#nearest img").count() == 10
    assert "ms" in page.inner_text("#times")


@pytest.mark.long
@pytest.mark.parametrize("digit", DIGITS)
def test_the_models_of_mnist_know_a_digit_drawn_with_the_mouse(mnist_url: str, browser: Browser, digit: str):
    with opened(browser, mnist_url) as page:
        draw(page, digit)
        assert answers(page) == [digit] * 3
        expect(page.locator("#headline")).to_have_text(f"All three say {digit}")
        assert page.troubles == []


@pytest.fixture(scope="module")
def mnist_url() -> Iterator[str]:
    """The page on the models that stand in models/ of this project, where those are MNIST's."""
    files = ["models/mlp.keras", "models/cnn.keras", "models/random_forest.skops", "data/prepared/dataset.json"]
    if missing := [file for file in files if not (PROJECT / file).is_file()]:
        pytest.skip(f"{missing[0]} is missing: it needs the models of MNIST, from uv run dvc repro")
    if (dataset := json.loads((PROJECT / files[-1]).read_text())["dataset"]) != "mnist":
        pytest.skip(f"the models of this project are those of {dataset}, not of MNIST")
    with served(application(load(PROJECT))) as address:
        yield address


def test_undo_and_clear_go_back_step_by_step(page: Page):
    draw(page, "1")
    one = answers(page)
    page.locator("[data-test]").first.click()
    expect(page.locator("#detail")).to_contain_text("Test image")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#detail")).not_to_contain_text("Test image")
    assert answers(page) == one
    page.keyboard.press("Escape")
    expect(page.locator("#headline")).to_have_text("Waiting for a digit")
    assert page.get_by_role("button", name="Clear").is_disabled()
    page.keyboard.press("Control+z")
    assert answers(page) == one
    page.keyboard.press("Control+z")
    expect(page.locator("#headline")).to_have_text("Waiting for a digit")
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_the_keyboard_draws(page: Page):
    page.locator("#paper").focus()
    for key in ("ArrowUp", *["ArrowUp"] * 8, "Space", *["ArrowDown"] * 17, "Space"):
        page.keyboard.press(key)
    assert answers(page).count("1") >= 2
    before = page.locator("#width").input_value()
    page.keyboard.press("]")
    assert int(page.locator("#width").input_value()) == int(before) + 1
    # The mouse takes over from a pen that the keyboard has put down.
    page.keyboard.press("Space")
    draw(page, "1")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert answers(page).count("1") >= 2


def test_a_finger_draws(browser: Browser, url: str):
    with opened(browser, url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        box = page.locator("#paper").bounding_box()
        touch = page.context.new_cdp_session(page)

        def send(kind: str, *places: tuple[float, float]) -> None:
            points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        send("touchStart", (0.5, 0.2))
        for y in np.linspace(0.25, 0.8, 12):
            send("touchMove", (0.5, float(y)))
        send("touchEnd")
        assert answers(page).count("1") >= 2
        # The page did not scroll meanwhile.
        assert page.evaluate("scrollY") == 0
        assert page.troubles == []


def test_pictures_are_opened_dropped_and_pasted(page: Page):
    one = paper_with_a_one()
    page.locator("#file").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": one})
    assert answers(page).count("1") >= 2
    for event in ("paste", "drop"):
        page.keyboard.press("Escape")
        expect(page.locator("#headline")).to_have_text("Waiting for a digit")
        page.evaluate(
            """([kind, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "one.png", {type: "image/png"}));
                const event = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true})
                    : new DragEvent(kind, {dataTransfer: data, bubbles: true});
                document.body.dispatchEvent(event);
            }""",
            [event, list(one)],
        )
        assert answers(page).count("1") >= 2


def test_what_is_no_picture_is_said_so(page: Page):
    page.locator("#file").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_have_text("This is no picture that the browser can read.")


def test_a_large_photo_is_made_smaller_before_it_is_sent(page: Page):
    photo = Image.new("RGB", (4000, 3000), (230, 228, 220))
    ImageDraw.Draw(photo).line([(2050, 600), (2000, 2400)], fill=(30, 30, 60), width=220)
    file = BytesIO()
    photo.save(file, "JPEG")
    page.evaluate(
        "() => { const ask = fetch; window.fetch = (...all) => { window.sent = all[1].body; return ask(...all); }; }"
    )
    page.locator("#file").set_input_files({"name": "p.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
    assert answers(page).count("1") >= 2
    assert page.evaluate("createImageBitmap(sent).then(({width, height}) => [width, height])") == [800, 600]


def test_a_large_picture_stays_transparent(page: Page):
    picture = Image.new("RGBA", (1200, 1200))
    ImageDraw.Draw(picture).line([(620, 200), (590, 1000)], fill=(0, 0, 0, 255), width=90)
    file = BytesIO()
    picture.save(file, "PNG")
    page.locator("#file").set_input_files({"name": "p.png", "mimeType": "image/png", "buffer": file.getvalue()})
    assert answers(page).count("1") >= 2


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.long)])
def test_the_page_fits_a_phone(browser: Browser, url: str, scheme: str):
    with opened(browser, url, viewport={"width": 390, "height": 844}, color_scheme=scheme) as page:
        page.locator("[data-test]").last.click()
        answers(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        light = page.evaluate("getComputedStyle(document.body).backgroundColor").startswith("rgb(24")
        assert light == (scheme == "light")
        assert page.troubles == []


def test_on_a_phone_the_names_of_clothes_stand_whole_below_their_images(browser: Browser, loaded: Answers):
    clothes = ["T-shirt/top", "Ankle boot", "Trouser", "Pullover", "Sneaker"] * 2
    with (
        served(application(replace(loaded, info=replace(loaded.info, class_names=clothes)))) as address,
        opened(browser, address, viewport={"width": 390, "height": 844}) as page,
    ):
        page.locator("[data-test]").last.click()
        answers(page)
        labels = page.locator("#nearest .label")
        expect(labels).to_have_count(10)
        assert labels.evaluate_all("all => all.every(each => each.scrollWidth <= each.clientWidth)")


def test_a_screen_reader_gets_names_and_answers(page: Page):
    for button in ("Undo", "Clear", "Open"):
        expect(page.get_by_role("button", name=button)).to_be_visible()
    expect(page.get_by_role("slider", name="Stroke width")).to_be_visible()
    expect(page.get_by_role("application", name="Drawing area")).to_be_visible()
    assert page.evaluate("[...document.images].every(image => image.hasAttribute('alt'))")
    draw(page, "1")
    answers(page)
    expect(page.locator("[aria-live]")).to_contain_text(page.inner_text("#headline"))
    assert page.get_by_role("list", name="MLP: ").count() == 1


def test_what_cannot_be_drawn_is_uploaded(loaded: Answers, browser: Browser):
    names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    clothes = copy(loaded)
    clothes.info = replace(loaded.info, dataset="fashion-mnist", class_names=names)
    app = application(clothes)
    assert TestClient(app, base_url="http://127.0.0.1").post("/predict/drawing", content=ink_of_a_one()).json() == {
        "error": "fashion-mnist cannot be drawn"
    }
    with served(app) as url, opened(browser, url, viewport={"width": 390, "height": 844}) as page:
        expect(page.locator("#headline")).to_have_text("Waiting for a picture")
        assert page.locator("#width").count() == 0
        draw(page, "1")
        expect(page.locator("#headline")).to_have_text("Waiting for a picture")
        page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": paper_with_a_one()})
        assert set(answers(page)) <= set(names)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.troubles == []


# -------------------------------------------------------------------------------------------- the server


def test_each_kind_of_picture_is_answered(client: TestClient):
    for kind, content in {"drawing": ink_of_a_one(), "picture": paper_with_a_one(), "test": b"0"}.items():
        answer = client.post(f"/predict/{kind}", content=content).json()
        assert list(answer["models"]) == MODELS
        for probabilities in answer["models"].values():
            assert len(probabilities) == 10
            assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        reasons = client.post(f"/reasons/{kind}", content=content).json()
        assert list(reasons["models"]) == MODELS
        assert all(each["evidence"].startswith("data:image/png") for each in reasons["models"].values())
        assert len(reasons["nearest"]) == 10


def test_a_test_image_is_what_the_models_were_tested_on(client: TestClient, reproduced):
    with open(reproduced.folder / "reports/cnn/mistakes.csv") as file:
        mistakes = list(csv.DictReader(file))
    assert mistakes
    for mistake in mistakes[:3]:
        p = client.post("/predict/test", content=mistake["image"]).json()["models"]["cnn"]
        assert str(int(np.argmax(p))) == mistake["predicted"]
        assert max(p) == pytest.approx(float(mistake["probability"]), abs=1e-3)


def test_an_empty_drawing_has_no_answer(client: TestClient):
    empty = png(np.zeros((140, 140), np.uint8))
    assert client.post("/predict/drawing", content=empty).json()["models"] == {}
    assert client.post("/reasons/drawing", content=empty).json() == {"models": {}, "nearest": []}


def promising(picture: bytes, width: int, height: int) -> bytes:
    """The PNG with a header of so many pixels, which must never be decoded."""
    header = b"IHDR" + struct.pack(">II", width, height) + picture[24:29]
    return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]


def paper_as(name: str) -> bytes:
    """The paper with a one in that format of Pillow."""
    with BytesIO() as stream:
        Image.open(BytesIO(paper_with_a_one())).convert("RGB").save(stream, name)
        return stream.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_that_the_page_offers_is_read(client: TestClient, name: str):
    assert list(client.post("/predict/picture", content=paper_as(name)).json()["models"]) == MODELS


def test_a_format_that_the_page_does_not_offer_is_refused(client: TestClient):
    response = client.post("/predict/picture", content=paper_as("PPM"))
    assert (response.status_code, response.json()) == (
        422,
        {"error": "this is no picture that can be read; send one of PNG, JPEG, GIF, WEBP, BMP, TIFF"},
    )


def test_the_largest_drawing_is_answered_and_one_of_a_pixel_more_refused(client: TestClient):
    assert client.post("/predict/drawing", content=png(np.zeros((512, 512), np.uint8))).status_code == 200
    assert client.post("/predict/drawing", content=png(np.zeros((1, 513), np.uint8))).status_code == 413


def broken() -> dict[str, tuple[str, bytes, int]]:
    photo = paper_with_a_one()
    return {
        "nothing": ("picture", b"", 422),
        "text": ("picture", b"hello", 422),
        "cut off": ("picture", photo[: len(photo) // 2], 422),
        "script": ("picture", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 422),
        "PostScript": ("picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422),
        "too many pixels": ("picture", promising(photo, 5_000, 5_000), 413),
        "far too many pixels": ("picture", promising(photo, 60_000, 60_000), 413),
        "too many bytes": ("picture", bytes(8_000_001), 413),
        "large drawing": ("drawing", png(np.zeros((600, 600), np.uint8)), 413),
        "long drawing": ("drawing", png(np.zeros((1, 5_000), np.uint8)), 413),
        "no number": ("test", b"1; drop", 404),
        "negative": ("test", b"-1", 404),
        "beyond the last": ("test", b"360", 404),
        "no such kind": ("sound", b"", 422),
    }


@pytest.mark.parametrize("name", broken())
def test_a_bad_upload_is_refused_in_words(client: TestClient, name: str):
    kind, content, status = broken()[name]
    for task in ("predict", "reasons"):
        response = client.post(f"/{task}/{kind}", content=content)
        assert response.status_code == status
        # FastAPI itself refuses these two.
        if name not in ("no such kind", "too many bytes"):
            error = response.json()["error"]
            assert error
            assert "\n" not in error
            assert "Traceback" not in error


def test_a_body_without_a_length_is_refused_before_its_end(url: str):
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as endless:
        endless.sendall(b"POST /predict/picture HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9):
            endless.sendall(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
        # Its end does not come.
        assert b" 413 " in endless.recv(1000).partition(b"\r\n")[0]


def test_a_body_that_does_not_come_to_its_end_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("commands.demo_app.PATIENCE", 0.3)
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as slow:
        slow.sendall(b"POST /predict/test HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n1")
        assert b" 408 " in slow.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", ""])
def test_a_foreign_host_is_refused(client: TestClient, host: str):
    assert client.get("/", headers={"Host": host}).status_code == 400
    assert client.post("/predict/test", content=b"0", headers={"Host": host}).status_code == 400


def test_where_it_is_open_to_others_it_has_this_machine_s_names_and_addresses_alone():
    hosts = allowed_hosts("0.0.0.0")
    assert {"localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()} <= {*hosts}
    assert not {"*", "0.0.0.0", "::", "[::]", ""} & {*hosts}
    assert allowed_hosts("Box.example") == ["127.0.0.1", "[::1]", "box.example", "localhost"]
    assert allowed_hosts("fe80::1") == ["127.0.0.1", "[::1]", "[fe80::1]", "localhost"]


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://127.0.0.1.evil.example", "http://127.0.0.1:9", "null", "", "http://[", "file://"],
)
def test_a_foreign_origin_is_refused(client: TestClient, origin: str):
    response = client.post("/predict/test", content=b"0", headers={"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000"])
def test_the_page_itself_may_ask(client: TestClient, host: str):
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.post("/predict/test", content=b"0", headers=headers).status_code == 200


def test_every_answer_has_the_security_headers(client: TestClient):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for response in (page, client.get("/nowhere"), client.get("/", headers={"Host": "evil.example"})):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
    # FastAPI's own pages load their script from elsewhere.
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 404


def test_twenty_at_once_are_all_answered_with_bad_ones_among_them(url: str):
    contents = [ink_of_a_one(), b"no picture", ink_of_a_one(), bytes(9_000_000)]

    def ask(number: int) -> list[int]:
        task, content = ("predict", "reasons")[number % 5 == 0], contents[number % 4]
        statuses = []
        for _ in range(3):
            try:
                statuses.append(requests.post(f"{url}/{task}/drawing", data=content, timeout=60).status_code)
            except requests.ConnectionError:
                # The server hung up on what was still being sent.
                statuses.append(413)
        return statuses

    with ThreadPoolExecutor(20) as pool:
        found = [*pool.map(ask, range(20))]
    wanted = [200, 422, 200, 413]
    assert found == [[wanted[number % 4]] * 3 for number in range(20)]
    assert requests.get(url, timeout=10).ok


def test_an_upload_that_breaks_off_is_no_error_of_the_server(url: str):
    told, logger, handler = [], logging.getLogger("uvicorn.error"), logging.Handler()
    handler.emit = told.append
    logger.addHandler(handler)
    try:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as connection:
            connection.sendall(b"POST /predict/picture HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
            # It has begun to wait for the rest.
            time.sleep(0.3)
        assert requests.get(url, timeout=10).ok
        time.sleep(0.3)
    finally:
        logger.removeHandler(handler)
    assert told == []


def test_attribution_is_that_of_the_report_and_covering_finds_the_ink(loaded: Answers):
    test = loaded.test
    image, label = np.asarray(test.images[3]), int(test.labels[3])
    for each in loaded.trained:
        found = explainer(each.classifier, loaded.keras)(image, label)
        assert found.shape == image.shape
        # The MLP here averages over shifts, the CNN does not.
        if each.model.history:
            assert_is_the_reports(found, each.classifier, image, label)
        else:
            assert found[image > 0].sum() > 0.1


def test_attribution_of_several_networks_is_that_of_the_report():
    classifier = KerasClassifier(train_small(networks=2, test_time_shift=1)[0])
    image = VALIDATION.images[0]
    with ThreadPoolExecutor(max_workers=1) as keras:
        for label in range(3):
            assert_is_the_reports(explainer(classifier, keras)(image, label), classifier, image, label)


def assert_is_the_reports(found: np.ndarray, classifier: KerasClassifier, image: np.ndarray, label: int) -> None:
    wanted = integrated_gradients(classifier, image[None], np.array([label]))[0]
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_the_nearest_training_images_are_of_the_same_digit(reproduced):
    with chdir(reproduced.folder):
        training, test = load_split("train"), load_split("test")
    found = neighbours(training)
    same = [
        label == test.labels[index]
        for index in range(50)
        for _, label in found.nearest(np.asarray(test.images[index]), 5)
    ]
    assert np.mean(same) > 0.9
    # A training image is its own nearest one.
    assert np.array_equal(found.nearest(np.asarray(training.images[7]), 1)[0][0], training.images[7])


# -------------------------------------------------------------------------------------------- the command


# The same server without the models, which take seconds to load.
BARE = """
from argparse import Namespace
from fastapi import FastAPI, Request
from commands.demo import serve
from commands.serving import bound_socket

app = FastAPI()

@app.post("/predict/test")
async def predict(request: Request) -> int:
    return len(await request.body())

arguments = Namespace(host="127.0.0.1", port={port}, no_browser=True)
serve(bound_socket("127.0.0.1", {port}, ""), arguments, app)
"""


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ctrl_c_ends_it_at_once_with_exit_code_0(request: pytest.FixtureRequest, whole: bool):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ("mnist", "demo", "--no-browser", "--port", str(port))
    if not whole:
        command = (sys.executable, "-c", BARE.format(port=port))
    server = (request.getfixturevalue("reproduced") if whole else Clone(PROJECT)).start(*command)
    try:
        # To the line, or to the end of a server that could not start.
        printed = [*takewhile("Ctrl-C ends it.\n".__ne__, server.stdout)]
        assert server.poll() is None, printed
        assert any(url in line for line in printed)
        # A browser keeps its connection open, and one upload does not come to its end.
        kept = requests.Session()
        assert kept.post(f"{url}/predict/test", data=b"0", timeout=30).ok
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /predict/test HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n1")
            time.sleep(0.2)
            began = time.monotonic()
            server.send_signal(signal.SIGINT)
            rest = server.communicate(timeout=30)[0]
        # An upload may take 20 seconds.
        assert time.monotonic() - began < 10
        assert server.returncode == 0
        assert rest.strip() == ""
    finally:
        if server.poll() is None:
            server.kill()


def test_one_connection_too_many_is_answered_with_503_and_the_next_once_there_is_room():
    port = free_port()
    few = "import commands.demo\ncommands.demo.CONNECTIONS = 3\n"
    server = Clone(PROJECT).start(sys.executable, "-c", few + BARE.format(port=port))

    def ask() -> int:
        return requests.post(f"http://127.0.0.1:{port}/predict/test", data=b"0", timeout=30).status_code

    try:
        assert "Ctrl-C ends it.\n" in server.stdout
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.2)
            assert ask() == 503
        time.sleep(0.2)
        assert ask() == 200
    finally:
        server.kill()


def test_a_port_that_is_taken_is_named_before_anything_is_loaded(tmp_path: Path):
    with socket.socket() as taken, chdir(tmp_path):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be used .*uv run mnist demo --port {port + 1}"):
            run(Namespace(host="127.0.0.1", port=port, no_browser=True))
    # An address of nobody's, and one of the documentation's.
    for host in ("nowhere.invalid", "192.0.2.1"):
        with pytest.raises(UserError, match=f"{host}:8000 cannot be used .*uv run mnist demo --host 127.0.0.1"):
            run(Namespace(host=host, port=8000, no_browser=True))


def test_it_may_be_called_in_any_folder_of_the_project(reproduced: Clone, tmp_path: Path):
    shutil.copytree(reproduced.folder / "data/prepared", tmp_path / "data/prepared")
    (tmp_path / ".dvc").mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(reproduced.folder / name, tmp_path / name)
    shutil.copytree(reproduced.folder / "data/sets", tmp_path / "data/sets")
    (tmp_path / "docs").mkdir()
    with chdir(tmp_path / "docs"), pytest.raises(UserError, match="models/mlp.keras: missing"):
        run(Namespace(host="127.0.0.1", port=free_port(), no_browser=True))


def test_missing_data_and_models_are_named(tmp_path: Path):
    with chdir(tmp_path), pytest.raises(UserError, match="data/prepared: missing; .*\nRun it: uv run dvc repro"):
        run(Namespace(host="127.0.0.1", port=free_port(), no_browser=True))
