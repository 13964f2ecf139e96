"""An HTML page in one file: it loads nothing, runs nothing, and reads well in light, in dark, on a phone and on paper.

All functions return markup. Those that take text escape it; ``body`` and ``content`` are markup already.
"""

from collections.abc import Sequence
from html import escape

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f8; --ink: #1b1f24; --quiet: #59636e; --rule: #dde1e5; --link: #0b6178;
  --good: #2a7f9e; --bad: #d1541c; --held-out: #8795a1; --grid: #e6e9ec;
  --s0: #12708c; --s1: #d1541c; --s2: #6b4fa0; --s3: #3d7a35; --s4: #a3356b; --s5: #7a6a1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --panel: #1d2125; --ink: #e6e9ec; --quiet: #9aa5af; --rule: #343a40; --link: #6cc5dd;
    --good: #4fb0cf; --bad: #f0814b; --held-out: #7c8994; --grid: #2a2f34;
    --s0: #55b9d6; --s1: #f0814b; --s2: #b39ae0; --s3: #84c47a; --s4: #e083b1; --s5: #cdbb62;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.5rem; font-weight: 650; }
h2 {
  font-size: 1.45rem; line-height: 1.25; letter-spacing: -0.01em; font-weight: 650;
  margin: 4rem 0 0.4rem; padding-top: 1.4rem; border-top: 1px solid var(--rule);
}
h3 { font-size: 1.05rem; margin: 2.6rem 0 0.3rem; font-weight: 650; }
p { margin: 0.3rem 0 0.8rem; max-width: 46rem; }
a { color: var(--link); }
.quiet { color: var(--quiet); }
.small, figcaption { font-size: 0.875rem; }
.warning { border-left: 3px solid var(--bad); padding: 0.1rem 0 0.1rem 0.8rem; }
nav { margin: 1.2rem 0; } nav a { margin-right: 1.2rem; }
.scroll { overflow-x: auto; margin: 1rem 0 0.8rem; }
table { border-collapse: collapse; font-size: 0.9375rem; overflow-wrap: normal; }
caption { text-align: left; font-weight: 650; font-size: 1.05rem; padding: 0.9rem 0 0.4rem; }
th, td { text-align: right; vertical-align: top; padding: 0.42rem 0 0.42rem clamp(0.9rem, 2vw, 1.75rem); }
th, td { border-bottom: 1px solid var(--rule); }
th:first-child { text-align: left; padding-left: 0; }
thead th { font-size: 0.8125rem; font-weight: 600; color: var(--quiet); vertical-align: bottom; }
tbody th { font-weight: 600; } td { white-space: nowrap; }
th.text, td.text { text-align: left; white-space: normal; } td.text { min-width: 14rem; overflow-wrap: anywhere; }
th small { display: block; font-weight: 400; font-size: 0.8125rem; color: var(--quiet); line-height: 1.4; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 2rem 3rem; }
.charts { margin-top: 1rem; max-width: 60rem; }
.charts figure { margin: 0; } .charts figcaption { font-weight: 600; margin-bottom: 0.3rem; }
.chart { display: block; width: 100%; max-width: 30rem; height: auto; }
.chart text { font-size: 11.5px; fill: var(--quiet); stroke: var(--paper); stroke-width: 3px; paint-order: stroke; }
.chart .name { fill: var(--ink); }
.chart path { fill: none; } .chart .grid { stroke: var(--grid); } .chart .axis { stroke: var(--quiet); }
.chart .line { stroke-width: 2; stroke-linejoin: round; }
.chart .s0 { stroke: var(--s0); } .chart .s1 { stroke: var(--s1); stroke-dasharray: 6 3; }
.chart .s2 { stroke: var(--s2); stroke-dasharray: 2 2.5; } .chart .s3 { stroke: var(--s3); stroke-dasharray: 9 3 2 3; }
.chart .s4 { stroke: var(--s4); stroke-dasharray: 12 4; } .chart .s5 { stroke: var(--s5); stroke-dasharray: 4 2 1 2; }
.chart .chance, .chart .mark { stroke: var(--quiet); stroke-dasharray: 3 4; }
.chart .bars.good { fill: var(--good); } .chart .bars.bad { fill: var(--bad); }
.chart .bars.held-out { fill: var(--held-out); }
.chart .photo-grey { fill: #808080; }
.scale { max-width: 24rem; margin: 0.6rem 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.4rem; }
.pictures { margin-top: 0.8rem; }
.pictures figure { margin: 0; break-inside: avoid; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; border-radius: 6px; overflow: hidden; }
.picture { position: relative; background: var(--panel); aspect-ratio: var(--shape, 1); }
.picture img, .picture svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.picture img { object-fit: contain; } .picture img.tiny { image-rendering: pixelated; }
.picture path { fill: none; vector-effect: non-scaling-stroke; }
.picture .halo { stroke: #000; stroke-opacity: 0.55; stroke-width: 3px; }
.picture .truth { stroke: #fff; stroke-width: 1.25px; }
.toggle { display: inline-flex; gap: 0.5rem; align-items: center; cursor: pointer; }
body:has(.toggle input:not(:checked)) .picture svg { display: none; }
figcaption { margin-top: 0.35rem; line-height: 1.4; }
figcaption strong { font-weight: 600; }
pre { font-size: 0.8125rem; background: var(--panel); padding: 1rem; border-radius: 6px; overflow-x: auto; }
summary { cursor: pointer; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--quiet); }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; } h1 { font-size: 1.55rem; } h2 { margin-top: 3rem; }
}
@media print {
  :root {
    color-scheme: light; --paper: #fff; --panel: #f6f7f8; --ink: #000; --quiet: #444; --rule: #ccc; --grid: #ddd;
    --good: #2a7f9e; --bad: #d1541c; --held-out: #8795a1; --s0: #12708c; --s1: #d1541c;
  }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2 { margin-top: 2rem; } h2, h3 { break-after: avoid; } table, .charts figure { break-inside: avoid; }
  .pictures { grid-template-columns: repeat(3, 1fr); gap: 0.8rem; } .charts { grid-template-columns: 1fr 1fr; }
  .toggle, nav { display: none; }
}
"""


SENTENCE = 48
"""Characters from which the text of a cell is a sentence, not a name or a number."""


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is ever loaded, whatever a name in the data says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[str] = ()) -> str:
    """A table of numbers; columns with sentences in them are set as text, which wraps.

    Args:
        caption: what it shows.
        head: the columns' names.
        rows: text for each cell; the first one names the row.
        notes: what each row's name means, if that needs saying.
    """
    sentences = {
        column
        for column in range(1, len(head))
        if any(len(row[column]) >= SENTENCE and " " in row[column] for row in rows)
    }
    styles = [' class="text"' if column in sentences else "" for column in range(len(head))]
    cells = "".join(f'<th scope="col"{style}>{escape(name)}</th>' for name, style in zip(head, styles, strict=True))
    notes = notes or [""] * len(rows)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}{f"<small>{escape(note)}</small>" if note else ""}</th>'
        + "".join(f"<td{style}>{escape(cell)}</td>" for cell, style in zip(row[1:], styles[1:], strict=True))
        + "</tr>"
        for row, note in zip(rows, notes, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{cells}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def chart_grid(charts: Sequence[tuple[str, str]]) -> str:
    """Charts side by side as far as there is room, each a heading (text) and its content."""
    figures = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{content}</figure>" for name, content in charts)
    return f'<div class="charts">{figures}</div>'
