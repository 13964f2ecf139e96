"""A comparison as a LaTeX table for a paper: booktabs, the best of each row in bold, and whatever ties with it."""

from collections.abc import Iterable, Mapping

from vtadl.compare.findings import NONE, Findings, number, study_rows
from vtadl.compare.tables import Entry

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    NONE: "--",
}


def latex(findings: Mapping[str, Findings], metric: str) -> str:
    """The tables of all metrics, the chosen one first; each needs the package booktabs alone."""
    order = [metric, *(name for name in findings if name != metric)]
    head = "% \\usepackage{booktabs}; bold: the best mean of a row, and all that print as the same number\n"
    return head + "\n".join(_table(findings[name]) for name in order)


def _table(findings: Findings) -> str:
    table = findings.table
    head, rows = study_rows(findings)
    spread = any(entry.spread is not None for entry in table.entries.values())
    how = ", mean and standard deviation over seeds" if spread else ""
    compared = [[table.entries[category, method] for method in table.methods] for category in table.categories]
    bold = [_highest(entries) for entries in (*compared, table.means.values())]
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_escaped(table.metric)}{how}}}",
        f"  \\begin{{tabular}}{{l{'c' * (len(head) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(_escaped, head))} \\\\",
        r"    \midrule",
    ]
    for index, (row, best) in enumerate(zip(rows, bold, strict=True)):
        if index == len(rows) - 1:
            lines.append(r"    \midrule")
        cells = [_escaped(cell) for cell in row]
        for column in best:
            cells[1 + column] = f"\\textbf{{{cells[1 + column]}}}"
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _highest(entries: Iterable[Entry]) -> list[int]:
    """Columns that print as the highest mean; none where there is nothing to compare."""
    shown = {index: number(entry.mean) for index, entry in enumerate(entries) if entry.complete}
    if len(shown) < 2:
        return []
    best = max(shown.values(), key=float)
    return [index for index, text in shown.items() if text == best]


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)
