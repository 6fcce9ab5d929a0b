"""Small helpers around lxml: elements from values, and trees from text that libvirt returned.

XML is built from elements alone, never by joining strings, so a value can only ever be text or an attribute
(RELIABILITY A5). Characters that XML cannot carry raise `BadSpec`.
"""

from lxml import etree
from lxml.builder import ElementMaker

from .errors import BadSpec

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_blank_text=True)

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type of its elements

_MAKERS: dict[str, ElementMaker] = {}


def element(
    tag: str,
    attributes: dict[str, object] | None = None,
    *children: Element | str,
    namespace: str = "",
    prefix: str = "",
) -> Element:
    """An element with these attributes, text and children; BadSpec for text that XML cannot carry."""
    key = namespace + prefix
    if key not in _MAKERS:
        _MAKERS[key] = ElementMaker(namespace=namespace, nsmap={prefix: namespace}) if namespace else ElementMaker()
    texts = {name: str(value) for name, value in (attributes or {}).items()}
    try:
        return _MAKERS[key](tag, *children, **texts)
    except ValueError as error:
        raise BadSpec(f"{tag}: {error}") from error


def to_text(root: Element) -> str:
    """The tree as indented text."""
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def from_text(text: str) -> Element:
    """The tree of a text that libvirt returned; BadSpec when it is not XML."""
    try:
        return etree.fromstring(text, _PARSER)
    except etree.XMLSyntaxError as error:
        raise BadSpec(f"not XML: {error}") from error


def attribute(root: Element, path: str, name: str) -> str:
    """An attribute of the first element at `path`; BadSpec when there is none."""
    found = root.find(path)
    value = None if found is None else found.get(name)
    if value is None:
        raise BadSpec(f"{root.tag!r}: no {path}/@{name}")
    return value


def text_of(root: Element, path: str) -> str:
    """The text of the first element at `path`; BadSpec when there is none."""
    found = root.find(path)
    if found is None or found.text is None:
        raise BadSpec(f"{root.tag!r}: no {path}")
    return found.text
