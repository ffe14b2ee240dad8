"""Pages of the repository's own root, such as CONTRIBUTING.md, shown on the site as well.

They are copied into the folder ``project`` beside the guides, and links are turned as the pages lie
there. On GitHub they hold as they are written.
"""

import posixpath
import re
from pathlib import Path

PAGES = (
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "changelog.d/README.md",
)
_LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def place_on_site(path: str) -> str:
    """Where a file of the repository is found from ``docs/``; both are paths from their folders."""
    if path == "examples":  # a folder is no page: what is made of it is
        return "gallery/index.rst"
    return f"project/{path}" if path in PAGES else posixpath.relpath(path, "docs")


def turned(text: str, folder: str, place: str) -> str:
    """Turn the links of a page.

    Parameters
    ----------
    text
        Markdown.
    folder
        The page's folder in the repository.
    place
        The folder in ``docs/`` where it is shown.
    """

    def turn(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        return f"]({posixpath.relpath(place_on_site(path), place)}{link[2] or ''})"

    return _LINK.sub(turn, text)


def copy_pages(app, _config) -> None:
    """Write the pages into the folder ``project``, unless they are there as they are."""
    root = Path(app.srcdir).parent
    for name in PAGES:
        page, folder = Path(app.srcdir, "project", name), posixpath.dirname(name)
        text = (root / name).read_text(encoding="utf-8")
        text = turned(text, folder or ".", posixpath.join("project", folder))
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def turn_links(app, docname, content) -> None:
    """Lead the links of a guide to those pages."""
    if "/" not in docname and Path(app.srcdir, f"{docname}.md").exists():
        content[0] = turned(content[0], "docs", ".")


def setup(app):
    """Hear of the start, and of every page that is read."""
    app.connect("config-inited", copy_pages)
    app.connect("source-read", turn_links)
    return {"parallel_read_safe": True}
