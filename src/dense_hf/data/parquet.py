"""From a builder to Parquet files that `datasets.load_dataset` reads, and from there to the Hub."""

import os
import shutil
from pathlib import Path

import datasets
from huggingface_hub import HfApi


def write_parquet(builder: datasets.DatasetBuilder, directory: Path, num_proc: int = 1) -> list[dict[str, str]]:
    """Prepare all splits as `directory`/data/*.parquet, pictures inside.

    Args:
        builder: with a cache folder of its own that the caller removes.
        directory: existing folder; see `new_directory` for all or nothing.
        num_proc: processes that read and write.

    Returns:
        The `data_files` of a dataset card, one entry per split.
    """
    work = directory / "work"  # the library leaves lock files and the description of a cache beside the Parquet files
    builder.download_and_prepare(str(work / "data"), file_format="parquet", num_proc=num_proc)
    (work / "data" / "dataset_info.json").unlink()
    (work / "data").rename(directory / "data")
    shutil.rmtree(work)
    return [
        {"split": split, "path": f"data/{builder.dataset_name}-{split}*.parquet"}
        for split in builder.info.splits or ()
    ]


def push_folder(folder: str | os.PathLike, repo_id: str, private: bool = False) -> str:
    """Upload a folder as the dataset `repo_id`, which is made if needed; returns the address of the commit."""
    api = HfApi()
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    return str(api.upload_folder(folder_path=Path(folder), repo_id=repo_id, repo_type="dataset"))
