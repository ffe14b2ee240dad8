"""The directive ``command-help``: what a command line prints for ``--help``, made by its parser."""

import importlib
import os

from docutils import nodes
from docutils.parsers.rst import Directive


class CommandHelp(Directive):
    """The help text of the module that is named, as ``python -m`` prints it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make a literal block of the text."""
        os.environ["COLUMNS"] = "84"  # argparse asks for the width of the terminal
        text = importlib.import_module(self.arguments[0]).make_parser().format_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app):
    """Name the directive to Sphinx."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
