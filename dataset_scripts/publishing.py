"""What the data set scripts share: from a checked folder to Parquet files with a card, and on to the Hub."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import datasets
from huggingface_hub import DatasetCard, DatasetCardData

import dense_hf
from dense_hf import InvalidDataError
from dense_hf.data import new_directory, push_folder, write_parquet

CARD_TEMPLATES = Path(__file__).parent / "cards"


@dataclass(frozen=True)
class CardFacts:
    """What a card says about a kind of data set.

    Attributes:
        template: Name of a file in cards/.
        task: Task category of the Hub.
        tags: More of what it can be found by.
        release: Title, description and source of the published data set.
        own_description: Description of a user's own data in the same layout.
    """

    template: str
    task: str
    tags: tuple[str, ...]
    release: dict[str, str]
    own_description: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that decide what is published where."""
    parser.add_argument("--own_data", action="store_true", help="do not compare with the numbers of the release")
    parser.add_argument("--parquet", metavar="DIR", help="new folder for Parquet files and a dataset card")
    parser.add_argument("--push_to_hub", metavar="REPO", help="also upload that folder as dataset REPO (name/set)")
    parser.add_argument("--private", action="store_true", help="create REPO as private")
    parser.add_argument("--num_proc", type=int, default=1, help="processes that write Parquet (default: 1)")
    parser.add_argument("--title", help="title of the card of your own data (default: name of the folder)")
    parser.add_argument("--source", default="Own data.", help="where your own data come from, for the card")


def parse_arguments(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options, checked against each other."""
    options = parser.parse_args(arguments)
    if options.push_to_hub and not options.parquet:
        parser.error("--push_to_hub uploads what --parquet writes: give both")
    if options.num_proc < 1:
        parser.error(f"--num_proc must be at least 1. Received: {options.num_proc}")
    return options


def publish(
    options: argparse.Namespace,
    make_builder: Callable[[str], datasets.DatasetBuilder],
    facts: CardFacts,
    statistics: str,
) -> int:
    """Write Parquet and upload it, as far as the options ask for it.

    Args:
        options: From [`parse_arguments`], with the checked `folder`.
        make_builder: The builder of the data set, given a folder for its cache.
        facts: For the card.
        statistics: For the card too.

    Returns:
        The exit status.
    """
    if options.push_to_hub and _is_written(Path(options.parquet)):
        print(f"{options.parquet} is there already; it is uploaded as it is (remove it to write it anew)")
    elif options.parquet:
        try:
            _write(options, make_builder, facts, statistics)
        except (InvalidDataError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"Parquet and a dataset card are in {options.parquet}")
    if options.push_to_hub:
        try:
            print(f"Uploaded: {push_folder(options.parquet, options.push_to_hub, options.private)}")
        except (OSError, RuntimeError, ValueError) as error:
            print(f"error: not uploaded; the same command tries again. {error}", file=sys.stderr)
            return 1
    return 0


def _is_written(folder: Path) -> bool:
    """Whether an earlier command wrote the folder, which then is complete: it is there as a whole or not at all."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != {"README.md", "data"}:
        return False
    names = [path.name for path in (folder / "data").iterdir()]
    return bool(names) and all(name.endswith(".parquet") for name in names)


def _write(
    options: argparse.Namespace,
    make_builder: Callable[[str], datasets.DatasetBuilder],
    facts: CardFacts,
    statistics: str,
) -> None:
    """data/*.parquet and README.md in a new folder, all or nothing."""
    about = facts.release
    if options.own_data:
        title = options.title or Path(options.folder).resolve().name
        about = {"title": title, "description": facts.own_description, "source": options.source}
    with new_directory(options.parquet) as output, tempfile.TemporaryDirectory() as cache:
        data_files = write_parquet(make_builder(cache), output, options.num_proc)
        card = DatasetCard.from_template(
            DatasetCardData(
                license=None if options.own_data else "unknown",
                pretty_name=about["title"],
                task_categories=[facts.task],
                tags=list(facts.tags),
                configs=[{"config_name": "default", "data_files": data_files}],
            ),
            template_path=str(CARD_TEMPLATES / facts.template),
            repo_id=options.push_to_hub or Path(options.parquet).name,
            statistics=statistics,
            options=" --own_data" if options.own_data else "",
            version=dense_hf.__version__,
            day=datetime.now(UTC).date().isoformat(),
            **about,
        )
        card.save(output / "README.md")
