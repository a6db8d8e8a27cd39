"The front door with tables as people have them, and bad input."
import json, pickle, sys, zipfile

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabtune import MitraClassifier, TabularPipeline
from tabtune.estimators.evaluation import EvaluationMixin
from tabtune.model.checkpoints import bundled
from tabtune.core.shapes import CheckpointError, ConfigError, InputError

@pytest.mark.parametrize('method, home', dict(fit=TabularPipeline, predict=TabularPipeline, save=TabularPipeline, evaluate=EvaluationMixin, plot=EvaluationMixin).items(),
                         ids=['fit', 'predict', 'save', 'evaluate', 'plot'])
def test_a_method_says_where_it_is_defined(method, home):
    assert getattr(TabularPipeline, method).__qualname__ == f'{home.__name__}.{method}'

def people(n, seed=0):
    "A table with every kind of column, holes included, and a label that depends on some of them."
    r = np.random.default_rng(seed)
    age, town, member = r.normal(45, 15, n).round(), r.choice(['Oslo', 'Rome', 'Lima'], n), r.random(n) < 0.5
    X = pd.DataFrame(dict(age=age, town=town, member=member, income=r.lognormal(10, 1, n),
                          since=pd.Timestamp('2020-01-01') + pd.to_timedelta(r.integers(0, 1000, n), 'D'),
                          grade=pd.Categorical(r.choice(['low', 'mid', 'high'], n), ['low', 'mid', 'high'], ordered=True)))
    y = np.where((age - 45) / 15 + 1.5 * (town == 'Rome') - member + 0.3 * r.normal(size=n) > 0, 'yes', 'no')
    for c in ('age', 'town', 'since', 'grade'): X.loc[r.random(n) < 0.1, c] = None
    return X, pd.Series(y)

@pytest.fixture(scope='module')
def fitted():
    X, y = people(300)
    return TabularPipeline().fit(X, y)

def test_default_is_the_bundled_medium(fitted):
    assert 'medium' in bundled()
    c = fitted.model.config
    assert (c.d_model, c.num_layers, c.num_heads, c.d_ff) == (64, 2, 4, 128)
    assert fitted.describe()['support_rows'] == 300

def test_mixed_table_with_holes_is_learned(fitted):
    X, y = people(300, seed=1)
    scores = fitted.evaluate(X, y)
    assert set(scores) >= {'accuracy', 'f1_score', 'roc_auc_score', 'precision', 'recall', 'mcc', 'brier_score', 'log_loss'}
    assert scores['roc_auc_score'] > 0.75  # chance is 0.5
    assert fitted.predict(X).tolist() == fitted.classes_[fitted.predict_proba(X).argmax(1)].tolist()

def test_unseen_category_counts_as_missing(fitted):
    X, _ = people(20, seed=2)
    strange, missing = X.assign(town='Atlantis'), X.assign(town=None)
    assert np.array_equal(fitted.predict_proba(strange), fitted.predict_proba(missing))

def test_columns_are_matched_by_name_and_input_is_left_alone(fitted):
    X, _ = people(20, seed=2)
    before, p = X.copy(deep=True), fitted.predict_proba(X)
    assert np.array_equal(fitted.predict_proba(X[X.columns[::-1]]), p)
    pd.testing.assert_frame_equal(X, before)

def test_a_row_does_not_depend_on_the_others(fitted):
    X, _ = people(40, seed=3)
    p = fitted.predict_proba(X)
    for rows in (slice(7, 8), slice(0, 7), slice(3, 12), slice(20, 37)): assert np.allclose(fitted.predict_proba(X[rows]), p[rows], atol=1e-6)

def test_same_seed_same_answer_and_global_generators_untouched():
    X, y = people(200)
    np.random.seed(1); torch.manual_seed(1)
    a = TabularPipeline(model_params=dict(n_estimators=3)).fit(X, y).predict_proba(X[:50])
    drawn = np.random.rand(), torch.rand(1).item()
    np.random.seed(1); torch.manual_seed(1)
    assert drawn == (np.random.rand(), torch.rand(1).item())
    assert np.array_equal(TabularPipeline(model_params=dict(n_estimators=3)).fit(X, y).predict_proba(X[:50]), a)
    assert not np.array_equal(TabularPipeline(model_params=dict(n_estimators=3, seed=1)).fit(X, y).predict_proba(X[:50]), a)

@pytest.mark.parametrize('kind', [int, str, bool, 'category'])
def test_labels_of_any_kind_come_back(kind):
    X, y = people(60)
    y = (y == 'yes').astype(int).astype(kind)
    pipe = TabularPipeline().fit(X, y)
    assert set(pipe.predict(X)) <= set(pipe.classes_) == set(y.unique())

def test_more_than_ten_classes_are_predicted():
    "Digits, each split in two by its brightness: 20 classes."
    X, y = load_digits(return_X_y=True)
    y = 2 * y + (X.sum(1) > pd.Series(X.sum(1)).groupby(y).transform('median')).astype(int)
    Xa, Xb, ya, yb = train_test_split(X, y, train_size=400, test_size=200, random_state=0, stratify=y)
    clf = MitraClassifier().fit(Xa, ya)
    p = clf.predict_proba(Xb)
    assert p.shape == (200, 20) and np.allclose(p.sum(1), 1)
    assert clf.score(Xb, yb) > 0.3  # chance is 0.05
    assert roc_auc_score(yb, p, multi_class='ovr') > 0.85

def test_one_class_and_one_row_are_constant_with_a_warning():
    X, y = people(5)
    for n in (5, 1):
        with pytest.warns(UserWarning, match='one class only'): pipe = TabularPipeline().fit(X[:n], ['a'] * n)
        assert pipe.predict_proba(X).tolist() == [[1.0]] * 5

def test_large_table_is_sampled_by_class(caplog):
    X, y = make_classification(3000, weights=[0.99], random_state=0, flip_y=0)
    with caplog.at_level('INFO', 'tabtune'): clf = MitraClassifier(max_support=200, n_estimators=2).fit(X, y)
    assert sum('stratified sample' in r.message for r in caplog.records) == 1
    a, b = clf.member_rows_
    assert len(a) == len(b) == 200 and set(a) != set(b) and set(y[a]) == {0, 1}

def test_wide_table_keeps_the_informative_columns(caplog):
    X, y = np.random.default_rng(0).normal(size=(120, 60)), np.arange(120) % 3
    X[:, :4] += y[:, None]
    with caplog.at_level('INFO', 'tabtune'): clf = MitraClassifier(max_features=20).fit(X, y)
    assert sum('20 of 60 inputs are used' in r.message for r in caplog.records) == 1
    assert {0, 1, 2, 3} <= set(clf.selected_columns_) and clf.predict(X).shape == (120,)

@pytest.mark.parametrize('name', ['p.tabtune', 'p.joblib'])
def test_loaded_in_a_fresh_process_predicts_the_same_bits(fitted, tmp_path, fresh, name):
    X, _ = people(30, seed=4)
    fitted.save(tmp_path/name)
    X.to_pickle(tmp_path/'X.pkl')
    code = ('import sys, numpy as np, pandas as pd; from tabtune import TabularPipeline; '
            'np.save(sys.argv[3], TabularPipeline.load(sys.argv[1]).predict_proba(pd.read_pickle(sys.argv[2])))')
    done = fresh(code, tmp_path/name, tmp_path/'X.pkl', tmp_path/'p.npy')
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path/'p.npy'), fitted.predict_proba(X))

def rewrite(path, name, data):
    with zipfile.ZipFile(path) as z: parts = {n: z.read(n) for n in z.namelist()}
    parts[name] = data(parts[name])
    with zipfile.ZipFile(path, 'w') as z:
        for n, d in parts.items(): z.writestr(n, d)

class Bomb:
    def __reduce__(self): return (print, ('executed',))

def test_files_that_can_not_be_trusted_are_refused(fitted, tmp_path, capsys):
    import skops.io
    path = fitted.save(tmp_path/'p.tabtune')
    newer = lambda d: json.dumps(json.loads(d) | dict(format_version=99)).encode()
    rewrite(path, 'manifest.json', newer)
    with pytest.raises(CheckpointError, match='format version 99'): TabularPipeline.load(path)
    path = fitted.save(tmp_path/'q.tabtune')
    rewrite(path, 'state.skops', lambda d: skops.io.dumps(dict(x=RandomForestClassifier(), f=Bomb())))
    with pytest.raises(CheckpointError, match='could run code'): TabularPipeline.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match='not a complete TabTune pipeline'): TabularPipeline.load(path)
    joblib.dump([1], tmp_path/'x.joblib')
    with pytest.raises(CheckpointError, match='holds a list'): TabularPipeline.load(tmp_path/'x.joblib')
    with pytest.raises(CheckpointError, match='no file'): TabularPipeline.load(tmp_path/'nowhere')
    assert 'executed' not in capsys.readouterr().out

BAD = [
    pytest.param(dict(), lambda X, y: (X[:0], y[:0]), InputError, '0 sample', id='no rows'),
    pytest.param(dict(), lambda X, y: (X, y[:9]), InputError, 'inconsistent numbers of samples', id='too few labels'),
    pytest.param(dict(), lambda X, y: (X, y.where(y == 'yes')), InputError, 'labels are missing', id='missing labels'),
    pytest.param(dict(), lambda X, y: (X, np.linspace(0, 1, len(y))), InputError, 'continuous', id='labels of a regression'),
    pytest.param(dict(), lambda X, y: (X.age, y), InputError, '2-dimensional', id='one column'),
    pytest.param(dict(model_params=dict(d_modle=64)), None, ConfigError, "did you mean 'd_model'", id='misspelled model parameter'),
    pytest.param(dict(model_params=dict(num_layers=9)), None, ConfigError, r'num_layers=9 must lie in 1\.\.4', id='too many layers'),
    pytest.param(dict(model_params=dict(d_model=100)), None, ConfigError, 'divisible', id='width not divisible'),
    pytest.param(dict(model_params=dict(d_model=96)), None, ConfigError, 'tabtune pretrain', id='width without weights'),
    pytest.param(dict(model_params=dict(use_synthetic_prior='no')), None, ConfigError, 'True or False', id='string for a switch'),
    pytest.param(dict(model_params=dict(use_synthetic_prior=False, pretrained='medium')), None, ConfigError, 'give one', id='prior and checkpoint'),
    pytest.param(dict(model_params=['d_model']), None, ConfigError, 'must be a dict, not list', id='list for a dict'),
    pytest.param(dict(model_params=dict(pretrained='medium', d_model=32)), None, ConfigError, 'have d_model=64', id='checkpoint of another width'),
    pytest.param(dict(model_params=dict(pretrained='hub/nothing')), None, CheckpointError, 'could not be downloaded', id='unknown checkpoint'),
    pytest.param(dict(tuning_params=dict(epoch=3)), None, ConfigError, "did you mean 'epochs'", id='misspelled tuning parameter'),
    pytest.param(dict(tuning_params=dict(device='gpu')), None, ConfigError, "device='gpu' is unknown", id='unknown device'),
    pytest.param(dict(processor_params=dict(scaling='x')), None, ConfigError, "unknown processor_params key 'scaling'", id='unknown processor parameter'),
    pytest.param(dict(tuning_strategy='inferense'), None, ConfigError, "did you mean 'inference'", id='misspelled strategy'),
    pytest.param(dict(model_name='Mitre'), None, ConfigError, "did you mean 'Mitra'", id='misspelled model'),
    pytest.param(dict(task_type='regresion'), None, ConfigError, "did you mean 'regression'", id='misspelled task'),
]

@pytest.mark.parametrize('kw, change, error, words', BAD)
def test_bad_input_is_an_error_a_person_can_act_on(kw, change, error, words, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    X, y = people(40)
    X, y = change(X, y) if change else (X, y)
    with pytest.raises(error, match=words): TabularPipeline(**kw).fit(X, y)

def test_bad_columns_at_predict(fitted):
    X, _ = people(9)
    with pytest.raises(InputError, match='age'): fitted.predict(X.rename(columns=dict(age='Age')))
    with pytest.warns(UserWarning, match='ignored.*extra'): fitted.predict(X.assign(extra=1))
    with pytest.raises(InputError, match='0 sample'): fitted.predict(X[:0])

def test_saved_file_does_not_depend_on_free_memory_seed_or_number_types(tmp_path, monkeypatch):
    import tabtune.estimators.base as base
    X, y = people(300)
    pipe = TabularPipeline(model_params=dict(seed=np.int64(3), n_estimators=np.int64(2))).fit(X, y)
    free = MitraClassifier(random_state=None, n_estimators=2).fit(X, y)
    a = TabularPipeline()._adopt(free).save(tmp_path/'new'/'free.tabtune')
    b = pipe.save(tmp_path/'b.tabtune')
    monkeypatch.setattr(base, 'default_max_support', lambda *a: 100)
    assert np.array_equal(TabularPipeline.load(a).predict_proba(X[:20]), free.predict_proba(X[:20]))
    assert np.array_equal(TabularPipeline.load(b).predict_proba(X[:20]), pipe.predict_proba(X[:20]))

def test_labels_that_are_no_plain_data_are_refused_when_saving(tmp_path):
    X, y = people(60)
    pipe = TabularPipeline().fit(X, pd.cut(X.income, 2))
    with pytest.raises(InputError, match='astype'): pipe.save(tmp_path/'p.tabtune')
    assert list(tmp_path.iterdir()) == []

def test_column_constant_in_the_context_stays_quiet():
    "A flag that only query rows have must not outshout the other columns."
    X, y = make_classification(150, 5, random_state=0)
    flag = lambda v: np.c_[X, np.full(150, v)]
    clf = MitraClassifier().fit(flag(0.1), y)
    assert np.abs(clf.predict_proba(flag(0.2)) - clf.predict_proba(flag(0.1))).max() < 0.1

def test_every_class_keeps_a_row_whatever_the_limit():
    X, y = np.arange(80.)[:, None], np.arange(80) % 40
    with pytest.warns(UserWarning, match='less than the 40 classes'): clf = MitraClassifier(max_support=5).fit(X, y)
    assert len(clf.member_rows_[0]) == 40 and clf.predict_proba(X[:3]).shape == (3, 40)

def test_own_model_is_neither_moved_nor_switched():
    from tabtune import load_checkpoint
    model = load_checkpoint('medium').train()
    X, y = people(40)
    clf = MitraClassifier(model).fit(X, y)
    assert model.training and not clf.model_.training

def test_random_start_warns_loudly():
    X, y = people(40)
    with pytest.warns(UserWarning, match='random weights'): TabularPipeline(model_params=dict(use_synthetic_prior=False)).fit(X, y)

def test_missing_cuda_warns_and_uses_the_cpu():
    if torch.cuda.is_available(): pytest.skip('this machine has CUDA')
    X, y = people(40)
    with pytest.warns(UserWarning, match='not available'): pipe = TabularPipeline(tuning_params=dict(device='cuda')).fit(X, y)
    assert pipe.describe()['device'] == 'cpu'

def test_works_inside_scikit_learn():
    from sklearn.preprocessing import StandardScaler
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    rows = X.sample(200, random_state=0).index
    X, y = X.loc[rows], y.loc[rows]
    assert cross_val_score(TabularPipeline(), X, y, cv=3, scoring='roc_auc').mean() > 0.95
    search = GridSearchCV(MitraClassifier(), dict(n_estimators=[1, 2]), cv=2).fit(X, y)
    assert search.best_score_ > 0.85
    p = make_pipeline(StandardScaler(), MitraClassifier()).fit(X, y).predict_proba(X)
    assert roc_auc_score(y, p[:, 1]) > 0.95
    assert clone(TabularPipeline(model_params=dict(seed=3))).get_params()['model_params'] == dict(seed=3)

@parametrize_with_checks([MitraClassifier(), TabularPipeline()])
def test_scikit_learn_checks(estimator, check): check(estimator)

def test_a_saved_pipeline_loads_where_its_strategy_is_not_registered(tmp_path):
    from tabtune.training.strategies import STRATEGIES, TuningStrategy, register_strategy
    register_strategy(TuningStrategy('only here', 'of this process', 'trains nothing', prepare=None))
    try:
        X = pd.DataFrame(dict(a=range(30), b=[1, 2, 3] * 10))
        pipe = TabularPipeline(tuning_strategy='only here', model_params=dict(d_model=32, num_layers=1)).fit(X, X.b)
        path = pipe.save(tmp_path/'p.tabtune')
    finally: del STRATEGIES['only here']
    loaded = TabularPipeline.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), pipe.predict_proba(X))
    with pytest.raises(ConfigError, match="tuning_strategy='only here' is unknown"): loaded.fit(X, X.b)

# --- what surrounds a fit: grids, other defaults of PyTorch, homes of users, forks

def test_grid_search_reaches_into_the_dictionaries():
    X, y = people(90)
    search = GridSearchCV(TabularPipeline(), {'model_params__n_estimators': [1, 2], 'model_params__pretrained': ['small']}, cv=2).fit(X, y)
    assert len(search.best_estimator_.estimator_.member_rows_) == search.best_params_['model_params__n_estimators']
    step = make_pipeline(MitraClassifier()).set_params(mitraclassifier__processor_params__scaling_strategy='power')
    assert step[0].processor_params == dict(scaling_strategy='power')

@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

@pytest.mark.parametrize('task', ['classification', 'regression'])
def test_predictions_do_not_depend_on_the_default_dtype(request, task):
    X, y = people(60)
    target = y if task == 'classification' else X.age.fillna(40)
    def values(): return TabularPipeline(task_type=task).fit(X, target).estimator_
    want = values(); want = want.predict_proba(X) if task == 'classification' else want.predict(X, output='quantiles')
    request.getfixturevalue('double')
    got = values(); dtypes = {p.dtype for p in got.model_.parameters()}
    got = got.predict_proba(X) if task == 'classification' else got.predict(X, output='quantiles')
    assert dtypes == {torch.float32} and np.array_equal(got, want)

@pytest.mark.parametrize('switched_off', [torch.no_grad, torch.inference_mode], ids=['no_grad', 'inference_mode'])
def test_tuning_has_gradients_where_the_caller_has_none(switched_off):
    X, y = people(80)
    quick = dict(device='cpu', epochs=1, steps_per_epoch=2, support_size=32, query_size=16, batch_size=1, show_progress=False)
    with switched_off():
        pipe = TabularPipeline(tuning_strategy='base-ft', tuning_params=quick, model_params=dict(d_model=32, num_layers=1)).fit(X, y)
    assert pipe.history_.step.max() == 2

def test_a_tilde_is_the_home_of_the_user(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert fitted.save('~/m.tabtune') == tmp_path / 'm.tabtune'
    X, _ = people(20, seed=2)
    assert np.array_equal(TabularPipeline.load('~/m.tabtune').predict_proba(X), fitted.predict_proba(X))

FORK = """
import multiprocessing, sys, numpy as np, torch
from tabtune import MitraClassifier
torch.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(300, 8)); y = X[:, 0] > 0
clf = MitraClassifier('small').fit(X, y)
here = clf.predict_proba(X)  # warm, with two threads
with multiprocessing.get_context('fork').Pool(2) as pool:
    there = pool.map_async(clf.predict_proba, [X, X]).get(timeout=600)
print(max(abs(here - p).max() for p in there))
"""

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no fork')
def test_a_forked_worker_predicts(fresh):
    out = fresh(FORK)
    assert out.returncode == 0, out.stderr[-500:]
    assert float(out.stdout) < 1e-6
