"""One HTML page that shows a run: self-contained, so that it opens anywhere and without a network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd; }
img { max-width: 100%; } pre { background: #f6f6f4; padding: .8em 1em; overflow-x: auto; font-size: 13px; }
figure { margin: 1em 0; } figcaption { color: #666; font-size: 13px; }
"""


@dataclass(frozen=True)
class Section:
    """A heading with text, preformatted text and a picture, each optional."""

    title: str
    text: str = ""
    preformatted: str = ""
    picture: Path | None = None
    caption: str = ""


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Writes the page with all pictures inside it."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.text:
            parts.append(f"<p>{escape(section.text)}</p>")
        if section.preformatted:
            parts.append(f"<pre>{escape(section.preformatted)}</pre>")
        if section.picture is not None:
            kind = "jpeg" if section.picture.suffix in (".jpg", ".jpeg") else "png"
            data = base64.b64encode(section.picture.read_bytes()).decode()
            caption = f"<figcaption>{escape(section.caption)}</figcaption>" if section.caption else ""
            alternative = escape(section.caption or section.title, quote=True)
            source = f"data:image/{kind};base64,{data}"
            parts.append(f'<figure><img alt="{alternative}" src="{source}">{caption}</figure>')
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    path.write_text(
        f"<!doctype html>\n<html lang='en'><head>{head}</head><body>\n{body}\n</body></html>\n", encoding="utf-8"
    )
