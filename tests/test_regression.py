"Regression from one end to the other: odd targets, files, public layouts, tuning, bad input."
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.base import is_regressor
from sklearn.datasets import make_friedman1
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabtune import Mitra, MitraConfig, MitraRegressor, TabularPipeline, load_checkpoint, save_checkpoint
from tabtune.checkpoints import read_card
from tabtune.shapes import ConfigError, InputError

def houses(n=160, seed=0):
    r = np.random.default_rng(seed)
    X = pd.DataFrame(dict(area=r.lognormal(4, 0.4, n), town=r.choice(['Oslo', 'Rome', 'Lima'], n), floor=r.integers(0, 9, n).astype(float)))
    y = X.area * (1 + (X.town == 'Oslo')) + 3 * X.floor + 5 * r.normal(size=n)
    X.loc[r.random(n) < 0.1, 'floor'] = None
    return X, y

@pytest.fixture(scope='module')
def fitted():
    X, y = houses()
    return MitraRegressor().fit(X[:120], y[:120]), X[120:], y[120:]

@parametrize_with_checks([MitraRegressor()])
def test_scikit_learns_checks(estimator, check): check(estimator)

def test_it_predicts(fitted):
    reg, X, y = fitted
    assert reg.score(X, y) > 0.75
    q = reg.predict(X, output='quantiles', quantiles=[0.05, 0.25, 0.5, 0.75, 0.95])
    assert q.shape == (40, 5) and (np.diff(q, axis=1) > 0).all()
    wide, narrow = (np.diff(reg.predict_interval(X, c), axis=1).mean() for c in (0.95, 0.5))
    assert wide > 1.5 * narrow

def test_intervals_cover_what_was_asked():
    X, y = houses(900, 3)
    reg = MitraRegressor().fit(X[:400], y[:400])
    for coverage in (0.5, 0.9):
        low, high = reg.predict_interval(X[400:], coverage).T
        assert abs(((low <= y[400:]) & (y[400:] <= high)).mean() - coverage) < 0.08

TARGETS = dict(tails=lambda y, r: np.exp(y / 20), outlier=lambda y, r: np.where(np.arange(len(y)) == 3, 1e6, y), whole=lambda y, r: np.round(y / 20),
               two=lambda y, r: (y > np.median(y)) * 1.0, zeros=lambda y, r: np.where(r.random(len(y)) < 0.8, 0, y), huge=lambda y, r: y * 1e9,
               tiny=lambda y, r: y * 1e-9, shifted=lambda y, r: y + 1e9, negative=lambda y, r: -y)

@pytest.mark.parametrize('name', TARGETS)
def test_odd_targets(name):
    X, y = houses()
    t = np.asarray(TARGETS[name](np.asarray(y), np.random.default_rng(1)), dtype=float)
    reg = MitraRegressor(n_estimators=2).fit(X[:120], t[:120])
    p, band = reg.predict(X[120:]), reg.predict_interval(X[120:])
    spread = t.max() - t.min()
    assert np.isfinite(p).all() and (p > t.min() - spread).all() and (p < t.max() + spread).all()
    assert (band[:, 0] <= band[:, 1]).all()
    if name in ('huge', 'tiny', 'shifted', 'negative', 'whole'): assert 1 - np.mean((p - t[120:]) ** 2) / np.var(t[120:]) > 0.7

@pytest.mark.parametrize('bad, says', [(['a'] * 160, 'must hold numbers'), ([np.nan] + [1.] * 159, 'contains NaN'), ([np.inf] + [1.] * 159, 'infinity'),
                                       ([1 + 1j] * 160, 'Complex data'), (None, 'y to be passed'), ([1., 2.], 'inconsistent')])
def test_bad_targets(bad, says):
    with pytest.raises(InputError, match=says): MitraRegressor().fit(houses()[0], bad)

def test_few_rows_and_units(fitted):
    X, y = houses()
    with warnings.catch_warnings(action='ignore'):
        for n in (1, 2, 3, 6):
            reg = MitraRegressor().fit(X[:n], y[:n])
            assert np.isfinite(reg.predict(X)).all() and np.isfinite(reg.predict_interval(X)).all()
    reg, X_test, _ = fitted
    order = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(MitraRegressor().fit(X[:120].iloc[order], y[:120].iloc[order]).predict(X_test), reg.predict(X_test), rtol=2e-2)
    np.testing.assert_array_equal(MitraRegressor().fit(X[:120], y[:120]).predict(X_test), reg.predict(X_test))

@pytest.mark.parametrize('suffix', ['.tabtune', '.joblib'])
def test_saved_pipeline_predicts_the_same(tmp_path, suffix):
    X, y = houses()
    pipe = TabularPipeline(task_type='regression').fit(X[:120], y[:120])
    assert is_regressor(pipe) and pipe.evaluate(X[120:], y[120:])['r2'] > 0.75
    with warnings.catch_warnings(action='ignore'): other = TabularPipeline.load(pipe.save(tmp_path/f'pipe{suffix}'))
    np.testing.assert_array_equal(other.predict(X), pipe.predict(X))
    np.testing.assert_array_equal(other.predict_interval(X), pipe.predict_interval(X))

def test_pipeline_says_no_clearly():
    X, y = houses()
    pipe = TabularPipeline(task_type='regression').fit(X, y)
    with pytest.raises(InputError, match='no classes'): pipe.predict_proba(X)
    with pytest.raises(ConfigError, match='calibrate'): TabularPipeline(task_type='regression', model_params=dict(calibrate=True)).fit(X, y)
    with pytest.raises(ConfigError, match='classification'): TabularPipeline(task_type='regression', model_params=dict(pretrained='medium')).fit(X, y)
    with pytest.raises(ConfigError, match='for regression'): TabularPipeline(model_params=dict(pretrained='medium-regression')).fit(X, y > y.median())
    with pytest.raises(InputError, match='for a regression'): TabularPipeline().fit(X, y > y.median()).predict_interval(X)

@pytest.mark.parametrize('strategy', ['base-ft', 'peft'])
def test_tuning(strategy, tmp_path):
    X, y = houses()
    params = dict(epochs=1, steps_per_epoch=3, batch_size=2, support_size=48, query_size=24, learning_rate=1e-3, show_progress=False)
    pipe = TabularPipeline(task_type='regression', tuning_strategy=strategy, tuning_params=params).fit(X[:120], y[:120])
    report = pipe.tuning_report_
    assert report['kept'] == 'untuned' or (report['loss_tuned'] < report['loss_untuned'] and report['r2_tuned'] >= report['r2_untuned'])
    assert pipe.score(X[120:], y[120:]) > 0.7
    np.testing.assert_array_equal(TabularPipeline.load(pipe.save(tmp_path/'p')).predict(X), pipe.predict(X))

def test_public_layout_with_one_output(root):
    where = root/'tests'/'fixtures'/'public_layout_regression'
    f, reg = load_file(where/'expected.safetensors'), MitraRegressor(where)
    for x, y, q, want in zip(*(f[k].numpy() for k in ('x_support', 'y_support', 'x_query', 'logits'))):
        low, high = y.min(), y.max()
        scaled = (y - low) / (high - low)
        with torch.inference_mode():
            raw = load_checkpoint(where)(*(torch.tensor(v)[None] for v in (x, scaled, q)))[0, :, 0].double().numpy()
        reg.fit(x, y)
        np.testing.assert_allclose(reg.predict(q), np.clip(raw, -1, 2) * (high - low) + low, atol=0.05)

def test_public_layout_with_bins(tmp_path):
    X, y = houses()
    config = MitraConfig(16, num_heads=2, num_layers=1, n_classes=100, task='regression', cell='quantile', column='none', order='rows_first',
                         row_scale='none', head='linear', hints='none')
    reg = MitraRegressor(save_checkpoint(Mitra(config), tmp_path/'bins')).fit(X, y)
    p = reg.predict(X)
    assert (p >= y.min()).all() and (p <= y.max()).all() and (np.diff(reg.predict_interval(X), axis=1) > 0).all()

def test_the_weights_beat_simple_models():
    card = read_card('medium-regression')['validation']
    assert card['loss'] < min(card['baselines']['mean'], card['baselines']['linear'])
    X, y = make_friedman1(500, noise=1., random_state=0)
    assert MitraRegressor().fit(X[:250], y[:250]).score(X[250:], y[250:]) > RidgeCV().fit(X[:250], y[:250]).score(X[250:], y[250:]) + 0.03

def test_cross_validation():
    X, y = houses()
    assert cross_val_score(TabularPipeline(task_type='regression'), X, y, cv=3).mean() > 0.7
