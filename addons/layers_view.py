"""Layers: a content view for mitmproxy's interfaces that shows any body as the tree of codings it unfolds into.

    mitmweb -s addons/layers_view.py

Choose the view `layers` beside a message's body. It is never chosen by itself: unfolding takes longer than showing.
Everything shown is made inert; the bounds of `unfold` hold. Interface: mitmproxy's content views (11.0 and 12.x).
"""

import io
from collections.abc import Iterator
from typing import Any

from mitmproxy import contentviews
from rich.console import Console

from audit.decoding.unfold import unfold
from audit.reporting.tree import branches

WIDTH = 160


def layers(data: bytes) -> str:
    """The tree as text."""
    out = io.StringIO()
    tree = unfold(data)
    Console(file=out, width=WIDTH, color_system=None, highlight=False, markup=False).print(branches(tree))
    for limit in tree.limits:
        out.write(f"not opened in full: {limit.detail}\n")
    return out.getvalue()


class LayersView:
    """The view, in the shape of both versions: 11 calls it, 12 calls `prettify`."""

    name = "layers"
    syntax_highlight = "none"

    def __call__(self, data: bytes, **_: Any) -> tuple[str, Iterator[list[tuple[str, str]]]]:
        """A title and the tree, line by line."""
        return "Layers", ([("text", line)] for line in layers(data).splitlines())

    def prettify(self, data: bytes, metadata: Any) -> str:  # noqa: ARG002 - the interface
        """The tree."""
        return layers(data)

    def render_priority(self, data: bytes, *_: Any, **__: Any) -> float:  # noqa: ARG002 - the interface
        """Only when asked for."""
        return -1

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


VIEW: Any = LayersView()


class LayersViewAddon:
    """The addon."""

    def load(self, _: Any) -> None:
        """Adds the view."""
        contentviews.add(VIEW)

    def done(self) -> None:
        """Takes it away again, where mitmproxy can."""
        if VIEW in getattr(contentviews, "views", ()):
            contentviews.remove(VIEW)


addons = [LayersViewAddon()]
