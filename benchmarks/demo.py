"""Measure how fast `mnist demo` answers, alone and under 20 clients at once with bad uploads among them.

    uv run python -m benchmarks.demo

It serves the models that stand in models/, and prints the tables of docs/demo.md.
"""

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import psutil
import requests
from PIL import Image, ImageDraw

from benchmarks.results import parser
from stages.process.provenance import cores, processor

ALONE, ROUNDS, CLIENTS, BAD = 200, 20, 20, 5


def drawing(random: np.random.Generator) -> bytes:
    """Return a drawing as the page sends it, white on black: PNG, 140x140."""
    picture = Image.new("L", (140, 140))
    corners = [(int(x), int(y)) for x, y in random.integers(25, 115, (4, 2))]
    ImageDraw.Draw(picture).line(corners, fill=255, width=13, joint="curve")
    return _png(picture)


def photo(random: np.random.Generator) -> bytes:
    """Return a picture of a digit on paper, as large as the page sends one: JPEG, 800x600."""
    light = np.linspace(170, 240, 800)[None, :] + random.normal(0, 4, (600, 800))
    picture = Image.fromarray(light.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(picture).line([(400, 152), (392, 448)], fill=50, width=35)
    file = BytesIO()
    picture.convert("RGB").save(file, "JPEG")
    return file.getvalue()


def bad_uploads() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Return contents and headers that must be refused, by what is wrong with them."""
    return {
        "no picture": (b"GIF89a, or so it says", {}),
        "25 million pixels": (_png(Image.new("1", (5_000, 5_000))), {}),
        "9 MB": (bytes(9_000_000), {}),
        "another site's": (drawing(np.random.default_rng(0)), {"Origin": "http://evil.example"}),
        "another name": (drawing(np.random.default_rng(0)), {"Host": "evil.example"}),
    }


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def timed(session: requests.Session, url: str, content: bytes) -> float:
    """Return the milliseconds of one request, which must be answered."""
    began = time.perf_counter()
    session.post(url, data=content, timeout=120).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def row(name: str, times: list[float]) -> str:
    return f"| {name} | {np.median(times):.0f} ms | {np.percentile(times, 95):.0f} ms | {len(times)} |"


def measure_alone(url: str) -> None:
    random, session = np.random.default_rng(0), requests.Session()
    print("| alone | median | 95th percentile | requests |\n|---|---:|---:|---:|")
    print(row("probabilities of a drawing", [timed(session, f"{url}/predict/drawing", drawing(random))
                                              for _ in range(ALONE)]))  # fmt: skip
    print(row("reasons for a drawing", [timed(session, f"{url}/reasons/drawing", drawing(random))
                                         for _ in range(ALONE // 2)]))  # fmt: skip
    print(row("probabilities of a photo", [timed(session, f"{url}/predict/picture", photo(random))
                                            for _ in range(ALONE // 10)]), flush=True)  # fmt: skip


def measure_together(url: str, server: psutil.Process) -> None:
    refused: Counter[tuple[str, int]] = Counter()
    before = server.memory_info().rss

    def good(number: int) -> tuple[list[float], list[float]]:
        random, session = np.random.default_rng(number), requests.Session()
        answers, reasons = [], []
        for turn in range(ROUNDS):
            content = drawing(random)
            answers.append(timed(session, f"{url}/predict/drawing", content))
            if turn % 4 == 3:
                reasons.append(timed(session, f"{url}/reasons/drawing", content))
        return answers, reasons

    def bad(number: int) -> tuple[list[float], list[float]]:
        with stalled(url):
            for _ in range(ROUNDS):
                for name, (content, headers) in bad_uploads().items():
                    try:
                        status = requests.post(
                            f"{url}/predict/picture", data=content, headers=headers, timeout=120
                        ).status_code
                    except requests.ConnectionError:
                        # Refused and closed while it was still being sent.
                        status = 0
                    refused[name, status] += 1
        return [], []

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients: list[Callable] = [bad] * BAD + [good] * (CLIENTS - BAD)
        done = [*pool.map(lambda each: each[1](each[0]), enumerate(clients))]
    wall = time.perf_counter() - began
    answers, reasons = ([time for client in done for time in client[part]] for part in (0, 1))
    print(f"\n| {CLIENTS} at once, without a pause | median | 95th percentile | requests |\n|---|---:|---:|---:|")
    print(row("probabilities of a drawing", answers))
    print(row("reasons for a drawing", reasons))
    print(f"\n{(len(answers) + len(reasons) + sum(refused.values())) / wall:.0f} requests per second; refused:")
    for (name, status), count in sorted(refused.items()):
        print(f"- {name}: {count} with {status or 'a closed connection'}")
    after = server.memory_info().rss
    print(f"Memory of the server: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after.")
    print(f"Then, alone again: {timed(requests.Session(), f'{url}/predict/test', b'0'):.0f} ms")


def stalled(url: str) -> socket.socket:
    """Return a connection whose request never comes to its end."""
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.sendall(b"POST /predict/picture HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
    return connection


def main() -> None:
    parser(__doc__).parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    print(f"{processor()}, {cores()} cores; load {psutil.getloadavg()[0]:.1f} before it began")
    began = time.perf_counter()
    command = (sys.executable, "-m", "commands", "demo", "--no-browser", "--port", str(port))
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            try:
                requests.get(url, timeout=60)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        print(f"Start: {time.perf_counter() - began:.0f} s\n")
        measure_alone(url)
        measure_together(url, psutil.Process(server.pid))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
