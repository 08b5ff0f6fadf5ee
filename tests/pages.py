"""A parsed HTML page, for tests of what a page says."""

import base64
import hashlib
import html.parser

from asc_tf.report.html import read_script

VOID = ("meta", "img", "source", "wbr", "br", "input")
HARMLESS = ("#", "data:image/png;", "data:audio/wav;", "data:audio/mpeg;")


class Element:
    """An element with its attributes and its children, elements and texts."""

    def __init__(self, tag, attributes=()):
        self.tag, self.attributes, self.children = tag, dict(attributes), []

    @property
    def text(self):
        """The text that a reader sees in it, with single spaces between words."""
        return " ".join(self._raw_text().split())

    def _raw_text(self):
        texts = (
            child if isinstance(child, str) else child._raw_text()
            for child in self.children
            if isinstance(child, str) or child.tag not in ("script", "style")
        )
        return "".join(texts)

    def walk(self):
        """The element and all below it."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag, style=""):
        """The elements of a tag, and of a class where one is given."""
        return [
            element
            for element in self.walk()
            if element.tag == tag
            and (not style or style in element.attributes.get("class", "").split())
        ]

    def one(self, tag, style=""):
        """The only element of a tag."""
        (element,) = self.all(tag, style)
        return element

    def rows(self):
        """The texts of all table cells, row by row."""
        return [
            [cell.text for cell in row.walk() if cell.tag in ("th", "td")]
            for row in self.all("tr")
        ]


class Page(html.parser.HTMLParser, Element):
    """A page whose elements are closed as HTML wants it.

    Attributes:
        source: The HTML.
    """

    def __init__(self, source):
        html.parser.HTMLParser.__init__(self)
        Element.__init__(self, "page")
        self.source, self._open = source, [self]
        self.feed(source)
        assert self._open == [self]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs)
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        self._open[-1].children.append(data)

    @property
    def headings(self):
        """The headings of the sections."""
        return [heading.text for heading in self.all("h2")]

    def section(self, heading):
        """The section with a heading."""
        (found,) = (s for s in self.all("section") if s.one("h2").text == heading)
        return found

    def check_harmless(self):
        """Nothing runs but the script that sorts, and nothing is fetched."""
        script = self.one("script")
        assert not script.attributes
        assert "".join(script.children) == read_script()
        digest = hashlib.sha256(read_script().encode()).digest()
        (policy,) = (
            meta.attributes["content"]
            for meta in self.all("meta")
            if meta.attributes.get("http-equiv") == "Content-Security-Policy"
        )
        assert "default-src 'none'" in policy
        own = f"script-src 'sha256-{base64.b64encode(digest).decode()}'"
        assert own in policy.split("; ")
        for element in self.walk():
            assert element.tag not in ("link", "iframe", "object", "base")
            for name, value in element.attributes.items():
                assert not name.startswith("on")
                if name in ("src", "srcset", "href", "xlink:href", "poster", "action"):
                    assert value.startswith(HARMLESS)
        style = self.one("style").text
        assert "url(" not in style and "@import" not in style
