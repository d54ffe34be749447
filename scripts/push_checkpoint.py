"""Upload a trained model to the Hub, with the code that others need to load it. This text is the manual.

    hf auth login                                                            # once
    python scripts/push_checkpoint.py runs/iocformer your-name/iocformer --dry-run
    python scripts/push_checkpoint.py runs/iocformer your-name/iocformer --private

The folder is what a training script wrote, what `dense-hf convert` made or a folder of checkpoints/, with a card:
config.json, *.safetensors, preprocessor_config.json and README.md. A folder that lacks one of them, or some of the
weights, is refused before anything is sent. Code in the folder is not run; it is replaced by that of this version.

The repository gets, in one commit,

    *.safetensors, config.json, preprocessor_config.json   model and processor
    *.py                                                   their code, and that of their task
    README.md, results.json (if there is one)              card and evaluation results

so that it loads with dense_hf, and without it by `trust_remote_code=True`, also with `pipeline`. Nothing else of the
folder is sent: no optimizer, no checkpoints, no training arguments.

An upload that was interrupted left the repository as it was; run the command again. Large files that had arrived are
not sent twice. A second upload replaces the first, whose state stays in the history.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import ModelCard
from transformers import PreTrainedModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from dense_hf.data import push_folder
from dense_hf.errors import InvalidDataError
from dense_hf.inference.checkpoints import load_model
from dense_hf.methods import methods
from dense_hf.reports.model_card import RESULTS_FILE
from dense_hf.strict_loading import check_settings

NEEDED = ("config.json", "preprocessor_config.json", "README.md")


def main() -> None:
    """Check the folder, collect what belongs to it, list or upload that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with a trained model and its card")
    parser.add_argument("repo", help="name of the repository, your-name/model; it is made if needed")
    parser.add_argument("--private", action="store_true", help="make it private; a public one is refused")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be uploaded")
    parser.add_argument("--message", default="Upload a model of dense_hf", help="of the commit")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        try:
            collect(arguments.folder, Path(work), arguments.repo)
            files = sorted(path for path in Path(work).rglob("*") if path.is_file())
            for path in files:
                print(f"{path.stat().st_size:>12,}  {path.relative_to(work)}")
            if arguments.dry_run:
                print(f"{len(files)} files for {arguments.repo}; nothing was uploaded")
                return
            address = push_folder(
                work, arguments.repo, arguments.private, repo_type="model", message=arguments.message
            )
        except (InvalidDataError, OSError, RuntimeError, ValueError) as error:
            sys.exit(f"push_checkpoint.py: {error}")
    print(f"Uploaded: {address}")


def collect(folder: Path, output: Path, repo: str) -> None:
    """Write into `output` all that the repository shall hold.

    Raises:
        InvalidDataError: The folder is not a complete checkpoint with a card.
    """
    require_complete(folder)
    model, processor = load_model(folder, *named_model(folder))
    task = pipeline_of(model)
    vars(model.config).pop("custom_pipelines", None)  # of an earlier upload
    if task is not None:
        pipeline(task, model=model, image_processor=processor, device="cpu").save_pretrained(output)
    else:
        model.save_pretrained(output)
        processor.save_pretrained(output)
    name_auto_classes(output / "config.json", model)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for placeholder in ('"this/repository"', f'"checkpoints/{folder.resolve().name}"'):
        card = card.replace(placeholder, f'"{repo}"')
    (output / "README.md").write_text(card, encoding="utf-8")
    if (folder / RESULTS_FILE).is_file():
        shutil.copyfile(folder / RESULTS_FILE, output / RESULTS_FILE)


def require_complete(folder: Path) -> None:
    """Raise `InvalidDataError` unless all files but the weights are there and can be read."""
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise InvalidDataError(folder, "a complete checkpoint with a card", f"no {', '.join(missing)}")
    for name in ("config.json", RESULTS_FILE):
        try:
            json.loads((folder / name).read_text(encoding="utf-8") if (folder / name).exists() else "{}")
        except ValueError as error:
            raise InvalidDataError(folder / name, "JSON", error) from error
    try:
        metadata = ModelCard.load(folder / "README.md").data.to_dict()
    except Exception as error:  # YAML has its own exceptions, and so has the reader of model-index
        raise InvalidDataError(folder / "README.md", "a model card", error) from error
    if not metadata.get("library_name"):
        raise InvalidDataError(folder / "README.md", "a model card with metadata", "none")


def named_model(folder: Path) -> tuple[type[PreTrainedModel], str]:
    """The class that config.json names, and this name.

    Raises:
        InvalidDataError: neither dense_hf nor transformers has it.
    """
    name = str((check_settings(folder).get("architectures") or ["none"])[0])
    ours = (row.model_class for row in methods().values() if row.model.endswith(f":{name}"))
    model_class: Any = next(ours, getattr(transformers, name, None))
    if model_class is None:
        raise InvalidDataError(folder / "config.json", "the name of a model of dense_hf in `architectures`", name)
    return model_class, f"a {name}"


def pipeline_of(model: PreTrainedModel) -> str | None:
    """The task of dense_hf whose pipeline is saved with a model; others have their task from transformers."""
    row = methods().get(model.config.model_type)
    ours = row is not None and not row.is_of_transformers and row.task in PIPELINE_REGISTRY.get_supported_tasks()
    return row.task if ours else None


def name_auto_classes(file: Path, model: PreTrainedModel) -> None:
    """Name in config.json every Auto class of transformers that knows the model, not only `AutoModel`.

    `save_pretrained` names one class. A pipeline of transformers asks for that of its task, "image-classification" for
    `AutoModelForImageClassification`.
    """
    config = json.loads(file.read_text(encoding="utf-8"))
    if "AutoModel" not in config.get("auto_map", {}):
        return
    for name in dir(transformers):
        mapping = getattr(getattr(transformers, name), "_model_mapping", None) if "AutoModelFor" in name else None
        if mapping is not None and type(model.config) in mapping:
            config["auto_map"][name] = config["auto_map"]["AutoModel"]
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
