"""Write all model cards, and the results of the bundled models in docs/results.md. No number is typed into them.

    make readme-results                                              # what the trainings of the demo have left
    python scripts/demo/make_model_cards.py runs/trees/results.json  # the same for one of them
    python scripts/demo/make_model_cards.py                          # write the texts again, after a change below

    model_cards/template.md              what every card has, and in which order
    model_cards/methods/NAME.yaml        of a method: the thesis' numbers, what it is for, its limits
        -> model_cards/NAME.md
    model_cards/checkpoints/NAME.yaml    of a checkpoint: the same, and where its training stands
    checkpoints/NAME/results.json        what was measured, as the training of the demo wrote it
        -> checkpoints/NAME/README.md

A results.json that is given is kept as checkpoints/NAME/results.json, NAME being its "checkpoint"; put the weights of
the same run beside it. In docs/results.md only the lines between `<!-- MARK:begin -->` and `<!-- MARK:end -->` change.
If anything does not fit, nothing is changed.

A new checkpoint needs its folder, its results.json and one YAML file. Texts in the YAML files are Jinja templates.
They may use `results` (the file); in `section`, which stands in docs/results.md too, between the marks named `mark`,
also `table` and `reading` (for the kinds of results.json that a script of ours makes; see `describe`); in a card also
`section`, `config` (of the training, as YAML) and `made` (when, from which commit and with which versions, as far as
that is known). A name that does not exist is an error.

`eval_results` name numbers of the metadata: `value` is a path in results.json, "run.test.mae". Every metric says in
its name whether it is the thesis' or was measured here.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined, TemplateError, UndefinedError
from tables import counting_reading, counting_table, crops_table, nuclei_table, street_table

from dense_hf.data import write_file
from dense_hf.markdown import table
from dense_hf.reports.model_card import eval_result

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "model_cards"
PAGE = Path("docs/results.md")
PROSE = ("about", "use", "intended_use", "limits", "results", "how")
# Markdown, not HTML: nothing is to be escaped
JINJA = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701


def describe(results: dict[str, Any]) -> dict[str, str]:
    """Tables and words for the kinds of results.json that the scripts of the demos write; nothing for others."""
    if "nuclei" in results:
        return {"table": nuclei_table(results)}
    if "held_out" in results:
        return {"table": counting_table(results), "reading": counting_reading(results)}
    if "most_frequent_label" in results:
        return {"table": street_table(results)}
    if "rows" in results:
        return {"table": crops_table(results)}
    return {}


def read_facts(kind: str, name: str) -> dict[str, Any]:
    """A file of model_cards/, `kind` "methods" or "checkpoints"."""
    return yaml.safe_load((CARDS / kind / f"{name}.yaml").read_text(encoding="utf-8"))


def names(kind: str) -> list[str]:
    """What has a file of that kind."""
    return sorted(path.stem for path in (CARDS / kind).glob("*.yaml"))


def bundled(root: Path) -> list[str]:
    """Checkpoints whose folder is there with the results."""
    return [name for name in names("checkpoints") if (root / "checkpoints" / name / "results.json").is_file()]


def method_card(name: str) -> str:
    """The card of a method, with the thesis' numbers."""
    facts = read_facts("methods", name)
    eval_results = [
        eval_result(
            facts["task"],
            rows["dataset"],
            split,
            key,
            f"{rows['metrics'][key]}, {row['name']} (thesis, Table {rows['number']})",
            value if key in COUNTING_METRICS else round(value / 100, 5),  # tables have percent, metadata shares
            source_name="thesis",
            source_url=facts["authors_code"],
        )
        for rows in facts["thesis"]
        for row in rows["rows"]
        for split, values in row["splits"].items()
        for key, value in values.items()
    ]
    tables = "\n\n".join(map(thesis_table, facts["thesis"]))
    return _card(name, facts, eval_results, {"tables": tables})


def thesis_table(facts: dict[str, Any]) -> str:
    """Markdown of rows of one table of the thesis."""
    rows = [
        [row["name"], split, *(values.get(key, "-") for key in facts["metrics"])]
        for row in facts["rows"]
        for split, values in row["splits"].items()
    ]
    numbers = table(("", "split", *facts["metrics"].values()), rows)
    return f"Table {facts['number']} of the thesis, {facts['dataset']}:\n\n{numbers}"


def checkpoint_card(name: str, results: dict[str, Any]) -> str:
    """The card of a bundled checkpoint, with what was measured here."""
    facts = read_facts("checkpoints", name)
    eval_results = [
        eval_result(
            facts["task"],
            row["dataset"],
            row["split"],
            row["metric"],
            f"{row['name']} (measured here)",
            float(reduce(getitem, row["value"].split("."), results)),
        )
        for row in facts["eval_results"]
    ]
    config = yaml.safe_load((ROOT / facts["config"]).read_text(encoding="utf-8"))
    known = {
        "results": results,
        "config": yaml.safe_dump(config, sort_keys=False).strip(),
        "made": when_and_from_what(results.get("made", {})),
        "section": section(name, results),
    }
    return _card(name, facts, eval_results, known)


def when_and_from_what(made: dict[str, Any]) -> str:
    """A sentence with commit, time and versions of a training; what was not recorded is said to be so."""
    commit = f"commit {made['commit']}" if "commit" in made else "the commit was not recorded"
    started = f"started {made['started']}" if "started" in made else "the time was not recorded"
    parts = [commit, started]
    if "minutes" in made:
        parts.append(f"{made['minutes']:.0f} minutes")
    versions = [f"{name} {made[key]}" for key, name in VERSIONS.items() if key in made]
    return f"Training: {', '.join(parts)}" + (f"; {', '.join(versions)}." if versions else ".")


COUNTING_METRICS = ("mae", "mse", "nae")
VERSIONS = {"python": "Python", "torch": "torch", "transformers": "transformers"}


def citation(facts: dict[str, Any]) -> str:
    """The paper as a sentence: of CITATION.cff by its title, or as the data file has it."""
    if "paper" in facts:
        return facts["paper"]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (entry,) = [entry for entry in cff["references"] if entry["title"] == facts["cite"]]
    authors = ", ".join(f"{author['family-names']}, {author['given-names']}" for author in entry["authors"])
    where = entry.get("collection-title") or entry.get("journal")
    return f"{authors}: {entry['title']}. {where}, {entry['year']}."


def section(name: str, results: dict[str, Any]) -> str:
    """What docs/results.md and the card of a checkpoint both say about its results."""
    template = JINJA.from_string(read_facts("checkpoints", name)["section"])
    return template.render(results=results, **describe(results)).strip()


def _card(name: str, facts: dict[str, Any], eval_results: list[EvalResult], known: dict[str, str]) -> str:
    data = ModelCardData(
        library_name="transformers",
        license="apache-2.0",
        pipeline_tag=facts.get("pipeline_tag"),  # the Hub knows its own tasks only
        tags=[facts["task"], "dense_hf", *facts["tags"]],
        datasets=facts.get("hub_datasets"),
        model_name=facts["title"],
        eval_results=eval_results or None,
    )
    texts = {part: JINJA.from_string(facts[part]).render(known).strip() for part in PROSE}
    card = ModelCard.from_template(
        data, template_path=str(CARDS / "template.md"), title=facts["title"], citation=citation(facts).strip(), **texts
    )
    return str(card).rstrip() + "\n"


def index(checkpoints: Sequence[str]) -> str:
    """README.md of model_cards/."""
    methods = [(read_facts("methods", name)["title"], f"[{name}.md]({name}.md)") for name in names("methods")]
    ours = [
        (read_facts("checkpoints", name)["title"], f"[{name}](../checkpoints/{name}/README.md)")
        for name in checkpoints
    ]
    return f"""# Model cards

Written by `scripts/demo/make_model_cards.py` from the YAML files beside them and from the results of the bundled
checkpoints. Change those, not the cards.

{table(("method", "card"), methods)}

{table(("bundled checkpoint", "card"), ours)}
"""


def all_texts(root: Path, new: dict[str, dict[str, Any]]) -> dict[Path, str]:
    """Text of each card and of docs/results.md, and the results of the checkpoints, by their paths below `root`.

    Args:
        root: where docs/ and checkpoints/ are.
        new: name of a checkpoint to results that replace those in its folder.

    Raises:
        KeyError, OSError, TemplateError, ValueError: a data file or results.json that does not fit.
    """
    texts = {Path("model_cards") / f"{name}.md": method_card(name) for name in names("methods")}
    checkpoints = sorted({*bundled(root), *new})
    texts[Path("model_cards/README.md")] = index(checkpoints)
    page = (root / PAGE).read_text(encoding="utf-8")
    for name in checkpoints:
        folder = Path("checkpoints") / name
        kept = root / folder / "results.json"
        results = new[name] if name in new else json.loads(kept.read_text(encoding="utf-8"))
        texts[folder / "results.json"] = json.dumps(results, indent=2) + "\n"
        texts[folder / "README.md"] = checkpoint_card(name, results)
        page = replace_section(page, section(name, results), read_facts("checkpoints", name)["mark"])
    return {**texts, PAGE: page}


def replace_section(text: str, section: str, mark: str) -> str:
    """`text` with `section` between `<!-- MARK:begin -->` and `<!-- MARK:end -->`.

    Raises:
        ValueError: if a mark is missing, doubled, or they are in the wrong order.
    """
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the page needs one {begin} and one {end} after it")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{section}\n{end}{rest.split(end)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="results.json of a training of the demo")
    parser.add_argument("--root", type=Path, default=ROOT, help="where docs/ and checkpoints/ are (default: here)")
    options = parser.parse_args(arguments)
    given = ", ".join(map(str, options.results)) or "make_model_cards.py"
    try:
        new = {}
        for file in options.results:
            results = json.loads(file.read_text(encoding="utf-8"))
            if results["checkpoint"] not in names("checkpoints"):
                raise ValueError(f"no bundled checkpoint is called {results['checkpoint']}")
            new[results["checkpoint"]] = results
        texts = all_texts(options.root, new)
    except (KeyError, UndefinedError) as error:
        print(f"{given}: expected the numbers of the demo. Received: nothing for {error}", file=sys.stderr)
        return 1
    except (OSError, TemplateError, ValueError) as error:
        print(f"{given}: {error}", file=sys.stderr)
        return 1
    for path, text in texts.items():
        (options.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_file(options.root / path, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
