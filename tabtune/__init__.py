"A notebook-first toolkit for tabular foundation models. The rooms: `tabtune.pipeline`, `tabtune.classifier`, `tabtune.mitra`, ..."
__version__ = "0.1.0"

from importlib import import_module

# Public name -> the module that holds it. A module is imported when its name is first asked for, so `import tabtune` is quick.
_HOMES = dict(
    TabularPipeline='pipeline',
    MitraClassifier='classifier',
    load_checkpoint='checkpoints',
    save_checkpoint='checkpoints',
    Mitra='mitra',
    MitraConfig='config',
    TableEncoder='encode',
)
__all__ = list(_HOMES)

def __getattr__(name):
    "Import `name` from its module, and keep it."
    if name not in _HOMES: raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its names are {', '.join(_HOMES)}")
    value = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    globals()[name] = value
    return value

def __dir__(): return sorted({*globals(), *__all__})
