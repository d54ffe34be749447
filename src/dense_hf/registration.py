"""Makes models known to transformers by name, without importing them, or transformers, or torch.

`import dense_hf` runs this file with the rows of `methods.py`. Whoever then uses an Auto class or `pipeline` finds our
models, whichever of the two packages was imported first; whoever does not, pays nothing.

Two parts. A finder on `sys.meta_path` tells when a module has been imported (`when_imported`): only then is there a
table of transformers to write into. Into its tables go names (`LazyContent`), and a name becomes a class when it is
looked up. Why not `AutoModel.register` at that moment, which is public: it takes classes, and transformers imports its
Auto classes in the middle of importing a model of its own (`modeling_layers.py`), which ours are built of. A circle
that only names can cut. `_extra_content` of the tables, where `register` puts its classes, is private to transformers;
nothing else here is.

Saved checkpoints carry their code: `register_for_auto_class` makes `save_pretrained` copy the files of a task folder
beside the weights, so `AutoModel.from_pretrained(..., trust_remote_code=True)` works without this package; `saving.py`
adds what that lacks, Auto classes of the task and the pipeline.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .lazy_names import load_name, split_name
from .saving import SavedCode

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_AUTO = "transformers.models.auto"
_CONFIGS = f"{_AUTO}.configuration_auto:CONFIG_MAPPING"
_PROCESSORS = f"{_AUTO}.image_processing_auto:IMAGE_PROCESSOR_MAPPING"
_AUTO_MODEL = f"{_AUTO}.modeling_auto:AutoModel"

Action = Callable[[ModuleType], object]


class ImportFinder(MetaPathFinder):
    """Finds modules as all others do, and runs actions after those that somebody waits for."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Action]] = {}
        self._asking: set[tuple[int, str]] = set()

    def when_imported(self, module: str, action: Action) -> None:
        """Call `action` with a module once it has been imported: now, if it has been."""
        if module in sys.modules:
            action(sys.modules[module])
        else:
            self._waiting.setdefault(module, []).append(action)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where the module is, if somebody waits for it; the other finders know.

        One of them may ask all the others as this one does (those of debuggers and of programs that measure code do):
        it is not answered.
        """
        asking = threading.get_ident(), fullname
        if fullname not in self._waiting or asking in self._asking:
            return None
        self._asking.add(asking)
        try:
            others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            found = (finder.find_spec(fullname, path, target) for finder in others)
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._asking.discard(asking)
        if spec is not None and spec.loader is not None:
            spec.loader = _TellingLoader(spec.loader, self)
        return spec

    def tell(self, module: ModuleType) -> None:
        """The module has been imported."""
        for action in self._waiting.pop(module.__name__, ()):
            action(module)


class _TellingLoader(Loader):
    """The loader of a module, which then tells the finder. The module keeps its own loader."""

    def __init__(self, loader: Any, finder: ImportFinder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.tell(module)


class LazyContent(dict):
    """What was registered with a table of transformers, and names that are looked up when somebody asks for them.

    Keys of transformers' tables are model types or config classes; a config class that waits is known by its name.
    """

    def __init__(self, content: dict) -> None:
        super().__init__(content)
        self._waiting: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}

    def add(self, name: str, key: Callable[[], Any], value: Callable[[], Any]) -> None:
        """Add an entry: its key by name, a model type or "module:class", and functions that give key and value."""
        self._waiting[name] = key, value

    def _load(self, name: str) -> None:
        key, value = (make() for make in self._waiting[name])
        self[key] = value

    def _load_all(self) -> None:
        for name in list(self._waiting):
            self._load(name)

    def __missing__(self, key: Any) -> Any:
        if _name_of(key) not in self._waiting:
            raise KeyError(key)
        self._load(_name_of(key))
        return self[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self._waiting.pop(_name_of(key), None)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or _name_of(key) in self._waiting

    def __len__(self) -> int:
        return super().__len__() + len(self._waiting)

    def __iter__(self) -> Iterator:
        self._load_all()
        return super().__iter__()

    def keys(self) -> Any:
        """All keys."""
        self._load_all()
        return super().keys()

    def values(self) -> Any:
        """All values."""
        self._load_all()
        return super().values()

    def items(self) -> Any:
        """All entries."""
        self._load_all()
        return super().items()


class InstalledPipelines:
    """A `custom_pipelines` of a configuration that is written to config.json and not read from there.

    It names the pipeline that travels with a checkpoint, for those who have no dense_hf. Who has it shall get the
    pipeline that is installed: for a copy transformers asks to be trusted, even if it knows the task.
    """

    def __get__(self, config: "PreTrainedConfig | None", owner: "type[PreTrainedConfig]") -> dict[str, dict]:
        return {}

    def __set__(self, config: "PreTrainedConfig", value: dict[str, dict]) -> None:
        config.__dict__["custom_pipelines"] = value


def _name_of(key: Any) -> str:
    return key if isinstance(key, str) else f"{getattr(key, '__module__', '')}:{getattr(key, '__qualname__', '')}"


def announce_config(model_type: str, config: str) -> None:
    """Make a configuration known to `AutoConfig`."""
    _offer(_CONFIGS, model_type, lambda: model_type, lambda: load_name(config))


def announce_model(
    model_type: str,
    config: str,
    model: str,
    processor: str,
    auto_classes: Iterable[str] = (),
    task: str | None = None,
) -> None:
    """Make a model with its configuration and processor known to `AutoModel` and to the Auto classes of its task.

    Args:
        model_type: that of the configuration.
        config, model, processor, auto_classes: "module:class".
        task: of the pipeline that is saved with the model, if that is one of ours.
    """
    announce_config(model_type, config)
    name = ":".join(split_name(config))
    for auto_class in (_AUTO_MODEL, *auto_classes):
        _offer(f"{auto_class}._model_mapping", name, lambda: load_name(config), lambda: load_name(model))
    # one processor serves as both of the backends that transformers tells apart
    backends = ("torchvision", "pil")
    _offer(_PROCESSORS, name, lambda: load_name(config), lambda: dict.fromkeys(backends, load_name(processor)))
    theirs = tuple(cls for module, cls in map(split_name, auto_classes) if module.startswith("transformers."))
    code = SavedCode(config, model, theirs, task)
    _when_defined(config, _prepare_config)
    _when_defined(config, code.travels_with_config)
    _when_defined(model, lambda found: found.register_for_auto_class("AutoModel"))
    _when_defined(processor, lambda found: found.register_for_auto_class())
    _when_defined(processor, code.travels_with_processor)


def _prepare_config(config: Any) -> None:
    config.custom_pipelines = InstalledPipelines()
    config.register_for_auto_class()


def _offer(table: str, name: str, key: Callable[[], Any], value: Callable[[], Any]) -> None:
    """Add to a table of transformers, as soon as there is one, what is looked up when somebody asks for `name`."""

    def add(mapping: Any) -> None:
        if not isinstance(mapping._extra_content, LazyContent):
            mapping._extra_content = LazyContent(mapping._extra_content)
        mapping._extra_content.add(name, key, value)

    _when_defined(table, add)


def _when_defined(name: str, action: Callable[[Any], object]) -> None:
    """Call `action` with "module:name", or "module:name.attribute", once the module has been imported."""
    module, attribute = split_name(name)
    _finder.when_imported(module, lambda found: action(attrgetter(attribute)(found)))


def _announce_pipelines() -> None:
    """Register the pipelines once both their package and that of transformers are there, whichever came first."""
    pipelines = f"{__package__}.pipelines"
    _finder.when_imported(pipelines, lambda module: module.register_pipelines())
    _finder.when_imported("transformers.pipelines", lambda module: import_module(pipelines))


_finder = ImportFinder()
sys.meta_path.insert(0, _finder)
_announce_pipelines()
