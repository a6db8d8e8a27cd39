"""The calls that a user's guide shows, with the same parameters, on small data: on a machine without CUDA they warn and use the CPU.

Epochs, sizes and rates are the guide's own. What would take minutes is shortened by one extra setting, named in `QUICK`.
"""
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split

from tabtune import TabularLeaderboard, TabularPipeline

QUICK = dict(steps_per_epoch=2)  # the one thing that is not the guide's: fewer steps of each epoch
SCORES = {'accuracy', 'f1_score', 'roc_auc_score', 'precision', 'recall', 'mcc', 'brier_score', 'log_loss'}
pytestmark = pytest.mark.filterwarnings('ignore:device=.*is not available')

@pytest.fixture(scope='module')
def shop(tmp_path_factory):
    "A small table of orders in a file, split in two."
    r, n = np.random.default_rng(0), 240
    t = pd.DataFrame(dict(amount=r.lognormal(3, 1, n).round(2), items=r.integers(1, 9, n), country=r.choice(['NO', 'IT', 'PE'], n), night=r.random(n) < .3))
    t['target'] = np.where((t.amount > 25) ^ t.night, 'kept', 'returned')
    t.loc[::11, 'amount'] = None
    path = tmp_path_factory.mktemp('shop')/'orders.csv'
    t.to_csv(path, index=False)
    t = pd.read_csv(path)
    return train_test_split(t.drop('target', axis=1), t['target'], test_size=0.2, random_state=42)

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
    assert f"Accuracy: {scores['accuracy']:.4f}"[-6:-4] in ('0.', '1.') and f"{scores['f1_score']:.4f}"
    return pipe

def size(pipe): c = pipe.model.config; return c.d_model, c.num_layers, c.num_heads, c.d_ff

TUNE = dict(device='cuda', epochs=3, learning_rate=1e-5, support_size=128, query_size=128, batch_size=4)

def test_all_model_params(shop):
    pipe = fitted(shop, model_params=dict(d_model=64, d_ff=128, num_heads=4, num_layers=2, dropout=0.1, use_synthetic_prior=True, seed=42))
    assert size(pipe) == (64, 2, 4, 128)

def test_all_tuning_params(shop):
    pipe = fitted(shop, tuning_strategy='base-ft', model_params=dict(d_model=32, num_layers=1),
        tuning_params=TUNE | dict(optimizer='adamw', n_episodes=500, show_progress=True) | QUICK)
    assert len(pipe.history_) and pipe.describe()['device'] == ('cuda' if torch.cuda.is_available() else 'cpu')

def test_prediction_without_tuning(shop):
    pipe = fitted(shop, tuning_strategy='inference', model_params=dict(d_model=64, num_layers=2, use_synthetic_prior=True))
    assert pipe.tuning_strategy == 'inference' and not hasattr(pipe, 'history_')

def test_base_tuning(shop):
    pipe = fitted(shop, tuning_strategy='base-ft', tuning_params=TUNE | dict(show_progress=True) | QUICK)
    assert size(pipe) == (64, 2, 4, 128) and pipe.history_.step.max() == 6

def lora(r, alpha, dropout, **more):
    "The guide's settings for small memory."
    return dict(device='cuda', epochs=3, learning_rate=2e-5, support_size=64, query_size=64, batch_size=2, peft_config=dict(r=r, lora_alpha=alpha, lora_dropout=dropout)) | more

@pytest.mark.parametrize('params', [lora(8, 16, 0.05), lora(4, 8, 0.1, steps_per_epoch=30)])
def test_adapters(shop, params):
    pytest.importorskip('tabtune.lora')
    assert len(fitted(shop, tuning_strategy='peft', tuning_params=params | QUICK).history_)

@pytest.mark.parametrize('targets', [None, ['x_embedding', 'layers', 'final_layer']])
def test_adapters_sit_in_three_groups(shop, targets):
    pytest.importorskip('tabtune.lora')
    params = lora(8, 16, 0.05)
    params['peft_config']['target_modules'] = targets
    pipe = fitted(shop, tuning_strategy='peft', model_params=dict(d_model=32, num_layers=1), tuning_params=params | QUICK)
    assert 0 < pipe.describe()['trained'] < pipe.describe()['parameters']

def large_is_bundled():
    from tabtune.checkpoints import bundled
    return 'large' in bundled()

def test_another_architecture(shop):
    if not large_is_bundled(): pytest.skip('no large weights in this build')
    pipe = fitted(shop, tuning_strategy='base-ft', model_params=dict(d_model=128, num_layers=4, num_heads=8, d_ff=256), tuning_params=dict(epochs=5, learning_rate=1e-5) | dict(steps_per_epoch=1))
    assert size(pipe) == (128, 4, 8, 256)

def test_three_architectures_are_compared(shop):
    X_train, X_test, y_train, y_test = shop
    lb = TabularLeaderboard(X_train, X_test, y_train, y_test)
    sizes = {'Mitra-Small': (32, 1), 'Mitra-Medium': (64, 2)} | ({'Mitra-Large': (128, 4)} if large_is_bundled() else {})
    for name, (d_model, num_layers) in sizes.items():
        lb.add_model('Mitra', 'base-ft', name=name, model_params=dict(d_model=d_model, num_layers=num_layers), tuning_params=dict(epochs=3) | dict(steps_per_epoch=1))
    table = lb.run(rank_by='accuracy')
    assert len(table) == len(sizes) and table.accuracy.is_monotonic_decreasing and table.accuracy.notna().all()

def test_saved_and_loaded_for_production(shop, tmp_path):
    pipe = fitted(shop, tuning_strategy='base-ft', tuning_params=dict(device='cuda', epochs=5, support_size=128, batch_size=4, learning_rate=1e-5) | QUICK)
    file = str(tmp_path/'in_production.joblib')
    pipe.save(file)
    again, X_new = TabularPipeline.load(file), shop[1]
    assert np.array_equal(again.predict_proba(X_new), pipe.predict_proba(X_new)) and again.predict(X_new).tolist() == pipe.predict(X_new).tolist()
    assert isinstance(joblib.load(file), TabularPipeline)

ADVICE = [  # what to change when something goes wrong: (strategy, model_params, tuning_params)
    ('base-ft', {}, dict(batch_size=2, support_size=64, query_size=64)),
    ('peft', {}, {}),
    ('base-ft', dict(d_model=32, num_layers=1), {}),
    ('base-ft', {}, dict(support_size=256, query_size=256, n_episodes=1000)),
    ('base-ft', {}, dict(weight_decay=0.1, dropout=0.2)),
]

@pytest.mark.filterwarnings("ignore:'dropout' belongs in model_params")
@pytest.mark.parametrize('strategy, model_params, tuning_params', ADVICE)
def test_advice_for_trouble(shop, strategy, model_params, tuning_params):
    if strategy == 'peft': pytest.importorskip('tabtune.lora')
    assert len(fitted(shop, tuning_strategy=strategy, model_params=model_params, tuning_params=tuning_params | dict(steps_per_epoch=1)).history_)
