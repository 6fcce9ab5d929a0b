"""End-to-end tests: Chromium in front of the running portal, with guests that boot."""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import libvirt
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.browsing import Window, save_picture, sign_in
from tests.live import ROOT, Api, Live
from tests.live_portal import running_portal

PICTURES = ROOT / "var" / "test" / "e2e"
FLAGS = [
    "--no-sandbox",  # root runs it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # a page of ours loads nothing from elsewhere
]

Enter = Callable[..., Window]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put this layer last: Playwright keeps an event loop running, beside which asyncio's tests could not run."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed and report.when == "call":
        for window in getattr(item, "windows", []):
            with contextlib.suppress(Exception):
                report.sections.append(("picture", str(save_picture(window.page, PICTURES, item.name))))
                report.sections.append(("address", window.page.url))
    return report


@pytest.fixture(scope="session")
def live() -> Live:
    return running_portal()


@pytest.fixture(scope="session")
def host() -> Iterator[libvirt.virConnect]:
    """libvirt itself, to see whether what a page says is so."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("qemu:///system")
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def api(live: Live) -> Iterator[Callable[[str], Api]]:
    """Return programs of people: `api("alice")`."""
    with contextlib.ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(live.api(name)))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, live: Live) -> Callable[[str], Any]:
    """Return someone's cookies, got by signing in once."""

    @cache
    def cookies(name: str) -> Any:
        with browser.new_context(base_url=live.url) as context:
            page = context.new_page()
            sign_in(page, name, live.passwords[name])
            page.wait_for_url(f"{live.url}/")
            return context.storage_state()

    return cookies


def _opener(browser: Browser, live: Live, signed_in: Callable[[str], Any], stack: contextlib.ExitStack) -> Enter:
    """Return `enter(name, **options)`, which opens a window for someone, or for nobody yet."""

    def enter(name: str = "", **options: Any) -> Window:
        state = signed_in(name) if name else None
        defaults: dict[str, Any] = {"base_url": live.url, "locale": "en-GB", "viewport": {"width": 1280, "height": 800}}
        context = stack.enter_context(browser.new_context(storage_state=state, **(defaults | options)))
        return Window(context)

    return enter


@pytest.fixture
def enter(
    browser: Browser, live: Live, signed_in: Callable[[str], Any], request: pytest.FixtureRequest
) -> Iterator[Enter]:
    """Open windows as people; at the end of the test no page may have complained about anything."""
    windows: list[Window] = []
    request.node.windows = windows
    with contextlib.ExitStack() as stack:
        plain = _opener(browser, live, signed_in, stack)

        def enter(name: str = "", **options: Any) -> Window:
            windows.append(plain(name, **options))
            return windows[-1]

        yield enter
        heard = [line for window in windows for line in window.complaints()]
    assert heard == []


@pytest.fixture(scope="module")
def enter_to_stay(browser: Browser, live: Live, signed_in: Callable[[str], Any]) -> Iterator[Enter]:
    """Open windows that the tests of a module share; each test says which it looks at."""
    with contextlib.ExitStack() as stack:
        yield _opener(browser, live, signed_in, stack)


@pytest.fixture
def page(window: Window, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of a module's one `window`, in which its tests tell a story; it may not have complained either."""
    request.node.windows = [window]
    yield window.page
    assert window.complaints() == []


@pytest.fixture
def alice(enter: Enter) -> Page:
    return enter("alice").page


@pytest.fixture(scope="session")
def machine(api: Callable[[str], Api]) -> Iterator[dict[str, Any]]:
    """One micro machine of alice's in harbor that runs; whoever changes it puts it back."""
    made = api("alice").create(f"e2e-{secrets.token_hex(3)}", project="harbor", password="open-sesame-42")
    yield made
    api("alice").delete(made["id"])
