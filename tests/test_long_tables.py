"""Tables of more than 2,000 rows: landmark rows, and experts that are blended with Mitra."""
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from tabtune import MitraClassifier, MitraRegressor, TabularPipeline
from tabtune.core.config import MitraConfig
from tabtune.core.shapes import ConfigError
from tabtune.estimators.base import N_LANDMARKS, N_MEMORY
from tabtune.estimators.blending import MIN_TREE_ROWS
from tabtune.model.mitra import Mitra

def table(n, seed=0, f=4):
    "Numbers, a class that depends on two of them, and a number that does."
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, f)), columns=list('abcdefgh')[:f])
    z = X.a + (X.b > 0) * 1.5 - X.c * X.b
    return X, np.where(z + rng.normal(size=n) / 2 > .7, 'yes', 'no'), (z + rng.normal(size=n) / 5).to_numpy()

def tiny_regression():
    "A model for numbers with one block and random weights, whose experts count."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = Mitra(MitraConfig(d_model=32, num_layers=1, task='regression')).eval()
        for p in m.experts.parameters(): torch.nn.init.normal_(p, std=.1)
    return m

TASKS = dict(classification=lambda **kw: MitraClassifier('small', device='cpu', **kw),
             regression=lambda **kw: MitraRegressor(tiny_regression(), device='cpu', **kw))

def predictions(est, X): return est.predict_proba(X) if hasattr(est, 'classes_') else est.predict(X)
def target(task, y, z): return y if task == 'classification' else z

def cells_of(X):
    "The table with columns that hold nothing, one value, or a handful of cells."
    X = X.assign(empty=np.nan, constant=3., nearly_empty=np.nan)
    X.iloc[[5, 17, 31], -1] = [1., 2., 3.]
    return X

@pytest.mark.parametrize('task', TASKS)
def test_landmark_rows_hardly_change_the_prediction(task):
    X, *y = table(2 * N_LANDMARKS + 400)
    X, Q, y = X[:-300], X[-300:], target(task, *y)[:-300]
    by_landmarks, by_all = (predictions(TASKS[task](experts=None, n_landmarks=n).fit(X, y), Q) for n in (None, 10_000))
    gap = abs(by_landmarks - by_all)
    assert 0 < gap.max()  # the two are different ways
    if task == 'classification': assert gap.mean() < .02, f'mean difference of a probability: {gap.mean():.4f}'
    else: assert np.sqrt(np.mean(gap ** 2)) < .1 * np.std(y), f'{np.sqrt(np.mean(gap ** 2)):.4f} with targets of spread {np.std(y):.3f}'

def test_as_many_landmarks_as_rows_is_the_prediction_by_all_rows():
    X, y, _ = table(600)
    by_all = MitraClassifier('small', device='cpu').fit(X[:500], y[:500])
    few = MitraClassifier('small', device='cpu', n_landmarks=499).fit(X[:500], y[:500])
    same = MitraClassifier('small', device='cpu', n_landmarks=500).fit(X[:500], y[:500])
    np.testing.assert_array_equal(same.predict_proba(X[500:]), by_all.predict_proba(X[500:]))
    np.testing.assert_allclose(few.predict_proba(X[500:]), by_all.predict_proba(X[500:]), atol=.02)

@pytest.mark.parametrize('experts', [None, 'auto'], ids=['Mitra alone', 'with trees'])
@pytest.mark.parametrize('task', TASKS)
def test_the_order_of_the_rows_does_not_matter(task, experts):
    X, *y = table(MIN_TREE_ROWS + 100)
    X, Q, y = X[:-100], X[-100:], target(task, *y)[:-100]
    order = np.random.default_rng(1).permutation(len(X))
    a = TASKS[task](experts=experts).fit(X, y)
    b = TASKS[task](experts=experts).fit(X.iloc[order], y[order])
    assert (a.blend_ is not None) == (experts == 'auto')
    np.testing.assert_allclose(predictions(b, Q), predictions(a, Q), atol=1e-3 * (1 if task == 'classification' else np.std(y) * (1 if experts else 2)))  # float32 solutions

@pytest.mark.parametrize('task', TASKS)
def test_columns_without_content(task):
    X, *y = table(MIN_TREE_ROWS)
    y = target(task, *y)
    plain, est = TASKS[task]().fit(X, y), TASKS[task]().fit(cells_of(X), y)
    p = predictions(est, cells_of(X[:50]))
    assert np.isfinite(p).all()
    assert est.blend_.columns.tolist() == [0, 1, 2, 3, 5]  # not those that hold nothing or next to nothing
    gap = abs(p - predictions(plain, X[:50])).mean()
    assert gap < (.05 if task == 'classification' else .15 * np.std(y)), f'mean difference of {gap:.3f} by columns without content'

def test_rare_classes_are_known_in_every_part():
    X, y, _ = table(MIN_TREE_ROWS)
    y = y.astype(object)
    y[:3], y[3] = 'rare', 'once'
    est = MitraClassifier('small', device='cpu').fit(X, y)
    p = est.predict_proba(X[:40])
    assert list(est.classes_) == ['no', 'once', 'rare', 'yes']
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert np.isfinite(p).all() and p.min() >= 0
    assert {'once', 'rare'} <= set(est.get_attention_weights(X[:1]).attended_labels), 'a class without landmark row'

def test_a_table_with_next_to_one_class_is_not_blended():
    X, y, _ = table(MIN_TREE_ROWS)
    for n in (1, 2, 3):
        few = np.where(np.arange(len(y)) < n, 'yes', 'no')
        est = MitraClassifier('small', device='cpu').fit(X, few)
        assert (est.blend_ is not None) == (n > 2) and np.isfinite(est.predict_proba(X[:5])).all()

def test_a_stratified_sample_votes_in_a_very_long_table():
    X, y, _ = table(N_MEMORY + 500, f=3)
    y = y.astype(object)
    y[7] = 'once'
    est = MitraClassifier('small', device='cpu', experts=None, n_landmarks=50).fit(X, y)
    maps = est.get_attention_weights(X[:5])
    assert (len(maps.support), len(maps.attended)) == (N_MEMORY, 50) and 7 in maps.support
    np.testing.assert_allclose(torch.tensor(maps.logits[:, :3]).softmax(-1), est.predict_proba(X[:5]), atol=1e-4)

def test_more_than_ten_classes():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(3300, 3)), columns=list('abc'))
    y = np.array([f'k{i:02d}' for i in np.clip((X.a * 3 + 7).round(), 0, 13).astype(int)])
    est = MitraClassifier('small', device='cpu').fit(X[:3000], y[:3000])
    p = est.predict_proba(X[3000:])
    assert p.shape[1] == len(set(y[:3000])) > 10
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    accuracy = (est.classes_[p.argmax(1)] == y[3000:]).mean()
    assert accuracy > .6, f'accuracy {accuracy:.3f}, blended with weights {est.blend_.weights}'
    assert set(est.similar_rows(X[3000:3001]).label) <= set(y)

# experts

@pytest.mark.parametrize('task, expert', [('classification', LogisticRegression()), ('regression', Ridge())], ids=['LogisticRegression', 'Ridge'])
def test_experts_of_the_user(task, expert):
    X, *y = table(400)
    y = target(task, *y)
    X.loc[3, 'a'] = np.nan  # neither takes missing cells
    est = TASKS[task](experts=[expert]).fit(X, y)
    assert not hasattr(expert, 'coef_'), 'the user\'s estimator itself was fitted'
    assert np.isfinite(predictions(est, X[:20])).all() and est.blend_.report['rows'] == len(X)
    alone = TASKS[task](experts=None).fit(X, y)
    assert alone.blend_ is None
    assert set(est.blend_.experts) | set(est.blend_.report['left_out']) == {type(expert).__name__}

def test_two_experts_of_the_same_kind_have_names_of_their_own():
    X, y, _ = table(300)
    est = MitraClassifier('small', device='cpu', experts=[KNeighborsClassifier(3), KNeighborsClassifier(30), 'trees']).fit(X, y)
    assert len(est.blend_.experts) + len(est.blend_.report['left_out']) == 3

@pytest.mark.parametrize('task, experts, words', [
    pytest.param('classification', 'trees', "experts='trees' must be 'auto'", id='a name alone'),
    pytest.param('classification', ['forest'], "experts holds 'forest'", id='unknown name'),
    pytest.param('classification', [LogisticRegression], 'experts holds', id='a class'),
    pytest.param('classification', [LinearRegression()], 'must be for classification', id='regressor for classes'),
    pytest.param('classification', [LinearSVC()], 'predict_proba', id='no probabilities'),
    pytest.param('regression', [LogisticRegression()], 'must be for regression', id='classifier for numbers'),
    pytest.param('regression', 3, 'experts=3', id='a number')])
def test_wrong_experts_are_refused(task, experts, words):
    X, *y = table(40)
    with pytest.raises(ConfigError, match=words): TASKS[task](experts=experts).fit(X, target(task, *y))
    with pytest.raises(ConfigError, match=words):
        TabularPipeline(task_type=task, model_params=dict(experts=experts)).fit(X, target(task, *y))

def test_small_tables_have_no_experts_beside_mitra():
    X, y, _ = table(400)
    auto, alone = (MitraClassifier('small', device='cpu', experts=e).fit(X, y) for e in ('auto', None))
    assert auto.blend_ is None
    np.testing.assert_array_equal(auto.predict_proba(X[:20]), alone.predict_proba(X[:20]))

# what scikit-learn, pickle and Dask ask for

@pytest.mark.parametrize('task', TASKS)
def test_clone_and_parameters(task):
    expert = LogisticRegression(C=3) if task == 'classification' else Ridge(alpha=3)
    est = TASKS[task](experts=[expert], n_landmarks=77)
    other = clone(est)
    assert other.n_landmarks == 77 and other.experts[0] is not expert and other.experts[0].get_params() == expert.get_params()
    assert other.set_params(experts=None, n_landmarks=None).get_params()['experts'] is None and est.experts == [expert]
    pipe = clone(TabularPipeline(task_type=task, model_params=dict(experts=[expert], n_landmarks=77)))
    assert pipe.model_params['n_landmarks'] == 77 and pipe.model_params['experts'][0].get_params() == expert.get_params()

@pytest.fixture(scope='module', params=TASKS)
def blended(request):
    X, *y = table(MIN_TREE_ROWS + 60)
    est = TASKS[request.param]().fit(X[:-60], target(request.param, *y)[:-60])
    assert est.blend_ is not None
    return est, X[-60:]

def test_pickle_keeps_the_blend(blended):
    import pickle
    est, Q = blended
    again = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(again.blend_.weights, est.blend_.weights)
    np.testing.assert_allclose(predictions(again, Q), predictions(est, Q), atol=1e-6)

def test_dask_partitions_are_predicted_by_the_blend(blended):
    dd = pytest.importorskip('dask.dataframe')
    est, Q = blended
    parts = dd.from_pandas(Q, npartitions=3)
    by_parts = (est.predict_proba(parts) if hasattr(est, 'classes_') else est.predict(parts)).compute()
    np.testing.assert_allclose(np.asarray(by_parts), predictions(est, Q), atol=1e-5)

def test_an_answer_does_not_depend_on_the_other_queries(blended):
    est, Q = blended
    np.testing.assert_allclose(predictions(est, Q[:7]), predictions(est, Q)[:7], atol=1e-5)

# what builds on it

def test_a_pipeline_says_how_rows_were_used():
    X, y, _ = table(MIN_TREE_ROWS)
    pipe = TabularPipeline(model_params=dict(d_model=32, num_layers=1, n_landmarks=100), tuning_params=dict(device='cpu')).fit(X, y)
    d = pipe.describe()
    assert [d[k] for k in ('rows', 'support_rows', 'landmark_rows', 'voting_rows')] == [MIN_TREE_ROWS, MIN_TREE_ROWS, 100, MIN_TREE_ROWS]
    assert set(d['blend']['weights']) <= {'mitra', 'trees'} and d['blend']['held_out_rows'] == 500
    alone = TabularPipeline(model_params=dict(d_model=32, num_layers=1, experts=None), tuning_params=dict(device='cpu')).fit(X, y)
    assert alone.describe()['blend'] == {} and alone.estimator_.blend_ is None

def test_a_saved_pipeline_predicts_and_describes_the_same_blend(tmp_path):
    X, y, _ = table(MIN_TREE_ROWS)
    pipe = TabularPipeline(model_params=dict(d_model=32, num_layers=1), tuning_params=dict(device='cpu')).fit(X, y)
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert again.describe() == pipe.describe() and pipe.describe()['blend']
    np.testing.assert_allclose(again.predict_proba(X[:50]), pipe.predict_proba(X[:50]), atol=1e-6)

@pytest.mark.parametrize('task', TASKS)
def test_explanations_of_a_long_table(task):
    X, *y = table(3000)
    y = target(task, *y)
    est = TASKS[task](experts=None, n_landmarks=100).fit(X, y)
    maps = est.get_attention_weights(X[:4])
    assert maps.rows[0].shape[1:] == (4, 100) and maps.votes().shape == (4, 3000)
    np.testing.assert_array_equal(maps.attended_labels, np.asarray(y)[maps.attended])
    np.testing.assert_allclose(maps.votes().sum(1), 1, atol=1e-4)
    near = est.similar_rows(X[:1], n=8, table=X)
    assert len(near) == 8 and near.index.max() < 3000
    np.testing.assert_array_equal(near.label, np.asarray(y)[near.index])
    assert est.embed(X[:9]).shape == (9, 32) and est.embed_support(folds=2).shape == (3000, 32)
    assert set(est.feature_importance(X[:100]).index) == set(X)

def test_importance_measures_the_blend(caplog):
    X, y, _ = table(MIN_TREE_ROWS)
    est = MitraClassifier('small', device='cpu').fit(X, y)
    est.blend_.experts = dict(of_d=LogisticRegression().fit(X.to_numpy(), X.d > 0))
    est.blend_.weights, est.blend_.columns = np.array([0., 1.]), np.arange(4)
    assert est.feature_importance(X[:100], method='permutation', n_repeats=1).index[0] == 'd'
    assert not caplog.messages
    est.feature_importance(X[:100])
    assert [m for m in caplog.messages if "describes Mitra alone" in m and 'of_d' in m]

# rows that were held out join the support late

@pytest.fixture(scope='module', params=TASKS)
def late(request):
    "A pipeline whose held-out rows joined late, the same without, and some rows to predict."
    X, y, z = table(2800)
    task = request.param
    fit = lambda: TASKS[task](experts=[Ridge() if task == 'regression' else LogisticRegression()], n_landmarks=100).fit(X[:2600], target(task, y, z)[:2600])
    with pytest.MonkeyPatch.context() as m:
        m.setattr('tabtune.estimators.joining.JOIN_ROWS', 2600)
        joined = fit()
    return joined, fit(), X[2600:]

def test_held_out_rows_are_read_once_and_join(late, monkeypatch):
    joined, twice, Q = late
    assert (len(joined.late_rows_), len(twice.late_rows_)) == (520, 0)
    monkeypatch.setattr(Mitra, 'encode_support', lambda *a, **kw: pytest.fail('a support was encoded again'))
    assert len(answers(joined, Q)) == len(Q)

def test_rows_that_join_late_hardly_change_the_answers(late):
    joined, twice, Q = late
    gap = abs(answers(joined, Q) - answers(twice, Q))
    spread = answers(twice, Q).std(0).mean()
    assert np.sqrt(np.mean(gap ** 2)) < .25 * spread, f'{np.sqrt(np.mean(gap ** 2)):.4f} with answers of spread {spread:.3f}'

def test_late_rows_are_kept_by_copies_and_files(late, tmp_path):
    import pickle
    joined, _, Q = late
    p = answers(joined, Q)
    no_room = clone(joined).set_params(cache_budget=0)
    no_room.__dict__.update({k: v for k, v in vars(pickle.loads(pickle.dumps(joined))).items() if k.endswith('_')})
    for est in (pickle.loads(pickle.dumps(joined)), no_room):
        for again in (answers(est, Q), answers(est, Q)): np.testing.assert_allclose(again, p, atol=1e-5)
    maps = joined.get_attention_weights(Q[:3])
    assert maps.votes().shape == (3, 2600) and not set(maps.attended) & set(joined.late_rows_)

def test_a_saved_pipeline_encodes_late_rows_in_the_same_two_steps(tmp_path, monkeypatch):
    X, y, _ = table(2800)
    monkeypatch.setattr('tabtune.estimators.joining.JOIN_ROWS', 2600)
    pipe = TabularPipeline(model_params=dict(pretrained='small', n_landmarks=100), tuning_params=dict(device='cpu')).fit(X[:2600], y[:2600])
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    np.testing.assert_array_equal(again.estimator_.late_rows_, pipe.estimator_.late_rows_)
    np.testing.assert_allclose(again.predict_proba(X[2600:]), pipe.predict_proba(X[2600:]), atol=1e-6)
