"""Check a built site: ``python docs/check_site.py FOLDER``.

Every link within the site has a page, a file and an anchor at its end, and no page loads anything
from elsewhere. What is wrong is printed, a line each; the exit code is then 1.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADING = {
    "audio": ("src",), "embed": ("src",), "iframe": ("src",), "img": ("src", "srcset"),
    "image": ("href", "xlink:href"), "input": ("src",), "object": ("data",), "script": ("src",),
    "source": ("src", "srcset"), "track": ("src",), "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}  # fmt: skip
"""Elements that load what their attributes name; a link does so by its ``rel``."""
_LINKS_NOT_LOADED = {"author", "canonical", "help", "index", "license", "next", "prev", "search"}
_IN_STYLES = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


@dataclass
class Page(HTMLParser):
    """What an HTML file loads, links to, and can be linked to at."""

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes of an element."""
        values = {name: value or "" for name, value in attrs}
        self._is_style = tag == "style"
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name in _LOADING.get(tag, ()):
            if name in values:
                parts = values[name].split(",") if name == "srcset" else [values[name]]
                self.loads += [part.split()[0] for part in parts if part.strip()]
        if tag == "link" and not set(values.get("rel", "").split()) & _LINKS_NOT_LOADED:
            self.loads.append(values.get("href", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.loads += addresses_in_style(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        """Look at a style sheet within the page."""
        if self._is_style:
            self.loads += addresses_in_style(data)


def addresses_in_style(text: str) -> list[str]:
    """Addresses that a style sheet loads."""
    return [address or imported for address, imported in _IN_STYLES.findall(text)]


def is_elsewhere(address: str) -> bool:
    """Whether an address leads out of the site, to another host."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp", "ws", "wss")


def read_pages(folder: Path) -> dict[Path, Page]:
    """Read all HTML files below a folder."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        page = pages[path.resolve()] = Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def faults_of(folder: Path) -> Iterator[str]:
    """What is wrong in a site.

    Parameters
    ----------
    folder
        Where its ``index.html`` is.

    Yields
    ------
    str
        A line that names the file and the address.
    """
    folder = folder.resolve()
    pages = read_pages(folder)
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        for address in page.loads:
            if is_elsewhere(address):
                yield f"{name}: loads {address} from elsewhere"
        for address in page.loads + page.links:
            parts = urlsplit(address)
            if is_elsewhere(address) or parts.scheme:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                yield f"{name}: no file at {address}"
            elif parts.fragment and there in pages:
                anchors = pages[there].anchors | {"top"}
                if unquote(parts.fragment) not in anchors:
                    yield f"{name}: no anchor at {address}"
    for path in sorted(folder.rglob("*.css")):
        for address in addresses_in_style(path.read_text(encoding="utf-8")):
            if is_elsewhere(address):
                yield f"{path.relative_to(folder).as_posix()}: loads {address} from elsewhere"


def main(arguments: list[str]) -> int:
    """Print what is wrong; return the exit code."""
    if len(arguments) != 1 or not Path(arguments[0], "index.html").is_file():
        print("docs/check_site.py: expected one folder with an index.html", file=sys.stderr)
        return 2
    faults = list(faults_of(Path(arguments[0])))
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
