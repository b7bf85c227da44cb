"""Finds the class behind a name in a study: in a file of a package's folder, or in another package."""

import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from hfprune.errors import KIND, REASON, HfpruneError, explained, nearest
from hfprune.plugins.outline import Outline, outline
from hfprune.settings import Strict, validate

Kind = TypeVar("Kind", bound=Strict)


class Registry(Generic[Kind]):
    """The classes of one sort, such as criteria, by name; each is imported only when it is used.

    A class has its own file in the folder of `package`, named after the class in studies. Or another package
    provides it by an entry point in the group `package`, such as `hfprune.criteria`.
    """

    def __init__(
        self, package: str, base: type[Kind], required: tuple[str, ...] = (), word: str = ""
    ) -> None:
        """Register the folder of `package`, whose files each define one subclass of `base`.

        Each must set the `required` class variables. Messages call the sort `word`, by default the name of `base`.
        """
        self.package = package
        self.base = base
        self.required = required
        self.word = word or base.__name__.lower()
        self.sources = cache(self._sources)
        self.outlines = cache(self._outlines)
        self.load = cache(self._load)

    def _sources(self) -> dict[str, list[EntryPoint]]:
        """Return the sources of each name, without importing them.

        More than one source for a name is a mistake, which `load` reports when the name is used.
        """
        sources: dict[str, list[EntryPoint]] = {}
        folder = import_module(self.package).__path__
        files = [
            EntryPoint(module.name, f"{self.package}.{module.name}", self.package)
            for module in pkgutil.iter_modules(folder)
        ]
        for source in (*files, *sorted(entry_points(group=self.package), key=lambda source: source.value)):
            sources.setdefault(source.name, []).append(source)
        return sources

    def _outlines(self) -> dict[str, Outline]:
        """Return the outline of each name's file, without importing it.

        Raises:
            HfpruneError: a file is missing or is not valid Python.
        """
        outlines = {}
        for name, (source, *_) in self.sources().items():
            with explained(f"{origin(source)}: cannot read it: {REASON}", ImportError, OSError, SyntaxError):
                spec = find_spec(source.module)
                outlines[name] = outline(Path(str(spec and spec.origin)))
        return outlines

    def _load(self, name: str) -> type[Kind]:
        """Return the class of this name.

        Raises:
            HfpruneError: no class or two classes have this name, or the class does not import or is not valid;
                names the file or package.
        """
        sources = self.sources()
        if name not in sources:
            raise HfpruneError(f"unknown {self.word} {name!r}{nearest(name, [*sources])}")
        source, *others = sources[name]
        if others:
            raise HfpruneError(
                f"{self.word} {name!r} is defined by {' and by '.join(map(origin, sources[name]))}; rename one"
            )
        text = f"{origin(source)}: does not import ({KIND}: {REASON})"
        with explained(text, Exception, SystemExit):  # whatever a user's file raises
            loaded = source.load()
        return self._checked(loaded, origin(source))

    def _checked(self, loaded: Any, where: str) -> type[Kind]:
        """Return the one class that a module defines, or the class that an entry point names."""
        base = self.base
        if isinstance(loaded, ModuleType):
            own = [item for item in vars(loaded).values() if inspect.isclass(item) and issubclass(item, base)]
            own = [item for item in own if item.__module__ == loaded.__name__]
            if len(own) != 1:
                raise HfpruneError(
                    f"{where}: must define one subclass of {base.__name__}, but defines {len(own)}"
                )
            (loaded,) = own
        if not (inspect.isclass(loaded) and issubclass(loaded, base)):
            raise HfpruneError(f"{where}: is no subclass of {base.__module__}.{base.__name__}")
        missing = [*sorted(loaded.__abstractmethods__)]
        missing += [name for name in self.required if not hasattr(loaded, name)]
        if missing:
            raise HfpruneError(f"{where}: {loaded.__name__} must define {', '.join(missing)}")
        return loaded

    def make(self, name: str, options: Mapping[str, object], where: str) -> Kind:
        """Build an instance of the class `name`, whose fields are `options`.

        Raises:
            HfpruneError: see `load`, or the class does not take these options; the line starts with `where`.
        """
        with explained(f"{where}: {REASON}", HfpruneError):
            kind = self.load(name)
        return validate(kind, options, where if where.endswith(name) else f"{where}: {name}")


def origin(source: EntryPoint) -> str:
    """Return where a reader finds a class: its file, or its package and object."""
    if source.dist is None:
        return f"{source.value.replace('.', '/')}.py"
    return f"{source.dist.name} ({source.value})"


def source_file(item: Strict) -> Path:
    """Return the file that defines an instance's class."""
    return Path(str(sys.modules[type(item).__module__].__file__))
