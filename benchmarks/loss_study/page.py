"""The tables of docs/study.md, written between their marks from what was kept of all trainings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loss_study.jobs import ARMS, Arm
from loss_study.measure import RESIDUAL, SCORES, TRAINED
from loss_study.results import (
    AUPRO,
    CATEGORIES,
    LOSSES,
    MEASURES,
    PUBLISHED,
    Change,
    changes,
    mean_images,
    of_part,
    read,
    words,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/study.md"
BEGIN, END = "<!-- {}: written by benchmarks/study.py -->", "<!-- end of {} -->"
BAR = 0.10
BARRED = ("transistor", "bottle")
"""Where the mean image leaves room for the bar."""
LISTED_FROM = 0.79
"""On fabric, of the sets of changes that are listed."""
LOOKS = ("600", "2400", "4800")
FEW = 2
"""Changes of a set that is listed whatever it reaches on fabric."""
Rows = Sequence[Sequence[str]]


def write_page() -> None:
    """Write every table again."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The page with every table written again."""
    tables = {
        "published": published(),
        "arms": arms(),
        "maps": maps(),
        "sets": sets(),
        "context": context(),
    }
    for name, table in tables.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def published() -> str:
    """Part one: the published schedule, on the way and at its end by the published measure, at its end by ours."""
    on_the_way = ["its protocol: 25 epochs", "100", "200", "400"]
    head = ["category", "trained", "*published*", *on_the_way, "pixel AUROC", "AUPRO@0.3", "residual's"]
    in_print = {"transistor": ("0.796", "0.701"), "bottle": ("0.949", "0.918")}
    rows = []
    for training in _published_in_full():
        category, scores = training["category"], training["scores"]
        trained, residual = (scores[score.name] for score in (TRAINED, RESIDUAL))
        looks = [_number(_of(training["looks"][step][TRAINED.name], PUBLISHED)) for step in LOOKS]
        shown = [_number(_of(trained, name)) for name in (PUBLISHED, "pixel_AUROC", AUPRO)]
        what = f"`{training['arm']}`, `{training['objective']}`"
        column = in_print[category]["vae" in training["objective"]]
        rows.append([category, what, column, *looks, *shown, _number(_of(residual, AUPRO))])
    for category in in_print:
        mean = read()["baselines"][f"{category}-512"]
        shown = [_number(_of(mean, name)) for name in (PUBLISHED, "pixel_AUROC", AUPRO)]
        rows.append([category, "distance from the mean image", *"––––", *shown, "–"])
    return _table(head, sorted(rows, key=lambda row: BARRED.index(row[0])))


def arms() -> str:
    """Part two: each change of what is trained, scored as it was trained."""
    found, means = changes(), mean_images(256)
    rows = [
        [*_row(change, values, means), *_last_variances(change.arm)]
        for change, values in found.items()
        if change.score == TRAINED
    ]
    head = [*_head("trained"), "variance, original", "proposed"]
    return _table(head, [[*_of_mean_image(means), "–", "–"], *rows])


def _last_variances(arm: Arm) -> list[str]:
    """Of the embeddings on transistor after the last step, for each loss."""
    of_loss = {t["objective"]: t for t in of_part("repair") if (t["arm"], t["category"]) == (arm.name, BARRED[0])}
    return [f"{of_loss[loss + arm.terms]['variance']['1000']:.2g}" for loss in LOSSES]


def maps() -> str:
    """Each anomaly map of the corrected model."""
    found, means = changes(), mean_images(256)
    rows = [
        [words(change.score), *_row(change, values, means)[1:]]
        for change, values in found.items()
        if change.arm == ARMS[0] and change.score in SCORES[1:]
    ]
    return _table(_head("anomaly map of `corrected`"), rows)


def sets() -> str:
    """Sets of changes with which both losses reach the bar on two categories, and which do not fail on fabric."""
    found, means = changes(), mean_images(256)
    reached = [change for change, values in found.items() if reaches(values, means)]
    listed = [change for change in reached if _worst(found[change], "fabric") >= LISTED_FROM or change.count <= FEW]
    listed.sort(key=lambda change: (change.count, -_worst(found[change], "fabric")))
    rows = [[str(change.count), *_row(change, found[change], means)] for change in listed]
    chosen = choose(found, means)
    said = (
        f"{len(reached)} of {len(found)} sets reach the bar on {' and '.join(BARRED)} with both losses; "
        f"listed are those of {FEW} changes, and of {LISTED_FROM} or more on fabric with both. "
        f"By the rule: **{chosen.name}**."
    )
    return f"{_table(['changes', *_head('set')], rows)}\n\n{said}"


def reaches(values: dict[tuple[str, str], float], means: dict[str, float]) -> bool:
    """Whether both losses beat the mean image by the bar where there is room for it."""
    return all(values[name, loss] >= means[name] + BAR for name in BARRED for loss in LOSSES)


def choose(found: dict[Change, dict[tuple[str, str], float]], means: dict[str, float]) -> Change:
    """What reaches the bar and is not below the mean image on fabric: the fewest changes, then the best on fabric."""
    able = [c for c, values in found.items() if reaches(values, means) and _worst(values, "fabric") >= means["fabric"]]
    return min(able, key=lambda change: (change.count, -_worst(found[change], "fabric")))


def context() -> str:
    """Part three: the two losses on preset ``context``."""
    found = read().get("context")
    return "Not measured yet." if found is None else _compared(found)


def _compared(found: dict[str, Any]) -> str:
    losses = [mean["objective"] for mean in found["means"]]
    entries = {(entry["category"], entry["objective"]): entry for entry in found["entries"]}
    rows = []
    for pair in found["within_categories"]:
        comparison, name = pair["comparison"], pair["category"]
        if comparison is not None:
            low, high = comparison["interval"]
            between = [f"{comparison['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"]
            rows.append([name, *(_spread(entries[name, loss]) for loss in losses), *between])
    rows.append(["mean", *map(_spread, found["means"]), "", ""])
    across = found["across_categories"][0]
    on_average = f"{across['difference']:+.4f}" if across["difference"] is not None else "–"
    said = f"Over {across['categories']} categories, {losses[0]} minus {losses[1]}: {on_average} on average"
    test = f"p = {across['p_holm']:.3f} (Wilcoxon, Holm)" if across["p_holm"] is not None else across["why"]
    head = ["AUPRO@0.3", *(f"`{loss}`" for loss in losses), "difference", "95 % interval over images"]
    return f"{_table(head, rows)}\n\n{said}, {losses[0]} higher on {across['wins']}; {test}."


def _spread(entry: dict[str, Any]) -> str:
    """A mean over seeds, and their standard deviation where there are several."""
    if entry["mean"] is None:
        return "–"
    return f"{entry['mean']:.3f}" + (f" ± {entry['spread']:.3f}" if entry["spread"] is not None else "")


def _published_in_full() -> Iterator[dict[str, Any]]:
    order = {"faithful": 0, "corrected": 1}
    full = [training for training in of_part("published") if training["done"]]
    yield from sorted(full, key=lambda t: (BARRED.index(t["category"]), order[t["arm"]], t["objective"]))


def _head(first: str) -> list[str]:
    return [first, *(f"{name}, {loss}" for name in CATEGORIES for loss in ("original", "proposed"))]


def _row(change: Change, values: dict[tuple[str, str], float], means: dict[str, float]) -> list[str]:
    """The values, those that reach the bar in bold."""
    cells = []
    for name in CATEGORIES:
        for loss in LOSSES:
            value = values[name, loss]
            cells.append(f"**{value:.3f}**" if value >= means[name] + BAR else f"{value:.3f}")
    return [change.name, *cells]


def _of_mean_image(means: dict[str, float]) -> list[str]:
    return ["distance from the mean image", *(f"{means[name]:.3f}" for name in CATEGORIES for _ in LOSSES)]


def _worst(values: dict[tuple[str, str], float], name: str) -> float:
    return min(values[name, loss] for loss in LOSSES)


def _of(values: Sequence[float | None], name: str) -> float | None:
    return values[MEASURES.index(name)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Rows) -> str:
    """As Markdown."""
    lines = [head, ["---", *(["--:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
