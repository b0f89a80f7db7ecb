"""Pictures of the reports and pages for the documentation, from real runs, in a headless Chromium.

    alien demo -o demo
    python benchmarks/screenshots.py demo

writes ``docs/report.png`` (the report of the demo), ``docs/benchmark.png`` (the page of ``alien report`` for the grid
``core.yaml``), and ``docs/ui.png`` and ``docs/review.png`` (the pages of ``alien serve`` with the model of the demo).
It needs Chromium, its driver and the development requirements.
"""

import base64
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[1]
ALIEN = [sys.executable, "-c", "from aligned_entropy.cli import main; main()"]
WIDTH = 1000  # pixels of the pictures
COLORS = 64  # of a picture; more make the files larger, and nothing looks better
SECONDS = 120
TEXTS = [
    "the goalie was out for the second period",
    "is there a driver for this card under windows",
    "my bike needs a new chain before the weekend",
    "the shuttle launch was delayed again",
    "what would you pay for it , used but working",
    "they passed the law without asking anybody",
]


@contextmanager
def browser():
    """Chromium with a profile of its own."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        for name in (
            "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
            "disable-component-update", "disable-sync", "hide-scrollbars", f"window-size={WIDTH},1400",
            f"user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(f"--{name}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


@contextmanager
def server(demo, store):
    """``alien serve`` for the model of the demo; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--head", demo / "head", "--ui", "--store", store, "--review-share", "1", "--port", port]
    process = subprocess.Popen([*ALIEN, "serve", *map(str, [demo / "classifier", *words])])
    address = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: urllib.request.urlopen(f"{address}/readyz").status == 200)
        yield address
    finally:
        process.terminate()
        process.wait(SECONDS)


def wait(condition):
    """Wait until a condition holds; an error counts as no."""
    WebDriverWait(None, SECONDS, ignored_exceptions=[Exception]).until(lambda _: condition())


def picture(driver, name, height):
    """Write the upper part of a page, or all of it if ``height`` is None, with few colors."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": min(height or size["height"], size["height"]), "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    path = ROOT / "docs" / name
    image.quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main(demo):
    with browser() as driver, tempfile.TemporaryDirectory() as folder:
        driver.get((demo / "report.html").resolve().as_uri())
        picture(driver, "report.png", 1950)
        results = Path(folder, "results.html")
        subprocess.run([*ALIEN, "report", ROOT / "benchmarks/configs/core.yaml", "-o", results], check=True)
        driver.get(results.as_uri())
        picture(driver, "benchmark.png", 1500)
        with server(demo, Path(folder, "store.sqlite")) as address:
            driver.get(f"{address}/ui/")
            driver.find_element("id", "texts").send_keys("\n".join(TEXTS))
            driver.find_element("id", "predict").click()
            wait(lambda: len(driver.find_elements("css selector", "#words li")) == 3)
            picture(driver, "ui.png", None)
            body = f'{{"texts": {TEXTS!r}}}'.replace("'", '"').encode()
            request = urllib.request.Request(f"{address}/v1/predict", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request)
            driver.set_window_size(WIDTH, 800)
            driver.get(f"{address}/ui/review")
            wait(lambda: driver.find_element("id", "task").get_attribute("data-ready"))
            driver.find_element("id", "accept").click()
            time.sleep(2)  # for the next text
            picture(driver, "review.png", None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
