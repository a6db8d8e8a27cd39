"A notebook-first toolkit for tabular foundation models. The rooms: `tabtune.pipeline`, `tabtune.classifier`, `tabtune.mitra`, ..."
__version__ = "0.1.0"

from .checkpoints import load_checkpoint, save_checkpoint
from .classifier import MitraClassifier
from .config import LoraSettings, MitraConfig, TuningConfig
from .encode import TableEncoder
from .explain import feature_importance, similar_rows
from .leaderboard import TabularLeaderboard
from .maps import get_attention_weights
from .mitra import Mitra
from .pipeline import TabularPipeline
from .processing import TableProcessor
from .recommend import recommend
from .regressor import MitraRegressor
from .tuning import tune

__all__ = ['TabularPipeline', 'TabularLeaderboard', 'MitraClassifier', 'MitraRegressor', 'load_checkpoint', 'save_checkpoint', 'Mitra',
           'MitraConfig', 'TuningConfig', 'LoraSettings', 'TableEncoder', 'TableProcessor', 'tune', 'feature_importance',
           'get_attention_weights', 'similar_rows', 'recommend']
