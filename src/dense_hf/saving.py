"""Every `save_pretrained` and `push_to_hub` of our models is complete, for those who have no dense_hf.

transformers copies the code of a model, of its configuration and of its processor, and names one Auto class. What
lacks is added when config.json is written, by a model, a pipeline, a trainer or alone:

- the Auto classes of the task, in `auto_map`: a pipeline of transformers asks for `AutoModelForImageClassification`;
- the pipeline of the task, in `custom_pipelines`, and its files.

A checkpoint that came through remote code is saved where there is no dense_hf, by transformers alone, which takes the
siblings along that a file imports. That is why the copy of the configuration's file gets an import of the pipeline.
It is never run: reading a checkpoint costs no more than without it.
"""

from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .lazy_names import load_name, split_name

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_CONFIG_FILE = "config.json"  # names of transformers, which is not imported here
_PROCESSOR_FILE = "preprocessor_config.json"

_IMPORT = """

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that the pipeline travels wherever this file is copied
    from .{module} import {name}
"""


@dataclass(frozen=True)
class SavedCode:
    """What belongs to the checkpoints of a model.

    Attributes:
        config, model: its classes, "module:class".
        auto_classes: Auto classes of transformers that find the model, by their names.
        task: name of its pipeline, if there is one.
    """

    config: str
    model: str
    auto_classes: tuple[str, ...]
    task: str | None

    def travels_with_config(self, config_class: Any) -> None:
        """Have the class write a complete config.json, with the code beside it."""
        write = config_class.to_json_file

        @wraps(write)
        def to_json_file(config: Any, json_file_path: Any, *args: Any, **kwargs: Any) -> None:
            path = Path(json_file_path)
            ours = type(config) is config_class and path.name == _CONFIG_FILE and self._is_of(config)
            if ours:
                self._name_classes(config)
            write(config, json_file_path, *args, **kwargs)
            if ours:
                self._bring_code(path.parent)

        config_class.to_json_file = to_json_file

    def travels_with_processor(self, processor_class: Any) -> None:
        """Have the class leave complete code behind: its files may include that of the configuration."""
        write = processor_class.to_json_file

        @wraps(write)
        def to_json_file(processor: Any, json_file_path: Any, *args: Any, **kwargs: Any) -> None:
            write(processor, json_file_path, *args, **kwargs)
            path = Path(json_file_path)
            if path.name == _PROCESSOR_FILE and (path.parent / self._file_of_config).is_file():
                self._bring_pipeline(path.parent)

        processor_class.to_json_file = to_json_file

    def _is_of(self, config: "PreTrainedConfig") -> bool:
        """Whether it is saved for this model, and not for another one that was built of the same configuration."""
        return (config.architectures or [split_name(self.model)[1]]) == [split_name(self.model)[1]]

    @property
    def _file_of_config(self) -> str:
        return f"{_short(split_name(self.config)[0])}.py"

    def _name_classes(self, config: Any) -> None:
        (config_module, config_name), (module, name) = split_name(self.config), split_name(self.model)
        here = {"AutoConfig": f"{_short(config_module)}.{config_name}"}
        here |= dict.fromkeys(("AutoModel", *self.auto_classes), f"{_short(module)}.{name}")
        config.auto_map = {**(getattr(config, "auto_map", None) or {}), **here}
        if (pipeline := self._pipeline()) is not None:
            row = dict(pipeline, impl=_reference(pipeline["impl"]), pt=[one.__name__ for one in pipeline["pt"]])
            config.custom_pipelines = {self.task: row}

    def _bring_code(self, folder: Path) -> None:
        from transformers.dynamic_module_utils import custom_object_save

        for name in (self.model, self.config):
            custom_object_save(load_name(name), folder)
        self._bring_pipeline(folder)

    def _bring_pipeline(self, folder: Path) -> None:
        from transformers.dynamic_module_utils import custom_object_save

        if (pipeline := self._pipeline()) is None:
            return
        custom_object_save(pipeline["impl"], str(folder))
        file = folder / self._file_of_config
        wanted = _IMPORT.format(module=_short(pipeline["impl"].__module__), name=pipeline["impl"].__name__)
        text = file.read_text(encoding="utf-8")
        if wanted not in text:
            file.write_text(text + wanted, encoding="utf-8")

    def _pipeline(self) -> dict[str, Any] | None:
        """What transformers knows of the pipeline of the task; None if it is one of its own, or there is none."""
        from transformers.pipelines import PIPELINE_REGISTRY

        found = PIPELINE_REGISTRY.supported_tasks.get(self.task)
        return None if found is None or found["impl"].__module__.startswith("transformers.") else found


def _short(module: str) -> str:
    return module.rpartition(".")[2]


def _reference(cls: type) -> str:
    return f"{_short(cls.__module__)}.{cls.__name__}"
