"""A trained model as a repository of the Hub: what belongs to it, checked, and nothing else."""

import shutil
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import ModelCard
from transformers import PreTrainedModel

from ..data.files import one_kind_of_write_error
from ..errors import InvalidDataError
from ..inference.checkpoints import load_model
from ..methods import methods
from ..reading import read_json, read_text
from ..reports.model_card import RESULTS_FILE
from ..strict_loading import check_settings

_MAX_CARD_BYTES, _MAX_JSON_BYTES = 2**22, 2**24
# what an Inference Endpoint installs beside torch: the code of a checkpoint imports it
ENDPOINT_REQUIREMENTS = "transformers>=5.23,<6\ntimm>=1.0.23\ntorchvision>=0.21\nscipy>=1.13\nav>=18\n"
NEEDED = ("config.json", "preprocessor_config.json", "README.md")


def collect_repository(folder: Path, output: Path, repo: str) -> list[Path]:
    """Write into `output` all that the repository shall hold.

    Args:
        folder: a trained model and its card. Its code is not run; that of this version takes its place.
        output: an empty folder.
        repo: name of the repository, for the examples of the card.

    Returns:
        The files, relative to `output`.

    Raises:
        InvalidDataError: the folder is not a complete checkpoint with a card.
        OSError: a full disk.
    """
    require_complete(folder)
    model, processor = load_model(folder, *named_model(folder))
    with one_kind_of_write_error(output):
        model.save_pretrained(output)
        processor.save_pretrained(output)
    card = read_text(folder / "README.md", _MAX_CARD_BYTES)
    for placeholder in ('"this/repository"', f'"checkpoints/{folder.resolve().name}"'):
        card = card.replace(placeholder, f'"{repo}"')
    (output / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("handler.py"), output / "handler.py")  # where an endpoint looks for it
    row = methods().get(model.config.model_type)
    further = "".join(f"{requirement}\n" for requirement in (() if row is None else row.requirements))
    (output / "requirements.txt").write_text(ENDPOINT_REQUIREMENTS + further, encoding="utf-8")
    if (folder / RESULTS_FILE).is_file():
        shutil.copyfile(folder / RESULTS_FILE, output / RESULTS_FILE)
    return sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())


def require_complete(folder: Path) -> None:
    """Nothing, if all files but the weights are there and can be read.

    Raises:
        InvalidDataError: else.
    """
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise InvalidDataError(folder, "a complete checkpoint with a card", f"no {', '.join(missing)}")
    for name in ("config.json", RESULTS_FILE):
        if (folder / name).exists():
            read_json(folder / name, _MAX_JSON_BYTES)
    try:
        metadata = ModelCard(read_text(folder / "README.md", _MAX_CARD_BYTES)).data.to_dict()
    except Exception as error:  # YAML has its own exceptions, and so has the reader of model-index
        raise InvalidDataError(folder / "README.md", "a model card", error) from error
    if not metadata.get("library_name"):
        raise InvalidDataError(folder / "README.md", "a model card with metadata", "none")


def named_model(folder: Path) -> tuple[type[PreTrainedModel], str]:
    """The class that config.json names, and this name.

    Raises:
        InvalidDataError: neither dense_hf nor transformers has it.
    """
    stated = check_settings(folder).get("architectures")
    name = stated[0] if isinstance(stated, list) and stated and isinstance(stated[0], str) else "none"
    ours = (row.model_class for row in methods().values() if row.model.endswith(f":{name}"))
    model_class: Any = next(ours, getattr(transformers, name, None))
    if not (isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)):
        raise InvalidDataError(folder / "config.json", "the name of a model of dense_hf in `architectures`", name)
    return model_class, f"a {name}"
