"""What a person in front of a browser does, and what went wrong meanwhile."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

PATIENCE_MS = 30_000  # guests are emulated, and the machine may be busy
BOOT_MS = 150_000
AXE = Axe()
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HARMFUL = ("serious", "critical")
# a network card of this host came or went, such as another guest's: whatever was being loaded then is loaded again
CARD_CAME_OR_WENT = re.compile(r"net::ERR_NETWORK_CHANGED")
REFUSED_FORM = re.compile(r"^error: Failed to load resource: .* status of 422 ")  # it is shown again, with reasons
DRAWN_LATE = "was preloaded using link preload but not used within a few seconds"  # that a busy machine drew late
# how many pixels of the screen are lit, in the console's page
LIT = """() => {
  const canvas = document.querySelector("#pane-vnc canvas");
  if (!canvas?.width) return 0;
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const paper = copy.getContext("2d", { willReadFrequently: true });
  paper.drawImage(canvas, 0, 0);
  const { data } = paper.getImageData(0, 0, canvas.width, canvas.height);
  let lit = 0;
  for (let i = 0; i < data.length; i += 4) lit += data[i] + data[i + 1] + data[i + 2] > 150;
  return lit;
}"""

expect.set_options(timeout=PATIENCE_MS)


class Window:
    """One person's browser window. Whatever a page complains about is collected: `complaints()`."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self._heard: list[str] = []
        self._allowed = [REFUSED_FORM, CARD_CAME_OR_WENT]
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self._heard.append(f"uncaught: {error.error}"))
        context.on("requestfailed", self._on_failed)
        self.page = context.new_page()

    def allow(self, pattern: str) -> None:
        """This test provokes complaints that match."""
        self._allowed.append(re.compile(pattern))

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console (policy violations are among them) and requests that failed."""
        return [line for line in self._heard if not any(pattern.search(line) for pattern in self._allowed)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and DRAWN_LATE not in message.text:
            self._heard.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _on_failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # left behind by going to another page
            self._heard.append(f"failed: {request.url} {request.failure}")


def sign_in(page: Page, name: str, password: str) -> None:
    """Fill in the form and send it."""
    page.goto("/accounts/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def until(
    condition: Callable[[], Any], what: str, seconds: float = PATIENCE_MS / 1000, page: Page | None = None
) -> Any:
    """Return the first true answer of `condition()`; it may ask the page."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s: {what}"
        if page is not None:
            page.evaluate("() => new Promise(requestAnimationFrame)")  # lets the page go on
    return answer


# --- a document that stays ------------------------------------------------------------------------------------
def mark_document(page: Page) -> None:
    """Put a mark on this document that a reload would lose."""
    page.evaluate("() => { window.stayedSince = performance.timeOrigin }")


def document_stayed(page: Page) -> bool:
    """Is this still the document that was marked?"""
    return bool(page.evaluate("() => window.stayedSince === performance.timeOrigin"))


def pill(page: Page) -> Any:
    """Return the status of the machine whose page this is."""
    return page.locator("#vm-status .sw-status")


# --- accessibility and layout ---------------------------------------------------------------------------------
def settle(page: Page) -> None:
    """Wait until fonts are there and what moves in has arrived: colours are judged as they stay."""
    page.evaluate(
        """async () => {
          await document.fonts.ready;
          const passing = document.getAnimations().filter((a) => a.effect.getComputedTiming().endTime !== Infinity);
          await Promise.allSettled(passing.map((a) => a.finished));
        }"""
    )


def harm(page: Page) -> list[str]:
    """Return what axe finds serious or critical on this page as it stands."""
    settle(page)
    options = {"runOnly": {"type": "tag", "values": AXE_RULES}, "resultTypes": ["violations"]}
    found = AXE.run(page, options=options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for rule in found
        if rule["impact"] in HARMFUL
        for node in rule["nodes"]
    ]


def sideways(page: Page) -> list[str]:
    """Return what makes this page wider than its window; swiped rows and what they hold are meant to be."""
    return list(
        page.evaluate(
            """() => {
              const root = document.documentElement;
              if (root.scrollWidth <= root.clientWidth) return [];
              const wide = [...document.querySelectorAll("body *")]
                .filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1 && e.checkVisibility());
              return wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 120));
            }"""
        )
    )


def save_picture(page: Page, folder: Path, name: str) -> Path:
    """Keep what the page showed when a test failed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)}.png"
    page.screenshot(path=path, full_page=True)
    return path
