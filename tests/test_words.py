"""The project speaks the field's language: no invented word in a name, a message or a document."""

import io
import re
import tokenize
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

WORDS = {
    r"stems?": "backbone",
    r"figures?": "metric, or number",
    r"looked[ _]at[ _]mask|looked_at": "roi_mask",
    r"plant(ed|ing)?": "synthetic",
    r"surroundings": "context",
    r"odd(ness)?": "anomalous",
    r"score[ _]maps?": "anomaly map",
    r"mend(s|ed)?": "fix",
    r"(go|goes|going|gone|went)[ _]on": "resume, or continue",
    r"hangs?[ _]on": "depend on",
    r"anew": "again",
    r"of before": "earlier",
    r"made[ _]here": "generated",
    r"ledgers?|journals?": "predictions file, or log",
    r"judging": "validation",
    r"team": "process group",
    r"evidence bound": "ELBO",
}
"""Old words, as expressions for whole words, and what we say."""

ALLOWED = {
    "src/vtadl/nn/efficientnet.py": "stem",  # the first convolution, as everywhere
    "src/vtadl/data/integrity.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/data/layouts/kolektor.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/data/layouts/image_list.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/data/layouts/files.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/data/layouts/visa.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/data/anomaly_maps.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/inference/picture_names.py": "stem",  # of a file's name, as pathlib has it
    "src/vtadl/config/overrides.py": "stem",  # the table of earlier names
    "src/vtadl/server/database.py": "journal",  # of SQLite
    "src/vtadl/compare/results.py": "figures",  # the contract's name in table.json
    "src/vtadl/runtime/backends.py": "score_map",  # the output of exports of earlier versions
}

SOURCES = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "benchmarks").glob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "pyproject.toml"])
PATTERN = re.compile(rf"(?<![A-Za-z])({'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)


def spoken(path: Path) -> list[tuple[int, str]]:
    """The lines of a document; the names, strings and comments of a source."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return list(enumerate(text.splitlines(), start=1))
    kinds = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    # `path.stem` is pathlib's word, not ours.
    return [
        (token.start[0], token.string)
        for before, token in pairwise([tokens[0], *tokens])
        if token.type in kinds and (before.string, token.string) != (".", "stem")
    ]


@pytest.mark.parametrize("path", [*SOURCES, *DOCUMENTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_only_words_of_the_field_are_used(path):
    allowed = ALLOWED.get(str(path.relative_to(ROOT)))
    for line, text in spoken(path):
        # CamelCase and snake_case are words too.
        for found in PATTERN.findall(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)):
            word = found[0]
            if allowed is None or not word.lower().startswith(allowed.rstrip("s")):
                new = next(new for old, new in WORDS.items() if re.fullmatch(old, word, re.IGNORECASE))
                pytest.fail(f"{path.relative_to(ROOT)}:{line}: say {new} for {word!r}")
