"""A figure of matplotlib as inline SVG with the colours and the font of the page.

The content policy of the page forbids `style` attributes. Therefore each style becomes an attribute.
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
    """The figure as an `svg` element.

    Args:
        name: The prefix of all ids of the figure, which makes them unique in the page.
        label: The description for screen readers.
        colours: The colours of the page, by the hex values of the colours in the figure.
    """
    output = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(output, format="svg", transparent=True, metadata=_METADATA)
    root = ElementTree.fromstring(output.getvalue())
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
    attributes = {_local(key): value for key, value in element.attrib.items()}
    styles = dict(re.findall(r"([\w-]+): ([^;]+)", attributes.pop("style", "")))
    if element.tag == "text":  # the font and the colour of the page
        styles = {key: value for key, value in styles.items() if key == "text-anchor"}
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    else:
        attributes["id"] = f"{name}-{attributes['id']}"
    rename = partial(_renamed, name, used)
    return {key: colours.get(value) or _LINK.sub(rename, value) for key, value in {**attributes, **styles}.items()}


def _renamed(name: str, used: set[str], link: re.Match[str]) -> str:
    """The new id that a link refers to; a colour looks like a link, and does not change."""
    return f"{name}-{link[0]}" if link[0] in used else link[0]


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
