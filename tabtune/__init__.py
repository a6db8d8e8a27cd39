"A notebook-first toolkit for tabular foundation models. Everything public is imported when it is first asked for."
__version__ = "0.1.0"

from .core.stopping import is_command, stop_in_one_line
if is_command(): stop_in_one_line()  # before the imports that take time

import builtins
from importlib import import_module

from .core.late_methods import attach_late_methods
from .core.progress import register_progress_view
from .estimators import methods as _estimator_methods  # registers the methods of later chapters
from .explain import methods as _methods  # registers the methods that come with explanations

_HOMES = dict(  # public name -> the module that defines it
    TabularPipeline='estimators.pipeline', check_table='data.checkup', TabularLeaderboard='leaderboard.leaderboard',
    Student='estimators.student', MitraClassifier='estimators.classifier', MitraRegressor='estimators.regressor',
    load_checkpoint='model.checkpoints', save_checkpoint='model.checkpoints', Mitra='model.mitra',
    MitraConfig='core.config', TuningConfig='core.config', LoraSettings='core.config',
    read_table='data.reading_files', TableEncoder='data.encode', TableProcessor='data.processing', tune='training.tuning',
    recommend='training.recommend', app='widgets.app',
    feature_importance='explain.importance', similar_rows='explain.importance', get_attention_weights='explain.attention_maps')
_DOORS = ('dashboard', 'metrics', 'priors')  # short names of modules

__all__ = [*_HOMES]

def __getattr__(name):
    "Import a public name, or one of the short doors, when it is first asked for (PEP 562)."
    if name in _DOORS: return import_module(f'{__name__}.{name}')
    if name not in _HOMES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    if name in ('Mitra', 'load_checkpoint'): attach_late_methods()  # a bare model looks nothing up
    return value

class _Names(dict):
    "Python's own names, and behind them the public ones of this module."
    def __missing__(self, name):
        if name in _HOMES or name in _DOORS: return __getattr__(name)
        raise KeyError(name)

__builtins__ = _Names(vars(builtins))  # so that `eval('MitraClassifier()', vars(tabtune))` finds what is imported late

def __dir__(): return sorted({*globals(), *__all__, *_DOORS})

register_progress_view(lambda: import_module(f'{__name__}.widgets.training_view').live_callback())
