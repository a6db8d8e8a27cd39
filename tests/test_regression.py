"Regression from one end to the other: odd targets, files, public layouts, tuning, bad input."
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.base import clone, is_regressor
from sklearn.datasets import make_friedman1
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from tabtune import Mitra, MitraConfig, MitraRegressor, TabularPipeline, load_checkpoint, save_checkpoint
from tabtune.model.checkpoints import read_card
from tabtune.core.shapes import ConfigError, InputError
from tabtune.data.targets import PREDICTIVE_HEADS, bin_codes
from tabtune.estimators.predictive import mixed_mean

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

@parametrize_with_checks([MitraRegressor(), TabularPipeline(task_type='regression')])
def test_scikit_learns_checks(estimator, check): check(estimator)

AFTER_TUNING = {'check_regressors_train', 'check_regressor_data_not_an_array', 'check_estimators_pickle', 'check_methods_subset_invariance'}
LITTLE = dict(epochs=1, steps_per_epoch=1, batch_size=1, support_size=16, query_size=8, show_progress=False)

@pytest.mark.parametrize('name', sorted(AFTER_TUNING))
def test_scikit_learns_checks_after_tuning(name):
    tuned = TabularPipeline(task_type='regression', tuning_strategy='base-ft', tuning_params=LITTLE)
    checks = [c for e, c in estimator_checks_generator(tuned) if getattr(c, 'func', c).__name__ == name]
    assert checks
    with warnings.catch_warnings(action='ignore'):
        for check in checks: check(clone(tuned))

def test_it_predicts(fitted):
    reg, X, y = fitted
    assert reg.score(X, y) > 0.75
    q = reg.predict(X, output='quantiles', quantiles=[0.05, 0.25, 0.5, 0.75, 0.95])
    assert q.shape == (40, 5) and (np.diff(q, axis=1) > 0).all()
    wide, narrow = (np.diff(reg.predict_interval(X, c), axis=1).mean() for c in (0.95, 0.5))
    assert wide > 1.5 * narrow

def test_intervals_cover_what_was_asked_for_on_the_average_of_many_tables():
    "One table is weak evidence: its coverage strays by some points. The mean of many is near the coverage asked for, and not below."
    model, covered = load_checkpoint('medium-regression'), []
    for i in range(16):
        r = np.random.default_rng(100 + i)
        x = r.normal(size=(200, 3))
        noise = [r.normal(size=200), r.normal(size=200) * np.exp(x[:, 1]), r.standard_t(2, size=200)][i % 3]
        y = x[:, 0] + np.sin(2 * x[:, 2]) + 0.5 * noise
        if i % 4 == 0: y = np.exp(2 * y)
        if i % 4 == 1: y = np.where(y > 0, np.round(y), 0)
        reg = MitraRegressor(model).fit(x[:60], y[:60])
        bands = [reg.predict_interval(x[60:], c).T for c in (0.5, 0.8, 0.9)]
        covered.append([((low <= y[60:]) & (y[60:] <= high)).mean() for low, high in bands])
    gap = np.mean(covered, 0) - [0.5, 0.8, 0.9]
    assert (gap > -0.03).all() and (gap < 0.06).all(), gap
    assert np.std(covered, axis=0)[2] < 0.075  # 12 held-out rows instead of 60 would stray by 0.09 and more

def test_every_row_of_a_small_table_is_held_out_once(fitted):
    reg, _, _ = fitted
    folds = reg._folds()
    np.testing.assert_array_equal(np.sort(np.concatenate([held for held, _ in folds])), np.arange(120))
    assert all(not np.intersect1d(held, support).size and len(held) + len(support) == 120 for held, support in folds)
    pits = reg.held_out_calibration().pits
    assert pits.min() >= 0 and pits.max() <= 1 and len(pits) == 120

def test_a_bold_model_gets_wider_intervals(fitted):
    import copy
    reg, X, y = fitted
    bold = copy.deepcopy(reg)
    bold.reset_calibration(); bold.caches_ = {}
    with torch.no_grad(): bold.model_.final_layer.shape.bias[-1] -= 2  # a seventh of the spread
    share = lambda low, high: ((low <= y) & (y <= high)).mean()
    naive = bold.predict(X, output='quantiles', quantiles=[0.05, 0.95])
    assert share(*naive.T) < 0.6 < 0.75 < share(*bold.predict_interval(X, 0.9).T)

def test_all_outputs_from_one_pass(fitted, monkeypatch):
    reg, X, y = fitted
    want = dict(mean=reg.predict(X), median=reg.predict(X, output='median'), quantiles=reg.predict(X, output='quantiles', quantiles=[0.2, 0.6]),
                interval=reg.predict_interval(X, 0.7))
    passes, query = [], MitraRegressor._query_member
    monkeypatch.setattr(MitraRegressor, '_query_member', lambda *args: passes.append(1) or query(*args))
    full = reg.predict(X, output='full', quantiles=[0.2, 0.6], coverage=0.7)
    assert len(passes) == 1 and full.keys() == want.keys()
    for k, v in want.items(): np.testing.assert_array_equal(full[k], v)
    pipe = TabularPipeline(task_type='regression')._adopt(reg)
    passes.clear(); scores = pipe.evaluate(X, y)
    assert len(passes) == 1 and {'r2', 'rmse', 'mae', 'median_absolute_error', 'mape', 'explained_variance', 'pinball_loss', 'coverage', 'interval_width'} == set(scores)

def test_dask_tables(fitted):
    dd = pytest.importorskip('dask.dataframe')
    reg, X, _ = fitted
    lazy = dd.from_pandas(X, npartitions=2)
    close = lambda a, b: np.testing.assert_allclose(a.compute(scheduler='sync').to_numpy(), b, rtol=1e-4)
    close(reg.predict(lazy), reg.predict(X))
    close(reg.predict(lazy, output='median'), reg.predict(X, output='median'))
    q = reg.predict(lazy, output='quantiles', quantiles=[0.25, 0.75])
    assert list(q.columns) == ['q0.25', 'q0.75']
    close(q, reg.predict(X, output='quantiles', quantiles=[0.25, 0.75]))
    close(reg.predict_interval(lazy, 0.8), reg.predict_interval(X, 0.8))
    with pytest.raises(InputError, match='tables in memory'): reg.predict(lazy, output='full')

TARGETS = dict(tails=lambda y, r: np.exp(y / 20), outlier=lambda y, r: np.where(np.arange(len(y)) == 3, 1e6, y), whole=lambda y, r: np.round(y / 20),
               two=lambda y, r: (y > np.median(y)) * 1.0, zeros=lambda y, r: np.where(r.random(len(y)) < 0.8, 0, y), huge=lambda y, r: y * 1e9,
               tiny=lambda y, r: y * 1e-90, shifted=lambda y, r: y + 1e9, negative=lambda y, r: -y)

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

@pytest.mark.parametrize('bad, says', [
    pytest.param(['a'] * 160, 'must hold numbers', id='strings'), pytest.param([np.nan] + [1.] * 159, 'contains NaN', id='NaN'),
    pytest.param([np.inf] + [1.] * 159, 'infinity', id='infinity'), pytest.param([10 ** 400] * 160, 'too large', id='huge integers'),
    pytest.param(pd.date_range('2020', periods=160), 'Timestamp', id='dates'),
                                       pytest.param(pd.Series([pd.NA, *range(159)], dtype='Int64'), '1 of 160 targets are missing', id='missing Int64'),
                                       pytest.param([None] * 160, 'contains NaN', id='None in each row'),
                                       pytest.param([1 + 1j] * 160, 'Complex data', id='complex'),
                                       pytest.param(None, 'y to be passed', id='None'),
                                       pytest.param([1., 2.], 'inconsistent', id='too few')])
def test_bad_targets(bad, says):
    with pytest.raises(InputError, match=says): MitraRegressor().fit(houses()[0], bad)

@pytest.mark.parametrize('form', [
    pytest.param(lambda y: y.astype(str), id='strings'), pytest.param(lambda y: y.astype('Float64'), id='Float64'),
    pytest.param(lambda y: y.astype('float32'), id='float32'), pytest.param(lambda y: y.tolist(), id='list'),
    pytest.param(lambda y: y.to_frame(), id='frame'),
                                  pytest.param(lambda y: y.round().astype('Int64'), id='Int64'),
                                  pytest.param(lambda y: y.round().astype('category'), id='category'),
                                  pytest.param(lambda y: y.convert_dtypes(dtype_backend='pyarrow'), id='pyarrow')])
def test_a_target_in_any_form(fitted, form):
    X, y = houses()
    p = MitraRegressor().fit(X[:120], form(y[:120])).predict(X[120:])
    np.testing.assert_allclose(p, fitted[0].predict(X[120:]), rtol=0.03)

def test_an_outlier_leaves_the_others_alone():
    X, y = houses()
    reg = MitraRegressor().fit(X[:120], np.where(np.arange(120) == 3, 1e5, y[:120]))
    mean, median = reg.predict(X[120:]), reg.predict(X[120:], output='median')
    assert 1 - np.mean((median - y[120:]) ** 2) / np.var(y[120:]) > 0.5
    assert np.median(abs(mean - y[120:])) < np.std(y)  # near the wrong row it pulls the mean of the predictions, as it may
    assert max(abs(reg.scaled_targets(0, reg.member_rows_[0])[2])) <= 8  # as far as in pre-training

def noise(g, r): return r.normal(size=len(g))
SKEWED = dict(exponential=lambda g, r: np.exp(g + 0.4 * noise(g, r)), lognormal=lambda g, r: np.exp(0.6 * g + noise(g, r)),
              heavy_lognormal=lambda g, r: np.exp(0.8 * g + 1.5 * noise(g, r)),
              wages=lambda g, r: 1e4 * np.exp(0.5 * g + 0.4 * noise(g, r)) * np.where(r.random(len(g)) < 0.02, 1 + 5 * r.pareto(1.5, len(g)), 1),
              counts=lambda g, r: r.poisson(np.exp(g - 1)), amounts=lambda g, r: r.gamma(0.7, 100 * np.exp(0.8 * g)),
              spending=lambda g, r: np.where(r.random(len(g)) < 1 / (1 + np.exp(1 - g)), np.exp(3 + 0.5 * g + noise(g, r)), 0),
              left=lambda g, r: 100 - np.exp(0.7 * g + 0.8 * noise(g, r)), both_sides=lambda g, r: np.sinh(1.2 * g + noise(g, r)))

def skewed_table(kind, n, seed):
    r = np.random.default_rng([seed, sum(map(ord, kind))])
    x = r.normal(size=(n, 5))
    return x, SKEWED[kind]((np.sin(x[:, 0] + x[:, 1]) + x[:, 2] + 0.5 * x[:, 3] * (x[:, 1] > 0)) / 1.4, r)

@pytest.mark.parametrize('rows, kinds', [(300, list(SKEWED)), (2000, ['lognormal', 'spending'])], ids=['300', '2000'])
def test_the_mean_of_a_skewed_target(rows, kinds):
    model, scores = load_checkpoint('medium-regression'), {}
    for kind in kinds:
        x, y = skewed_table(kind, rows + 1000, 0)
        reg = MitraRegressor(model).fit(x[:rows], y[:rows])
        out = reg.predict(x[rows:], output='full')
        plain = mixed_mean(reg._query_members(0, reg.encoder_.transform(x[rows:])))
        low, high = out['interval'].T
        r2 = {name: r2_score(y[rows:], p) for name, p in dict(corrected=out['mean'], median=out['median'], plain=plain).items()}
        scores[kind] = r2 | dict(coverage=((low <= y[rows:]) & (y[rows:] <= high)).mean())
    scores = pd.DataFrame(scores).T
    assert scores.corrected.min() > -0.02, scores
    gain = scores.corrected - scores['median']
    assert gain.median() > 0.01 and gain.min() > -0.01, scores
    assert scores.corrected.mean() > scores[['median', 'plain']].mean().max(), scores
    assert scores.coverage.mean() == pytest.approx(0.9, abs=0.03), scores

def test_a_target_without_heavy_tails_has_the_mean_of_its_distributions(monkeypatch):
    X, y = make_friedman1(160, noise=1., random_state=0)
    reg = MitraRegressor(n_estimators=2).fit(X[:120], y[:120])
    monkeypatch.setattr(MitraRegressor, '_held_out', lambda self: pytest.fail('rows were held out'))
    np.testing.assert_array_equal(reg.predict(X[120:]), mixed_mean(reg._query_members(0, reg.encoder_.transform(X[120:]))))

@pytest.mark.parametrize('suffix', ['.tabtune', '.joblib'])
def test_the_corrected_mean_is_found_once_and_saved(suffix, tmp_path, monkeypatch):
    x, y = skewed_table('spending', 260, 0)
    pipe = TabularPipeline(task_type='regression').fit(x[:200], y[:200])
    calls, hold_out = [], MitraRegressor._held_out
    monkeypatch.setattr(MitraRegressor, '_held_out', lambda self: calls.append(1) or hold_out(self))
    p = pipe.predict(x[200:])
    pipe.predict(x[200:], output='full'); pipe.predict_interval(x[200:])
    assert len(calls) == 1
    with warnings.catch_warnings(action='ignore'): other = TabularPipeline.load(pipe.save(tmp_path/f'pipe{suffix}'))
    np.testing.assert_array_equal(other.predict(x[200:]), p)
    pipe.estimator_.reset_calibration()
    np.testing.assert_array_equal(pipe.predict(x[200:]), p)
    assert len(calls) >= 2

def test_one_wild_row_does_not_choose_the_mean():
    x, y = skewed_table('lognormal', 260, 0)
    clean = MitraRegressor().fit(x[:200], y[:200]).predict(x[200:])
    wild = MitraRegressor().fit(x[:200], np.where(np.arange(200) == np.argmax(y[:200]), 1e5, y[:200])).predict(x[200:])
    assert np.median(abs(wild - clean)) < 0.5 * np.std(clean) and r2_score(y[200:], wild) > -0.02

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
    assert not hasattr(pipe, 'predict_proba') and hasattr(TabularPipeline(), 'predict_proba')
    with pytest.raises(InputError, match='no classes'): pipe.predict_proba(X)
    with pytest.raises(InputError, match='no classes'): pipe.evaluate_calibration(X, y)
    with pytest.raises(InputError, match="row 0 is 'dear'"): pipe.evaluate(X, ['dear'] * 160)
    with pytest.raises(InputError, match='1 of 160 targets are missing'): pipe.score(X, y.where(y.index != 7))
    with pytest.raises(ConfigError, match="did you mean 'median'"): pipe.predict(X, output='medain')
    with pytest.raises(ConfigError, match='coverage'): pipe.predict_interval(X, 90)
    with pytest.raises(InputError, match='is for a regression'): TabularPipeline().fit(X, y > y.median()).predict(X, output='median')
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
    assert report['steps'] == 3 and report['gain'] == pytest.approx(report['loss_untuned'] - report['loss_tuned'])
    assert (report['trained_parameters'] < report['total_parameters']) == (strategy == 'peft')
    untuned = TabularPipeline(task_type='regression').fit(X[:120], y[:120]).predict(X)
    assert np.allclose(pipe.predict(X), untuned, rtol=1e-5) == (report['kept'] == 'untuned')
    if report['kept'] == 'tuned': assert report['gain'] > 0 and report['r2_tuned'] >= report['r2_untuned']
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
        np.testing.assert_allclose(reg.predict(q), raw * (high - low) + low, atol=1e-4)

def test_public_layout_with_bins(tmp_path):
    X, y = houses()
    config = MitraConfig(16, num_heads=2, num_layers=1, n_classes=100, task='regression', cell='quantile', column='none', order='rows_first',
                         row_scale='none', head='linear', experts='none')
    model = Mitra(config).eval()
    reg = MitraRegressor(save_checkpoint(model, tmp_path/'bins')).fit(X, y)
    edges, width = torch.linspace(-0.5, 1.5, 101).numpy(), y.max() - y.min()  # half a range on either side
    scaled = torch.tensor(((y - y.min()) / width).to_numpy(), dtype=torch.float32)
    x = torch.tensor(reg.encoder_.transform(X))[None]
    with torch.inference_mode(): p = model(x, scaled[None], x)[0].double().softmax(-1).numpy()
    np.testing.assert_allclose(reg.predict(X), (p @ (edges[1:] + edges[:-1]) / 2) * width + y.min(), atol=1e-4 * width)
    at = np.clip(np.searchsorted(edges, scaled.numpy()) - 1, 0, 99)
    np.testing.assert_array_equal(bin_codes(scaled, 100).numpy(), at)
    assert (np.diff(reg.predict_interval(X), axis=1) > 0).all()

@pytest.mark.parametrize('name, width', [('medium-regression', 64), ('large-regression', 128)])
def test_the_weights_beat_simple_models(name, width):
    card = read_card(name)['validation']
    assert card['loss'] < min(card['baselines'].values())
    X, y = make_friedman1(500, noise=1., random_state=0)
    pipe = TabularPipeline(task_type='regression', model_params=dict(d_model=width, num_layers=width // 32)).fit(X[:250], y[:250])
    assert pipe.model.config == load_checkpoint(name).config
    assert pipe.evaluate(X[250:], y[250:])['r2'] > RidgeCV().fit(X[:250], y[:250]).score(X[250:], y[250:]) + 0.03

def test_cross_validation():
    X, y = houses()
    assert cross_val_score(TabularPipeline(task_type='regression'), X, y, cv=3).mean() > 0.7

@pytest.mark.parametrize('quantiles', [
    pytest.param('x', id='string'), pytest.param(None, id='None'), pytest.param(0.5, id='scalar'), pytest.param([], id='empty'),
    pytest.param([[0.1]], id='2d'), pytest.param([0.1, 1.], id='one'), pytest.param([np.nan], id='NaN')])
def test_bad_quantiles(fitted, quantiles):
    with pytest.raises(InputError, match='must be a list of numbers between 0 and 1'): fitted[0].predict(fitted[1], output='quantiles', quantiles=quantiles)

def test_explanations_of_numbers(fitted):
    from tabtune.explain.importance import plot_embedding, plot_similar
    X, y = houses()
    for reg in (fitted[0], MitraRegressor(n_estimators=2, max_support=60).fit(X[:120], y[:120])):
        for member in range(len(reg.member_rows_)):
            maps = reg.get_attention_weights(X[120:126], member)
            np.testing.assert_array_equal(maps.labels, y.to_numpy()[maps.support])
            np.testing.assert_allclose(maps.votes().sum(1), 1, atol=1e-4)
            predicted = reg._query_members(0, reg.encoder_.transform(X[120:126]))[member]
            watched = type(predicted)(PREDICTIVE_HEADS[reg.model_.config.output_kind].distribution(torch.tensor(maps.logits)[None].double()), predicted.scale, predicted.sign)
            np.testing.assert_allclose(watched.mean(), predicted.mean(), rtol=1e-3)  # what was watched is what is predicted
    pipe = TabularPipeline(task_type='regression').fit(X[:120], y[:120])
    rows = pipe.similar_rows(X[120:121], n=4, table=X[:120])
    np.testing.assert_array_equal(rows.label, y.to_numpy()[rows.index])
    assert pipe.embed(X[120:]).shape[0] == 40 and pipe.embed_support().shape[0] == 120
    assert set(pipe.feature_importance(X[120:]).index) == set(X)
    assert pipe.feature_importance(X[120:], y[120:], method='permutation')['area'] > 0
    plot_similar(rows); plot_embedding(pipe.embed(X[120:]), y[120:])
    assert len(pipe.get_attention_weights(X[120:]).plot_rows(order=y[120:]).get_xticks()) == 5

def test_a_grown_model_answers_as_before():
    from dataclasses import replace
    from tabtune.training.pretrain import grow
    start = load_checkpoint('medium-regression').eval()
    c = start.config
    big = grow(start, replace(c, d_model=2 * c.d_model, d_ff=2 * c.d_ff, num_heads=2 * c.num_heads, num_layers=c.num_layers + 2)).eval()
    g = torch.Generator().manual_seed(0)
    x, y, q = torch.randn(1, 30, 4, generator=g), torch.randn(1, 30, generator=g), torch.randn(1, 9, 4, generator=g)
    with torch.inference_mode(): torch.testing.assert_close(big(x, y, q), start(x, y, q), rtol=1e-3, atol=1e-3)

def test_dashboards_of_a_number():
    from tabtune.dashboard import AttentionView, PipelineBuilder
    X, y = houses()
    df = X.assign(price=y)
    b = PipelineBuilder(df, target='price').set(strategy='base-ft', epochs=1, steps_per_epoch=2, support_size=48, query_size=24)
    assert b.state()['task'] == 'regression' and not b.state()['mistakes'] and 'half of them<br>from' in b.target_plot.value
    b.start(); b.wait(600)
    assert b.state()['status'] == 'finished' and {'r2', 'coverage'} <= set(b.scores) and b.results.startswith(b'\x89PNG')
    exec(b.code().replace('pipe.evaluate', 'scores = pipe.evaluate'), scope := dict(df=df))
    assert scope['scores'] == pytest.approx(b.scores, rel=1e-4)
    view = AttentionView(b.pipe, X[:5], X)
    assert view.state()['prediction'] == pytest.approx(b.pipe.predict(X[:1])[0], rel=1e-4) and ' to ' in view.html.value

def test_the_form_refuses_what_a_number_cannot_have():
    from tabtune.dashboard import PipelineBuilder
    X, y = houses()
    b = PipelineBuilder(X.assign(price=y)).set(calibrate=True, resampling_strategy='over')
    assert {'calibrate', 'resampling_strategy'} <= set(b.state()['mistakes'])
    assert 'target' in PipelineBuilder(X.assign(price=y)).set(target='town', task='regression').state()['mistakes']
