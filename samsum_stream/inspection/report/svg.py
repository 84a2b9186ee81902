"""A figure of matplotlib as SVG for the inside of a page: coloured by the page, in light and dark, and without styles.

The page's policy takes no `style` attributes, so that they become attributes of their own; and its text is real text in
the font of the page.
"""

import io
import re
from collections.abc import Mapping
from functools import partial
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_LINK = re.compile(r"(?<=^#)[\w-]+|(?<=url\(#)[\w-]+")


def inline_svg(figure: Figure, *, name: str, label: str, colours: Mapping[str, str]) -> Markup:
    """The figure.

    Args:
        name: Stands before the ids in it, which the page shares with other figures.
        label: What it shows, for those who do not see it.
        colours: What the page puts in the place of the figure's colours, each by its hex value.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata=_METADATA)
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = {id for element in root.iter() for value in element.attrib.values() for id in _LINK.findall(value)}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element, name=name, used=used, colours=colours)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attributes(
    element: ElementTree.Element, *, name: str, used: set[str], colours: Mapping[str, str]
) -> dict[str, str]:
    found = {_local(key): value for key, value in element.attrib.items()}
    styles = dict(re.findall(r"([\w-]+): ([^;]+)", found.pop("style", "")))
    if element.tag == "text":  # the page's font and ink
        styles = {key: value for key, value in styles.items() if key == "text-anchor"}
    if found.get("id") not in used:
        found.pop("id", None)
    else:
        found["id"] = f"{name}-{found['id']}"
    attributes = {**found, **styles}
    return {key: colours.get(value) or _LINK.sub(partial(_own, name, used), value) for key, value in attributes.items()}


def _own(name: str, used: set[str], link: re.Match[str]) -> str:
    """The id that a link is to; a colour looks like one, and stays as it is."""
    return f"{name}-{link[0]}" if link[0] in used else link[0]


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
