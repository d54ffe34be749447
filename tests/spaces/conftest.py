"""One server with the three pages, and one browser, for all tests."""

import pytest
from chromium import NoChromium
from space_server import open_browser, serve_pages


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    try:
        with open_browser() as chromium:
            yield chromium
    except NoChromium as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    """Where the server leaves its notes."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def addresses(browser, server_folder):
    """Name of a page -> its address. The models are the bundled ones."""
    with serve_pages(server_folder) as found:
        yield found


@pytest.fixture
def open_page(browser):
    """`open_page(address)`: a page for a visitor of its own. Nothing may come from elsewhere."""
    contexts, elsewhere = [], []

    def new(address):
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        context.set_default_timeout(120_000)  # a page of a busy machine
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto(address)
        page.wait_for_selector("#run")
        return page

    yield new
    for context in contexts:
        context.close()
    assert elsewhere, "no request was seen at all"
    assert [url for url in elsewhere if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
