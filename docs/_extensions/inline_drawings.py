"""Drawings stand in the page itself, so that they follow its light or dark mode.

An SVG file shown by ``<img>`` knows the reader's system, not the button of the page.
"""

from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform


class InlineDrawings(SphinxPostTransform):
    """Replace each image of ``drawings/*.svg`` by the file's own elements."""

    default_priority = 5  # before images are collected for copying
    formats = ("html",)

    def run(self, **_) -> None:
        """Walk through the page."""
        for image in list(self.document.findall(nodes.image)):
            path = Path(self.env.srcdir, image["uri"])
            if path.suffix == ".svg" and path.parent.name == "drawings":
                svg = path.read_text(encoding="utf-8")
                image.replace_self(nodes.raw("", svg, format="html"))


def setup(app):
    """Hand the transform to Sphinx."""
    app.add_post_transform(InlineDrawings)
    return {"parallel_read_safe": True}
