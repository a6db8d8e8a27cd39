"Adapters under a classifier and a pipeline, and settings that are recommended."
import copy, json, pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.base import clone

from tabtune import MitraClassifier, TabularPipeline, recommend
from tabtune.core.config import MitraConfig
from tabtune.estimators.settings import check_settings
from tabtune.model.checkpoints import RENAMED
from tabtune.model.mitra import Mitra, parameter_counts
from tabtune.training.recommend import RuleInputs, apply_rules
from tabtune.training.strategies import find_strategy
from tabtune.core.shapes import CheckpointError, ConfigError
from tabtune.training.loop import episode_loss
from tabtune.training.episodes import TableEpisodes

@pytest.fixture(scope='module', autouse=True)
def lora_names():
    "`apply_lora` and its like, as if imported above: `peft`, which they load, takes seconds, so not while tests are collected."
    from tabtune.model import lora
    globals().update({name: getattr(lora, name) for name in lora.__all__})

LAYOUTS = {'ours': {}, 'public': dict(cell='quantile', column='none', order='rows_first', row_scale='none', head='linear', experts='none')}

def table(n=80, seed=0):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 4)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)

@pytest.fixture(params=LAYOUTS)
def model(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mitra(MitraConfig(d_model=32, num_layers=1, dropout=0.0, **LAYOUTS[request.param])).eval()

def with_random_adapters(lora, seed=1):
    "Adapters that change the predictions."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in lora.named_parameters():
            if 'lora_B' in n: p.copy_(0.3 * torch.randn(p.shape, generator=g))
    return lora

def predictions(m, n=20):
    x, y = table()
    est = MitraClassifier(m, device='cpu').fit(x, y)
    return est.predict_proba(table(n, 5)[0])

def test_only_adapters_get_gradients(model):
    lora = apply_lora(model).train()
    x, y = table()
    episode_loss(lora, next(TableEpisodes(x, y, 20, 10, 2, 0, 'meta-learning', np.arange(80)))).backward()
    with_gradient = {n for n, p in lora.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, p in lora.named_parameters() if 'lora_' in n}
    assert len(with_gradient) == 2 * len([n for n in linear_layers(model) if n.split('.')[0] in LAYER_GROUPS])
    c = parameter_counts(lora)
    assert c['trained'] == sum(p.numel() for n, p in lora.named_parameters() if 'lora_' in n)
    assert c['total'] == c['trained'] + sum(p.numel() for p in model.parameters())

def test_the_classifier_works_on_the_model_inside(model):
    lora = with_random_adapters(apply_lora(model, dict(r=4)))
    changed = predictions(lora.get_base_model())
    assert np.abs(changed - predictions(model)).max() > 1e-3
    assert np.allclose(changed, predictions(merge_adapter(lora)), atol=1e-5)
    assert np.allclose(predictions(use_adapter(lora, None).get_base_model()), predictions(model), atol=1e-5)

@pytest.mark.parametrize('way', ['deepcopy', 'pickle', 'files'])
def test_an_adapter_travels(model, tmp_path, way):
    lora = with_random_adapters(apply_lora(model))
    ways = dict(deepcopy=copy.deepcopy, pickle=lambda m: pickle.loads(pickle.dumps(m)), files=lambda m: load_adapter(model, save_adapter(m, tmp_path/'a')))
    again = ways[way](lora)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), lora.state_dict().values()))
    assert np.allclose(predictions(again.get_base_model()), predictions(lora.get_base_model()), atol=1e-5)

def test_merged_logits_are_equal(no_kernel, model):
    lora, (x, y) = with_random_adapters(apply_lora(model, dict(r=16, lora_alpha=32))), table()
    args = torch.tensor(x[None, :60]), torch.tensor(y[None, :60]), torch.tensor(x[None, 60:])
    with torch.no_grad(): apart, merged = lora(*args), merge_adapter(lora)(*args)
    assert (merged - apart).abs().max() < 1e-5 * max(1, apart.abs().max())  # float32 logits of 10 and more

def test_every_target_that_is_offered_resolves(model):
    for name in linear_layers(model): assert resolve_targets(model, name) == [name]
    for pattern in ('queries', 'layers.7', r'layers\.9.*', '', ['q', 'nothing']):
        with pytest.raises(ConfigError, match='covers no linear layer'): apply_lora(model, dict(target_modules=pattern))

def test_a_second_adapter_on_every_layer(model):
    two = with_random_adapters(apply_lora(apply_lora(model, dict(r=2), 'first'), dict(r=4), 'second'))
    apart = [predictions(use_adapter(two, name).get_base_model()) for name in ('first', 'second', None)]
    assert np.abs(apart[0] - apart[1]).max() > 1e-3
    assert np.allclose(apart[2], predictions(model), atol=1e-5)

def test_an_adapter_saved_under_an_old_name_of_a_key_loads(model, tmp_path):
    lora, folder = with_random_adapters(apply_lora(model)), tmp_path/'a'
    save_adapter(lora, folder)
    with safe_open(folder/'adapter_model.safetensors', 'pt') as f: header = f.metadata()
    before = {old: json.loads(header['base'])[new] for old, new in RENAMED.items()}
    base = {k: v for k, v in json.loads(header['base']).items() if k not in RENAMED.values()} | before
    save_file(load_file(folder/'adapter_model.safetensors'), folder/'adapter_model.safetensors', header | dict(base=json.dumps(base)))
    again = load_adapter(model, folder)
    assert np.allclose(predictions(again.get_base_model()), predictions(lora.get_base_model()), atol=1e-5)

def test_a_failed_load_leaves_the_base_alone(model, tmp_path):
    save_adapter(apply_lora(model, dict(r=2)), tmp_path/'a')
    (tmp_path/'a'/'adapter_model.safetensors').write_bytes(b'nonsense')
    with pytest.raises(CheckpointError, match="can't be read"): load_adapter(model, tmp_path/'a')
    assert not any('lora' in n for n in model.state_dict())

# recommendations

def test_recommended_settings_are_used():
    X, y = table(200)
    pipe = TabularPipeline(tuning_strategy='base-ft', tuning_params='auto', model_params=dict(d_model=32, num_layers=1)).fit(X, y)
    rec = pipe.recommendation_
    assert rec.tuning_params['learning_rate'] == pipe.describe()['learning_rate'] == find_strategy('base-ft').rate_for(32)
    assert pipe.describe()['steps'] <= rec.tuning_params['epochs'] * rec.tuning_params['steps_per_epoch']
    assert clone(pipe).tuning_params == 'auto' and not hasattr(pipe.set_params(tuning_strategy='inference').fit(X, y), 'recommendation_')

def test_recommendations_from_any_table_are_valid():
    import pandas as pd
    X, y = table(30)
    for t in (X, pd.DataFrame(X), X.tolist()):
        rec = recommend(t, y, device='cpu', tuning_strategy='peft')
        find_strategy('peft').config(rec.tuning_params)
        check_settings(TabularPipeline(tuning_strategy=rec.tuning_strategy, tuning_params=rec.tuning_params, model_params=rec.model_params))
    assert rec.inputs.rows == 30 and rec.inputs.smallest == min(np.bincount(y))

def test_less_memory_never_asks_for_more():
    need = [apply_rules(RuleInputs(10 ** 6, 400, memory=m * 1e9), timed=False).memory_gb for m in (2, 8, 32, 128)]
    assert need == sorted(need)

def test_decided_settings_stay():
    rec = recommend(*table(), device='cpu', support_size=16, learning_rate=1e-5)
    assert (rec.tuning_params['support_size'], rec.tuning_params['learning_rate']) == (16, 1e-5)
    assert rec.frame().reason['support_size'] == 'as you decided'
