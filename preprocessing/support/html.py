"""HTML pages that show a run or a dataset: self-contained, so that they open anywhere and without a network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ssd300.preprocessing.support.terminal import printable

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd; }
img { max-width: 100%; } pre { background: #f6f6f4; padding: .8em 1em; white-space: pre-wrap; font-size: 13px; }
figure { margin: 1em 0; } figcaption, .subtitle { color: #666; font-size: 13px; }
table { border-collapse: collapse; font-size: 13px; } th, td { text-align: left; padding: .2em 1em .2em 0;
border-bottom: 1px solid #eee; vertical-align: top; overflow-wrap: anywhere; } th { color: #666; font-weight: normal; }
"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading with text, preformatted text, an image (PNG or JPEG) and a table, each optional."""

    title: str
    text: str = ""
    preformatted: str = ""
    picture: Path | bytes | None = None
    caption: str = ""
    table: Table | None = None


def page(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """The page with all images inside it."""
    parts = [f"<h1>{_text(title)}</h1>"]
    if subtitle:
        parts.append(f'<p class="subtitle">{_text(subtitle)}</p>')
    for section in sections:
        parts.append(f"<h2>{_text(section.title)}</h2>")
        if section.text:
            parts.append(f"<p>{_text(section.text)}</p>")
        if section.preformatted:
            parts.append(f"<pre>{_text(section.preformatted)}</pre>")
        if section.picture is not None:
            parts.append(_figure(section.picture, section.caption, section.caption or section.title))
        if section.table is not None:
            parts.append(_table(section.table))
    head = f'<meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>\n{body}\n</body></html>\n"


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Writes a page on this machine's disk."""
    path.write_text(page(title, sections), encoding="utf-8")


def _text(text: str) -> str:
    """Text for an element or an attribute: what comes from outside can neither be markup nor control the page."""
    return escape(printable(text))


def _figure(picture: Path | bytes, caption: str, alternative: str) -> str:
    data = picture if isinstance(picture, bytes) else picture.read_bytes()
    kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{_text(alternative)}" src="{source}">{below}</figure>'


def _table(table: Table) -> str:
    if not table.rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{_text(text)}</th>" for text in table.head)
    rows = ("".join(f"<td>{_text(text)}</td>" for text in row) for row in table.rows)
    return "\n".join([f"<table><tr>{head}</tr>", *(f"<tr>{row}</tr>" for row in rows), "</table>"])
