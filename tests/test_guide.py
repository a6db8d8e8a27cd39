"""The calls and settings of the user's guide, on a small table, on a machine with or without CUDA.

The second half of this file holds samples of our own, with the guide's calls and the guide's settings, shortened by `QUICK`;
they always run. The guide itself lies beside the project (`shared/mitra-guide.md` in a folder above) and is read, never copied:
where it is there, each of its Python samples is run as it is written. The samples' own training takes minutes in all, so here
an epoch ends after a few steps; TABTUNE_GUIDE=whole trains as long as the samples say.
"""
import os, re, warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split

from tabtune import TabularLeaderboard, TabularPipeline
from tabtune.model.checkpoints import bundled

GUIDE = next((g for p in Path(__file__).resolve().parents if (g := p/'shared'/'mitra-guide.md').is_file()), None)
SAMPLES = re.findall(r'^```python\n(.*?)^```', GUIDE.read_text(encoding='utf-8'), re.M | re.S) if GUIDE else []
SCORES = {'accuracy', 'f1_score', 'roc_auc_score', 'precision', 'recall', 'mcc', 'brier_score', 'log_loss'}
CPU = "device='cuda' is not available on this machine; using the CPU"
NO_CUDA = not torch.cuda.is_available()

def orders(n, seed=0):
    "A small table of orders."
    r = np.random.default_rng(seed)
    t = pd.DataFrame(dict(amount=r.lognormal(3, 1, n).round(2), items=r.integers(1, 9, n), country=r.choice(['NO', 'IT', 'PE'], n), night=r.random(n) < .3))
    t['target'] = np.where((t.amount > 25) ^ t.night, 'kept', 'returned')
    t.loc[::11, 'amount'] = None
    return t

def halves(t): return train_test_split(t.drop('target', axis=1), t['target'], test_size=0.2, random_state=42)

# --- as written

@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    "What somebody has at hand who reads the guide: a table in a file and in memory, the usual imports, a fitted pipeline."
    place = tmp_path_factory.mktemp('reader')
    orders(60).to_csv(place/'structured_data.csv', index=False)
    names = dict(zip(('X_train', 'X_test', 'y_train', 'y_test'), halves(pd.read_csv(place/'structured_data.csv'))))
    pipeline = TabularPipeline().fit(names['X_train'], names['y_train'])
    return place, names | dict(X_new=names['X_test'], np=np, pd=pd, TabularPipeline=TabularPipeline, TabularLeaderboard=TabularLeaderboard, pipeline=pipeline)

@pytest.fixture
def few_steps(monkeypatch):
    "End each epoch after three steps."
    if os.environ.get('TABTUNE_GUIDE') == 'whole': return
    import tabtune.estimators.pipeline as pipeline
    whole = pipeline.tune
    monkeypatch.setattr(pipeline, 'tune', lambda model, x, y, config, *more, **named: whole(model, x, y, dict(config) | dict(steps_per_epoch=3), *more, **named))

def settings_in(names):
    "The arguments that a sample of settings, without a pipeline, stands for."
    out = {k: names[k] for k in ('model_params', 'tuning_params', 'tuning_strategy') if k in names}
    lora = names.get('peft_config') or {k: names[k] for k in ('target_modules',) if k in names}
    if lora: out['tuning_params'] = dict(peft_config=lora)
    if 'tuning_params' in out: out['tuning_strategy'] = 'peft' if lora else 'base-ft'
    return out

def check_pipeline(pipe, names):
    "Fitted with the settings that were given, and able to predict."
    given, config = pipe.model_params or {}, pipe.model.config
    assert all(getattr(config, k) == v for k, v in given.items() if k in ('d_model', 'd_ff', 'num_heads', 'num_layers'))
    scores, labels = pipe.evaluate(names['X_test'], names['y_test']), pipe.predict(names['X_test'])
    assert set(scores) >= SCORES and scores['accuracy'] == (labels == names['y_test']).mean() and np.isfinite(scores['log_loss'])
    sizes = pipe.describe()
    assert sizes['device'] == 'cpu' or not NO_CUDA
    if pipe.tuning_strategy == 'inference': assert sizes['trained'] == 0 and not hasattr(pipe, 'history_')
    else:
        assert 0 < len(pipe.history_) and np.isfinite(pipe.history_.loss.dropna()).all()
        assert (sizes['trained'] < sizes['parameters']) == (pipe.tuning_strategy == 'peft')

def assigns(code, name): return re.search(rf'^\s*{name} = ', code, re.M) is not None

COUNTS = dict(metrics=3, predictions=2, loaded=1, lb=1)  # variable -> samples that assign it; what they hold is checked below

def run(code, names):
    "Run a sample; then fit what it leaves for the reader to fit."
    before = dict(names)
    exec(compile(code, 'sample', 'exec'), names)
    new = {k: v for k, v in names.items() if k != '__builtins__' and v is not before.get(k)}
    X, y, pipe = names['X_train'], names['y_train'], new.get('pipeline')
    if settings_in(new): pipe = TabularPipeline(**settings_in(new))
    if pipe is not None and not hasattr(pipe, 'estimator_'): pipe.fit(X, y)
    return new, pipe

@pytest.mark.skipif(not GUIDE, reason='the guide is not here')
def test_the_guide_has_samples():
    assert len(SAMPLES) == 19
    assert {name: sum(assigns(code, name) for code in SAMPLES) for name in COUNTS} == COUNTS

@pytest.mark.parametrize('i', range(len(SAMPLES)), ids=lambda i: f'{i}: ' + next(l for l in SAMPLES[i].splitlines() if l and l[0] != '#')[:40])
def test_sample_runs_as_written(i, reader, few_steps, monkeypatch, capsys):
    (place, names), code = reader, SAMPLES[i]
    names = dict(names)
    if 'num_layers\': 4' in code and 'large' not in bundled(): pytest.skip('no large weights in this build')
    monkeypatch.chdir(place)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        new, pipe = run(code, names)
    messages = {str(w.message) for w in caught if issubclass(w.category, UserWarning)}
    assert (CPU in messages) == (NO_CUDA and "'cuda'" in code)
    others = messages - {CPU}
    assert all("'dropout' belongs in model_params" in m for m in others) and (len(others) > 0) == ("'dropout': 0.2" in code)
    if pipe is not None: check_pipeline(pipe, names)
    printed = capsys.readouterr().out
    assert [name for name in COUNTS if name in new] == [name for name in COUNTS if assigns(code, name)]
    if 'metrics' in new: assert set(new['metrics']) >= SCORES
    if 'Accuracy:' in code: assert f"Accuracy: {new['metrics']['accuracy']:.4f}\nF1 Score: {new['metrics']['f1_score']:.4f}\n" in printed
    if 'predictions' in new: assert set(new['predictions']) <= set(names['y_train']) and len(new['predictions']) == len(names['X_test'])
    if 'loaded' in new:
        assert (place/'mitra_production.joblib').is_file()
        assert np.array_equal(new['loaded'].predict_proba(names['X_new']), pipe.predict_proba(names['X_new']))
    if 'lb' in new:
        table = new['lb'].results_
        assert len(table) == code.count('add_model(') and table.accuracy.notna().all() and table.accuracy.is_monotonic_decreasing
    if 'get_attention_weights' in code:
        maps = new['attention_weights'] if 'attention_weights' in new else new['attention']
        assert maps.shape == names['X_test'].shape and (maps > 0).all() and (maps.sum(1) < 1).all()
        assert (f'Attention shape: {maps.shape}' if 'attention_weights' in new else 'Top 10 features: ') in printed
    assert pipe is not None or 'lb' in new or 'get_attention_weights' in code

# --- samples of our own: the same calls with the same settings, shortened

QUICK = dict(steps_per_epoch=2, keep='tuned')  # what is not the guide's: fewer steps of each epoch, and no repeats to find out which model is better

@pytest.fixture(scope='module')
def shop():
    "Orders, split in two."
    return halves(orders(240))

def fitted(shop, **kw):
    "A pipeline fitted on the training rows; without CUDA a wish for it warns."
    X_train, _, y_train, _ = shop
    pipe = TabularPipeline(model_name='Mitra', **kw)
    if kw.get('tuning_params', {}).get('device') == 'cuda' and not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="device='cuda' is not available on this machine; using the CPU"): pipe.fit(X_train, y_train)
    else: pipe.fit(X_train, y_train)
    return check(pipe, shop)

def check(pipe, shop):
    "Labels for every row, and scores within their ranges."
    _, X_test, y_train, y_test = shop
    labels, scores = pipe.predict(X_test), pipe.evaluate(X_test, y_test)
    assert len(labels) == len(X_test) and set(labels) <= set(y_train)
    assert set(scores) >= SCORES and all(0 <= scores[k] <= 1 for k in ('accuracy', 'f1_score', 'roc_auc_score', 'brier_score'))
    assert scores['accuracy'] == (labels == y_test).mean()
    return pipe

def size(pipe): c = pipe.model.config; return c.d_model, c.num_layers, c.num_heads, c.d_ff

TUNE = dict(device='cuda', epochs=3, learning_rate=1e-5, support_size=128, query_size=128, batch_size=4)

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_all_model_params(shop):
    pipe = fitted(shop, model_params=dict(d_model=64, d_ff=128, num_heads=4, num_layers=2, dropout=0.1, use_synthetic_prior=True, seed=42))
    assert size(pipe) == (64, 2, 4, 128)

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_all_tuning_params(shop):
    pipe = fitted(shop, tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1),
        tuning_params=TUNE | dict(optimizer='adamw', n_episodes=500, show_progress=True) | QUICK)
    assert len(pipe.history_) and pipe.describe()['device'] == ('cuda' if torch.cuda.is_available() else 'cpu')

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_prediction_without_tuning(shop):
    pipe = fitted(shop, tuning_strategy='inference', model_params=dict(d_model=64, num_layers=2, use_synthetic_prior=True))
    assert pipe.tuning_strategy == 'inference' and not hasattr(pipe, 'history_')

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_base_tuning(shop):
    pipe = fitted(shop, tuning_strategy='base-ft', tuning_params=TUNE | dict(show_progress=True) | QUICK)
    assert size(pipe) == (64, 2, 4, 128) and pipe.history_.step.max() == 6

def lora(r, alpha, dropout, **more):
    "The guide's settings for small memory."
    return dict(device='cuda', epochs=3, learning_rate=2e-5, support_size=64, query_size=64, batch_size=2, peft_config=dict(r=r, lora_alpha=alpha, lora_dropout=dropout)) | more

@pytest.mark.filterwarnings('ignore:device=.*is not available')
@pytest.mark.parametrize('params', [pytest.param(lora(8, 16, 0.05), id='r=8'), pytest.param(lora(4, 8, 0.1, steps_per_epoch=30), id='r=4')])
def test_adapters(shop, params):
    pytest.importorskip('tabtune.model.lora')
    assert len(fitted(shop, tuning_strategy='peft', tuning_params=params | QUICK).history_)

@pytest.mark.filterwarnings('ignore:device=.*is not available')
@pytest.mark.parametrize('targets', [
    pytest.param(None, id='default'), pytest.param(['x_embedding', 'layers', 'final_layer'], id='three groups')])
def test_adapters_sit_in_three_groups(shop, targets):
    pytest.importorskip('tabtune.model.lora')
    params = lora(8, 16, 0.05)
    params['peft_config']['target_modules'] = targets
    pipe = fitted(shop, tuning_strategy='peft', model_params=dict(d_model=32, num_layers=1), tuning_params=params | QUICK)
    assert 0 < pipe.describe()['trained'] < pipe.describe()['parameters']

def large_is_bundled(): return 'large' in bundled()

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_another_architecture(shop):
    if not large_is_bundled(): pytest.skip('no large weights in this build')
    pipe = fitted(shop, tuning_strategy='base-ft', model_params=dict(d_model=128, num_layers=4, num_heads=8, d_ff=256), tuning_params=dict(epochs=5, learning_rate=1e-5) | QUICK | dict(steps_per_epoch=1))
    assert size(pipe) == (128, 4, 8, 256)

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_three_architectures_are_compared(shop):
    X_train, X_test, y_train, y_test = shop
    lb = TabularLeaderboard(X_train, X_test, y_train, y_test)
    sizes = {'Mitra-Small': (32, 1), 'Mitra-Medium': (64, 2)} | ({'Mitra-Large': (128, 4)} if large_is_bundled() else {})
    for name, (d_model, num_layers) in sizes.items():
        lb.add_model('Mitra', 'base-ft', name=name, model_params=dict(d_model=d_model, num_layers=num_layers), tuning_params=dict(epochs=3) | QUICK | dict(steps_per_epoch=1))
    table = lb.run(rank_by='accuracy')
    assert len(table) == len(sizes) and table.accuracy.is_monotonic_decreasing and table.accuracy.notna().all()

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_saved_and_loaded_for_production(shop, tmp_path):
    pipe = fitted(shop, tuning_strategy='base-ft', tuning_params=dict(device='cuda', epochs=5, support_size=128, batch_size=4, learning_rate=1e-5) | QUICK)
    file = str(tmp_path/'in_production.joblib')
    pipe.save(file)
    again, X_new = TabularPipeline.load(file), shop[1]
    assert np.array_equal(again.predict_proba(X_new), pipe.predict_proba(X_new)) and again.predict(X_new).tolist() == pipe.predict(X_new).tolist()
    assert isinstance(joblib.load(file), TabularPipeline)

ADVICE = [  # what to change when something goes wrong: (strategy, model_params, tuning_params)
    pytest.param('base-ft', {}, dict(batch_size=2, support_size=64, query_size=64), id='small batches'),
    pytest.param('peft', {}, {}, id='adapters'),
    pytest.param('base-ft', dict(d_model=32, num_layers=1), {}, id='small model'),
    pytest.param('base-ft', {}, dict(support_size=256, query_size=256, n_episodes=1000), id='more rows'),
    pytest.param('base-ft', {}, dict(weight_decay=0.1, dropout=0.2), id='regularised'),
]

@pytest.mark.filterwarnings('ignore:device=.*is not available')
@pytest.mark.filterwarnings("ignore:'dropout' belongs in model_params")
@pytest.mark.parametrize('strategy, model_params, tuning_params', ADVICE)
def test_advice_for_trouble(shop, strategy, model_params, tuning_params):
    if strategy == 'peft': pytest.importorskip('tabtune.model.lora')
    assert len(fitted(shop, tuning_strategy=strategy, model_params=model_params, tuning_params=tuning_params | QUICK | dict(steps_per_epoch=1)).history_)

@pytest.mark.filterwarnings('ignore:device=.*is not available')
def test_attention_maps_and_importance_from_the_model_alone(shop):
    X_test, pipe = shop[1], fitted(shop, tuning_strategy='inference')
    attention = pipe.model.get_attention_weights(X_test)
    assert attention.shape == X_test.shape and 0 < attention.min() and attention.max() < 1
    order = np.argsort(attention.mean(axis=0))[-2:]
    assert len(set(X_test.columns[order])) == 2
