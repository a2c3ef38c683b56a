"""One server and one browser for all tests of the page: Debian's Chromium, with a WAV file for a microphone."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import page_world as world

import songprint
from songprint.accounts.audit import Audit
from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.config import ServerSettings, Settings
from songprint.jobs.jobs import Jobs
from songprint.jobs.usage import Usage
from songprint.server.app import create_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120_000  # milliseconds: machines of a continuous integration may be busy
STOP_TIMEOUT = 20.0  # seconds within which the server stops

# Records violations of the content security policy, and the audio that the page plays.
WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
window.starts = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, offset, ...more) {
  const samples = Array.from(this.buffer.getChannelData(0)).filter((_, at) => at % 40 === 0);
  window.starts.push({ when, offset, samples, rate: this.buffer.sampleRate / 40 });
  return start.call(this, when, offset, ...more);
};
"""


@dataclass
class Site:
    """The server, its library, the browser, and the files of its user."""

    address: str
    files: world.Files
    library: songprint.Library
    browser: object
    microphone: Path  # the WAV file that the fake microphone plays
    keys: Keys
    jobs: Jobs
    usage: Usage
    audit: Audit

    def get(self, path: str) -> dict:
        """The JSON that the server returns for a path."""
        with urllib.request.urlopen(f"{self.address}{path}") as answer:
            return json.load(answer)

    def play_to_microphone(self, wav: Path) -> None:
        """Play this file to the microphone from now on."""
        shutil.copy(wav, self.microphone)


@dataclass
class Seen:
    """Requests to other hosts, and errors, of a page."""

    origin: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Site]:
    """A server with four tunes in its library."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of the page need playwright")
    folder = tmp_path_factory.mktemp("page")
    files = world.make(folder)
    microphone = shutil.copy(files.known_excerpt, folder / "microphone.wav")
    with _served(folder, files) as (address, library), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        database = library.store.catalog.database
        keys = Keys(database, Vault(database, library.path))
        yield Site(
            address, files, library, browser, Path(microphone), keys, Jobs(database), Usage(database), Audit(database)
        )
        browser.close()


@pytest.fixture(scope="session")
def job(site) -> str:
    """The id of a job that has scanned the broadcast."""
    sent = urllib.request.Request(
        f"{site.address}/v1/jobs",
        site.files.broadcast.read_bytes(),
        {"content-type": "video/mp4", "x-file-name": "Evening%20show.mp4"},
    )
    with urllib.request.urlopen(sent) as answer:
        made = json.load(answer)["id"]
    for _ in range(10):
        if site.get(f"/v1/jobs/{made}?wait=30")["state"] == "finished":
            return made
    raise AssertionError(site.get(f"/v1/jobs/{made}"))


@contextmanager
def _served(folder: Path, files: world.Files) -> Iterator[tuple[str, songprint.Library]]:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = Settings(server=ServerSettings(port=port, clip_processes=1, job_processes=1, allow_private=True))
    with songprint.open(folder / "library", create=True, settings=settings) as library:
        library.add(files.music, workers=1)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(library, settings), log_level="warning", lifespan="on", timeout_graceful_shutdown=2
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        try:
            yield f"http://localhost:{port}", library
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT)
            listener.close()


@pytest.fixture
def visit(site):
    """A function that opens a view of the page in a window of the given size.

    At the end, every opened page is checked: no requests to other hosts, no violations of the content security policy,
    and no errors of scripts.
    """
    opened = []

    def open_view(view: str, *, width: int = 1280, height: int = 860, theme: str = "light", **more: object):
        context = site.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            permissions=["microphone"],
            accept_downloads=True,
            **more,
        )
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH)
        page, seen = context.new_page(), Seen(urlsplit(site.address).netloc)
        page.on("request", lambda request: _record_request(seen, request.url))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        opened.append((context, page, seen))
        page.goto(f"{site.address}/#/{view}")
        page.wait_for_selector("h1", state="attached")
        page.seen = seen
        return page

    yield open_view
    for context, page, seen in opened:
        violations = page.evaluate("window.violations")
        context.close()
        assert (seen.foreign, violations, seen.errors) == ([], [], [])


def _record_request(seen: Seen, url: str) -> None:
    parsed = urlsplit(url)
    if parsed.scheme in ("http", "https", "ws", "wss") and parsed.netloc != seen.origin:
        seen.foreign.append(url)
