"""From a builder to Parquet files that `datasets.load_dataset` reads, and from there to the Hub."""

import os
import shutil
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

# whatever library of requests the client is made with: that of its own errors
_CONNECTION_ERROR: Any = HfHubHTTPError.__bases__[0]


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


def push_folder(
    folder: str | os.PathLike,
    repo_id: str,
    private: bool = False,
    repo_type: str = "dataset",
    message: str | None = None,
) -> str:
    """Upload a folder to the Hub in one commit, so an interrupted upload changes nothing and can be repeated.

    Args:
        folder: all that is in it is uploaded.
        repo_id: "name/repository", which is made if needed.
        private: make it private.
        repo_type: "dataset" or "model".
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        ValueError: `private`, and the repository is there already and public.
        OSError, RuntimeError: the Hub cannot be reached, refuses, or did not get a large file.
    """
    api = HfApi()
    try:
        created = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        # `private` is of no effect on a repository that was there before
        if private and not api.repo_info(created.repo_id, repo_type=repo_type).private:
            expected = "private needs a new or private repository, this one is public"
            raise ValueError(f"{expected}. Received: {created.repo_id}")
        commit = api.upload_folder(
            folder_path=Path(folder), repo_id=created.repo_id, repo_type=repo_type, commit_message=message
        )
    except HfHubHTTPError:
        raise
    except _CONNECTION_ERROR as error:
        raise ConnectionError(f"no connection to {api.endpoint}: {error}") from error
    return str(commit)
