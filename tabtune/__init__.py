"A notebook-first toolkit for tabular foundation models. The rooms: `tabtune.pipeline`, `tabtune.classifier`, `tabtune.mitra`, ..."
__version__ = "0.1.0"

from .checkpoints import load_checkpoint, save_checkpoint
from .classifier import MitraClassifier
from .config import MitraConfig
from .encode import TableEncoder
from .explain import feature_importance, get_attention_weights, similar_rows
from .mitra import Mitra
from .pipeline import TabularPipeline

__all__ = ['TabularPipeline', 'MitraClassifier', 'load_checkpoint', 'save_checkpoint', 'Mitra', 'MitraConfig', 'TableEncoder',
           'feature_importance', 'get_attention_weights', 'similar_rows']
