"""What `dense-hf compare` found, as Markdown and as a page, made of its results.json and nothing else.

OUTPUT/README.md, index.html   the table, the pictures
OUTPUT/curves.svg              losses over the steps
OUTPUT/counts.svg              of counters: counted and annotated numbers of the test pictures
OUTPUT/attended.svg            of classifiers that compare pictures: how many positions a softmax attends to
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from ..data.files import write_file
from ..markdown import percent, spread, table
from ..visualization.charts import chart

Results = Mapping[str, Any]


def numbers_of(row: Results) -> dict[str, list[float]]:
    """Key of a column -> its number for each seed that has it."""
    found: dict[str, list[float]] = {}
    for parts in row["seeds"].values():
        training, test = parts.get("training", {}), parts.get("test", {})
        one = {**training, **test}
        one |= {f"validation_{key}": value for key, value in training.get("validation", {}).items()}
        for key, value in one.items():
            if isinstance(value, int | float):
                found.setdefault(key, []).append(value)
    return found


def mean_of_seeds(row: Results, split: str, metric: str) -> float | None:
    """Of a number of the validation or the test pictures; None if no seed has it."""
    parts = [
        one["training"].get("validation", {}) if split == "validation" else one.get("test", {})
        for one in row["seeds"].values()
        if "training" in one
    ]
    values = [part[metric] for part in parts if metric in part]
    return fmean(values) if values else None


def table_cells(results: Results, keys: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the mean over the seeds, and of several the lowest and the highest."""
    columns = {key: column for key, column in results["columns"].items() if keys is None or key in keys}
    rows = []
    for row in results["rows"].values():
        judged = sum("test" in parts for parts in row["seeds"].values())
        numbers, cells = numbers_of(row), [row["title"], str(judged) if row["learns"] else "-"]
        for key, (_, form, _) in columns.items():
            values = numbers.get(key, [])
            if not values:
                cells.append("-")
            elif min(values) == max(values):
                cells.append(f"{values[0]:{form}}")
            else:
                cells.append(spread(fmean(values), min(values), max(values), form))
        rows.append(cells)
    return ["", "seeds", *(title for title, _, _ in columns.values())], rows


def comparison_table(results: Results, keys: Sequence[str] | None = None) -> str:
    """The table as Markdown, of all columns or of some."""
    head, rows = table_cells(results, keys)
    return table(head, [_without_bars(cells) for cells in rows], "lr")


def _without_bars(cells: Sequence[str]) -> list[str]:
    """Cells of a row of Markdown, whose title makes no column."""
    return [cells[0].replace("|", r"\|"), *cells[1:]]


def class_cells(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows: IoU of each class on the test in percent, mean of the seeds; no rows where none has it."""
    rows, names = [], []
    for row in results["rows"].values():
        found = [iou for parts in row["seeds"].values() if (iou := parts.get("test", {}).get("per_class_iou"))]
        if found:
            names = list(found[0])
            known = {name: [iou[name] for iou in found if iou[name] is not None] for name in names}
            rows.append([row["title"], *(percent(fmean(known[name]) if known[name] else None) for name in names)])
    return ["", *names], rows


def best_on_validation(results: Results) -> str | None:
    """The title of the row that a user should take, by the first column of validation: without a look at the test.

    Rows that learn and have fewer seeds than another one are left out: one seed may be a lucky one.
    """
    judged = ((key, less) for key, (_, _, less) in results["columns"].items() if key.startswith("validation_"))
    key, less = next(judged, ("validation_mae", True))
    found = {name: values for name, row in results["rows"].items() if (values := numbers_of(row).get(key))}
    rows = {name: results["rows"][name] for name in found}
    most = max((len(found[name]) for name, row in rows.items() if row["learns"]), default=0)
    told = (name for name, row in rows.items() if len(found[name]) == most or not row["learns"])
    known = {rows[name]["title"]: fmean(found[name]) for name in told}
    return (min if less else max)(known, key=lambda title: known[title], default=None)


def write_comparison(results: Results, output: Path, command: str) -> None:
    """Write the files of a comparison, complete or not.

    Args:
        results: what results.json has.
        output: the folder.
        command: that made it, as it was typed.
    """
    charts = {"Losses": ("curves.svg", chart(_losses(results), "step", "loss, of its first value"))}
    if counts := _counts(results):
        drawn = chart(counts, "annotated", "counted", lines=False, diagonal=True)
        charts["Counted against annotated, of each test picture"] = ("counts.svg", drawn)
    if attended := _curves(results, "attended"):
        drawn = chart(attended, "step", "attended positions")
        charts["Positions of another picture that one position attends to; 1 copies one of them"] = (
            "attended.svg",
            drawn,
        )
    for file, drawn in charts.values():
        write_file(output / file, drawn.encode())
    files = {title: file for title, (file, _) in charts.items()}
    sentences = _sentences(results, command)
    pictures = results.get("pictures", [])
    abouts = [[row["title"], row["about"]] for row in results["rows"].values()]
    text = [f"# {_title(results)}", *sentences, comparison_table(results), table(("row", "what it is"), abouts)]
    of_classes = class_cells(results)
    if of_classes[1]:
        text += [f"## {_CLASSES}", table(of_classes[0], [_without_bars(cells) for cells in of_classes[1]], "lr")]
    if pictures:
        text += ["## Pictures", *(f"{one['about']}:\n\n![{one['about']}]({one['file']})" for one in pictures)]
    text += ["## Curves", *(f"{title}:\n\n![{title}]({file})" for title, file in files.items())]
    write_file(output / "README.md", ("\n\n".join(text) + "\n").encode())
    write_file(output / "index.html", _page(results, sentences, abouts, files).encode())


def _title(results: Results) -> str:
    return f"Comparison of {len(results['rows'])} rows"


def _sentences(results: Results, command: str) -> list[str]:
    settings = results["settings"]
    splits = ", ".join(
        f"{' with '.join(f'{count:,} {what}' for what, count in one.items() if isinstance(count, int))} for "
        f"{'the ' if split == 'test' else ''}{split}"
        for split, one in settings["splits"].items()
    )
    budget = ", ".join(
        f"{key} {value}" for key, value in settings.items() if isinstance(value, int | float | str) and key != "task"
    )
    seeds = max((len(row["seeds"]) for row in results["rows"].values()), default=0)
    sentences = [
        f"Data: {splits}. For every row: {budget or 'its own recipe'}. {seeds} seed{'s' * (seeds != 1)}: the mean "
        "(lowest to highest). Choices were made on the validation split; the test was looked at once.",
        f"Made by `{command}`.",
    ]
    if (best := best_on_validation(results)) is not None:
        sentences.append(f"Best on the validation split, so the one to take: **{best}**.")
    sentences += [f"Failed: {name}: {why}" for name, why in results.get("failures", {}).items()]
    return sentences


def _curves(results: Results, name: str) -> dict[str, list[tuple[float, float]]]:
    """Step and value, of the first seed of each row that has a curve of this name."""
    found = {}
    for row in results["rows"].values():
        curves = [parts["training"].get(name) for parts in row["seeds"].values() if "training" in parts]
        if curves and curves[0]:
            found[row["title"]] = [(step, value) for step, value in curves[0]]
    return found


def _losses(results: Results) -> dict[str, list[tuple[float, float]]]:
    """As shares of the first value: losses of different methods are different things."""
    return {
        title: [(step, min(2.0, loss / curve[0][1])) for step, loss in curve]
        for title, curve in _curves(results, "curve").items()
        if curve[0][1] > 0
    }


def _counts(results: Results) -> dict[str, list[tuple[float, float]]]:
    """Annotated and counted numbers of the test pictures, of the first seed."""
    found = {}
    for row in results["rows"].values():
        judged = [parts["test"]["counts"] for parts in row["seeds"].values() if "counts" in parts.get("test", {})]
        if judged:
            found[row["title"]] = [(annotated, counted) for _, annotated, counted in judged[0]]
    return found


_CLASSES = "IoU of each class on the test, in percent"
_STYLE = (
    "body{font-family:sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;line-height:1.45}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}.best{font-weight:bold}img{max-width:100%}"
)


def _page(
    results: Results, sentences: Sequence[str], abouts: Sequence[Sequence[str]], charts: Mapping[str, str]
) -> str:
    plain = [escape(one).replace("**", "").replace("`", "") for one in sentences]
    body = [f"<h1>{escape(_title(results))}</h1>", *(f"<p>{one}</p>" for one in plain)]
    body.append(_html_table(*table_cells(results), _best_cells(results)))
    body.append("<ul>" + "".join(f"<li>{escape(title)}: {escape(about)}</li>" for title, about in abouts) + "</ul>")
    of_classes = class_cells(results)
    if of_classes[1]:
        body += [f"<h2>{_CLASSES}</h2>", _html_table(*of_classes, {})]
    body += [
        f"<h2>{escape(one['about'])}</h2><img src='{escape(one['file'])}' alt='predictions'>"
        for one in results.get("pictures", [])
    ]
    body += [f"<h2>{escape(title)}</h2><img src='{file}' alt='{escape(title)}'>" for title, file in charts.items()]
    top = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(_title(results))}</title>"
    return f"{top}<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]], best: Mapping[int, int]) -> str:
    """`best` is column -> row."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for number, cells in enumerate(rows):
        marked = (
            f'<td class="best">{escape(cell)}</td>' if best.get(column) == number else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(cells)
        )
        lines.append("<tr>" + "".join(marked) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _best_cells(results: Results) -> dict[int, int]:
    """Column -> the row with the best mean, where there is a better."""
    found = {}
    for column, (key, (_, _, less)) in enumerate(results["columns"].items(), start=2):  # behind title and seeds
        means = {
            number: fmean(values)
            for number, row in enumerate(results["rows"].values())
            if (values := numbers_of(row).get(key))
        }
        if less is not None and means:
            found[column] = (min if less else max)(means, key=lambda number: means[number])
    return found
