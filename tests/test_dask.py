"""`fit` on a Dask DataFrame: sums over its partitions, and a sample of its rows."""
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tabtune import MitraClassifier, MitraRegressor, TabularPipeline
from tabtune.core.shapes import InputError

dd, distributed = pytest.importorskip('dask.dataframe'), pytest.importorskip('distributed')
TASKS = dict(classification=MitraClassifier, regression=MitraRegressor)

def table(n, seed=0):
    "Numbers with gaps, and a column of levels that have effects."
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 4)), columns=list('abcd'))
    level = rng.integers(30, size=n)
    total = np.sin(2 * X.a) + X.b * X.c + np.random.default_rng(9).normal(size=30)[level] + .5 * rng.normal(size=n)
    X['level'] = [f'v{i}' for i in level]
    X.loc[::9, 'd'] = np.nan
    return X, total

def target(task, total): return total if task == 'regression' else pd.Series(np.where(total > 0, 'yes', 'no'))
def predictions(est, X): return est.predict_proba(X) if hasattr(est, 'classes_') else est.predict(X, output='quantiles', quantiles=[.1, .5, .9])

@pytest.fixture(scope='module')
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as c, distributed.Client(c) as client:
        yield client

@pytest.mark.parametrize('task', TASKS)
def test_a_table_that_fits_gives_what_it_gives_in_memory(cluster, task):
    X, total = table(900)
    Q, y = table(60, 1)[0], target(task, total)
    lazy = dd.from_pandas(X.assign(y=y), npartitions=5)
    est, same = TASKS[task](experts=None).fit(lazy[list(X)], lazy['y']), TASKS[task](experts=None).fit(X, y)
    np.testing.assert_allclose(predictions(est, Q), predictions(same, Q), atol=1e-3)
    assert est.statistics_ == []

@pytest.mark.parametrize('task', TASKS)
def test_experts_of_a_sample_know_all_rows(cluster, task, caplog):
    X, total = table(3600)
    Q, y = table(200, 1)[0], target(task, total)
    lazy = dd.from_pandas(X.assign(y=y), npartitions=7)
    with caplog.at_level('INFO', 'tabtune'): est = TASKS[task](max_support=1500, experts=None).fit(lazy[list(X)], lazy['y'])
    assert '3600 rows in 7 partitions' in caplog.text and 'of a sample of' in caplog.text
    assert 1300 < len(est.x_support_) < 1700 and est.statistics_[0]['rows'] == 3600
    few = TASKS[task](max_support=1500, experts=None).fit(X, y)
    true = target(task, table(200, 1)[1])
    assert loss(task, est, Q, true) < loss(task, few, Q, true)

def loss(task, est, X, y):
    if task == 'regression': return np.mean((est.predict(X) - y) ** 2)
    p = est.predict_proba(X)
    return -np.log(p[np.arange(len(y)), (y == 'yes').astype(int)]).mean()

def test_many_classes_members_and_a_saved_file(tmp_path):
    X, total = table(3000)
    y = pd.Series(pd.qcut(total, 12, labels=[f'c{i}' for i in range(12)]).astype(str))
    lazy = dd.from_pandas(X.assign(y=y), npartitions=3)
    pipe = TabularPipeline(model_params=dict(pretrained='small', max_support=1000, n_estimators=2, experts=[LogisticRegression(max_iter=1000)]), tuning_params=dict(device='cpu'))
    pipe.fit(lazy[list(X)], lazy['y'])
    assert len(pipe.estimator_.statistics_) == 2 and pipe.describe()['rows'] == 3000 and len(pipe.classes_) == 12
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    np.testing.assert_allclose(again.predict_proba(X[:40]), pipe.predict_proba(X[:40]), atol=1e-6)
    by_parts = pipe.predict_proba(lazy[list(X)])
    assert by_parts.npartitions == 3
    np.testing.assert_allclose(by_parts.partitions[0].compute()[:40], pipe.predict_proba(X[:40]), atol=1e-5)

@pytest.mark.parametrize('change, words', [
    pytest.param(dict(y=[1, 2]), 'y is a list: give the Dask Series', id='labels in memory'),
    pytest.param(dict(processor_params=dict(resampling_strategy='over')), 'draws rows of a table in memory', id='resampling'),
    pytest.param(dict(missing=True), 'labels are missing', id='missing labels')])
def test_what_cannot_be_fitted_is_refused(change, words):
    X, total = table(60)
    y = target('classification', total)
    if change.pop('missing', False): y[3] = None
    lazy = dd.from_pandas(X.assign(y=y), npartitions=2)
    with pytest.raises(InputError, match=words): MitraClassifier('small', **{k: v for k, v in change.items() if k != 'y'}).fit(lazy[list(X)], change.get('y', lazy['y']))
