"""What `dense-hf compare` found, as Markdown and as a page, made of its results.json and nothing else.

OUTPUT/README.md, index.html   the table, the pictures
OUTPUT/curves.svg              losses over the steps
OUTPUT/counts.svg              of counters: counted and annotated numbers of the test pictures
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from ..data.files import write_file
from ..markdown import spread, table
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
    return table(head, [[cells[0].replace("|", r"\|"), *cells[1:]] for cells in rows], "lr")


def best_on_validation(results: Results) -> str | None:
    """The title of the row that a user should take, by the first column of validation: without a look at the test."""
    judged = ((key, less) for key, (_, _, less) in results["columns"].items() if key.startswith("validation_"))
    key, less = next(judged, ("validation_mae", True))
    known = {row["title"]: fmean(values) for row in results["rows"].values() if (values := numbers_of(row).get(key))}
    return (min if less else max)(known, key=lambda title: known[title], default=None)


def write_comparison(results: Results, output: Path, command: str) -> None:
    """Write the files of a comparison, complete or not.

    Args:
        results: what results.json has.
        output: the folder.
        command: that made it, as it was typed.
    """
    write_file(output / "curves.svg", chart(_losses(results), "step", "loss, of its first value").encode())
    if counts := _counts(results):
        counted = chart(counts, "annotated", "counted", lines=False, diagonal=True)
        write_file(output / "counts.svg", counted.encode())
    sentences = _sentences(results, command)
    pictures = results.get("pictures", [])
    abouts = [[row["title"], row["about"]] for row in results["rows"].values()]
    text = [f"# {_title(results)}", *sentences, comparison_table(results), table(("row", "what it is"), abouts)]
    text += ["## Pictures", *(f"{one['about']}:\n\n![{one['about']}]({one['file']})" for one in pictures)] * bool(
        pictures
    )
    text += ["## Curves", "![losses](curves.svg)"]
    text += ["Counted against annotated, of each test picture:", "![counts](counts.svg)"] * bool(counts)
    write_file(output / "README.md", ("\n\n".join(text) + "\n").encode())
    write_file(output / "index.html", _page(results, sentences, abouts, pictures, bool(counts)).encode())


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


def _losses(results: Results) -> dict[str, list[tuple[float, float]]]:
    """Of the first seed, as shares of the first value: losses of different methods are different things."""
    found = {}
    for row in results["rows"].values():
        curves = [parts["training"].get("curve") for parts in row["seeds"].values() if "training" in parts]
        if curves and curves[0] and curves[0][0][1] > 0:
            first = curves[0][0][1]
            found[row["title"]] = [(step, min(2.0, loss / first)) for step, loss in curves[0]]
    return found


def _counts(results: Results) -> dict[str, list[tuple[float, float]]]:
    """Annotated and counted numbers of the test pictures, of the first seed."""
    found = {}
    for row in results["rows"].values():
        judged = [parts["test"]["counts"] for parts in row["seeds"].values() if "counts" in parts.get("test", {})]
        if judged:
            found[row["title"]] = [(annotated, counted) for _, annotated, counted in judged[0]]
    return found


_STYLE = (
    "body{font-family:sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;line-height:1.45}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}.best{font-weight:bold}img{max-width:100%}"
)


def _page(
    results: Results, sentences: Sequence[str], abouts: Sequence[Sequence[str]], pictures: Any, with_counts: bool
) -> str:
    head, rows = table_cells(results)
    best = _best_cells(results)
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for number, cells in enumerate(rows):
        marked = (
            f'<td class="best">{escape(cell)}</td>' if best.get(column) == number else f"<td>{escape(cell)}</td>"
            for column, cell in enumerate(cells)
        )
        lines.append("<tr>" + "".join(marked) + "</tr>")
    plain = [escape(one).replace("**", "").replace("`", "") for one in sentences]
    body = [f"<h1>{escape(_title(results))}</h1>", *(f"<p>{one}</p>" for one in plain)]
    body.append(f"<table>{''.join(lines)}</table>")
    body.append("<ul>" + "".join(f"<li>{escape(title)}: {escape(about)}</li>" for title, about in abouts) + "</ul>")
    body += [f"<h2>{escape(one['about'])}</h2><img src='{escape(one['file'])}' alt='predictions'>" for one in pictures]
    body.append("<h2>Losses</h2><img src='curves.svg' alt='losses'>")
    if with_counts:
        body.append("<h2>Counts of the test pictures</h2><img src='counts.svg' alt='counted against annotated'>")
    top = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(_title(results))}</title>"
    return f"{top}<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"


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
