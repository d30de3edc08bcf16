"""Pages as programs and browsers see them."""

import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

NEEDED = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no chromium and chromedriver here: apt-get install chromium chromium-driver",
)


@contextmanager
def chromium():
    """A Chromium without a window, which is driven by Selenium and keeps what pages log."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1200,1000"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


class Seen(HTMLParser):
    """What stands in a page: the cells of its tables, its embedded data by id, and the places that it refers to."""

    EMPTY = {"meta", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.places, self.heads, self.data, self.tags = [], [], [], [], {}, set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.places += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.EMPTY:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        if "td" in tags or "th" in tags:
            self.rows[-1][-1] += data
        if tags and tags[-1] == "h2":
            self.heads.append(data)
        for tag, called in self.open:
            if tag == "script" and called:
                self.data[called] = self.data.get(called, "") + data
