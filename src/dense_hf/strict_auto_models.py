"""Auto classes that refuse an incomplete or damaged checkpoint, for `pipeline(task, model="folder")`."""

from typing import Any

from transformers import AutoConfig

from .errors import InvalidDataError
from .strict_loading import checkpoint_folder, load_checkpoint

_OF_THE_HUB = ("revision", "token", "cache_dir", "local_files_only")
_OF_REMOTE_CODE = ("trust_remote_code", "code_revision")


def strict(auto_class: Any) -> Any:
    """An Auto class of the same name and models that loads strictly what it knows.

    What is wrong with a checkpoint is raised by the first that asks the model for anything, which is the pipeline. If
    it were raised here, transformers would try other classes, which are not strict, and then hide it in a traceback.
    """

    def from_pretrained(cls: Any, source: str, **options: Any) -> Any:
        of_the_hub = {name: options[name] for name in _OF_THE_HUB if name in options}
        of_remote_code = {name: options[name] for name in _OF_REMOTE_CODE if name in options}
        config = AutoConfig.from_pretrained(source, **of_the_hub, **of_remote_code)
        if type(config) not in cls._model_mapping:  # a stranger's model, with code of its own, or one of another task
            return auto_class.from_pretrained(source, **options)
        rest = {name: value for name, value in options.items() if name not in (*_OF_THE_HUB, *_OF_REMOTE_CODE)}
        try:
            folder = checkpoint_folder(source, **of_the_hub)
            return load_checkpoint(cls._model_mapping[type(config)], folder, config=config, **rest)
        except InvalidDataError as error:
            return _Refused(error)

    return type(auto_class.__name__, (auto_class,), {"from_pretrained": classmethod(from_pretrained)})


class _Refused:
    """In the place of a model that cannot be used."""

    def __init__(self, error: InvalidDataError):
        self.__dict__["error"] = error

    def __getattr__(self, name: str) -> Any:
        raise self.__dict__["error"]
