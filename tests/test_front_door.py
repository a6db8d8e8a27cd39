"TabularPipeline takes every model that the registry knows: the same calls, or a sentence that says what is not there."
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

from tabtune import TabularLeaderboard, TabularPipeline, feature_importance
from tabtune.core.shapes import CheckpointError, ConfigError, InputError
from tabtune.estimators.registry import MODELS, ModelSpec, find_model, installed, register_model

@pytest.fixture(scope='module')
def table():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.assign(long=np.where(X.iloc[:, 0] > 5.8, 'yes', None))
    return X, y.map({0: 'a', 1: 'b', 2: 'c'})

@pytest.mark.parametrize('name, found', [(n, f) for f, names in dict(
    Mitra=['mitra', 'Tab2D', 'TAB2D'], RandomForest=['random forest', 'RANDOMFOREST', 'RandomForestClassifier'], LogisticRegression=['logistic'],
    HistGradientBoosting=['boosted trees', 'hist_gradient_boosting'], KNeighbors=['knn'], XGBoost=['xgb', 'XGBClassifier'], LightGBM=['lgbm'],
    CatBoost=['catboost'], TabICL=['tabicl'], TabPFN=['tabpfn'], TabDPT=['Tab-DPT'], OrionMSP=['Orion-MSP', 'orion_msp'], OrionBix=['OrionBiX']).items() for n in names])
def test_a_name_in_any_case_or_an_alias(name, found): assert find_model(name).name == found

HERE = {f'{name} ({task})': (name, task) for (task, name), s in MODELS.items() if s.kind in ('baseline', 'boosting')}

@pytest.mark.parametrize('model', HERE)
def test_the_same_calls(model, table, tmp_path):
    (name, task), (X, y) = HERE[model], table
    if not installed(find_model(name, task)): pytest.skip(f'{name} is not installed')
    if task == 'regression': X, y = X.drop(columns='petal width (cm)'), X['petal width (cm)']
    pipe = TabularPipeline(name.lower(), task).fit(X[::2], y[::2])
    scores, more = pipe.evaluate(X[1::2], y[1::2]), pipe.describe()
    assert scores['accuracy' if task == 'classification' else 'r2'] == pytest.approx(pipe.score(X[1::2], y[1::2])) and pipe.score(X[1::2], y[1::2]) > .8
    assert (more['model'], more['rows'], more['columns']) == (name, 75, X.shape[1]) and len(pipe.show_processing_summary()) == X.shape[1]
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert np.array_equal(again.predict(X), pipe.predict(X)) and again.get_params() == pipe.get_params()
    assert np.array_equal(clone(pipe).fit(X[::2], y[::2]).predict(X), pipe.predict(X))
    assert feature_importance(pipe, X[1::2], y[1::2], method='permutation', n_repeats=1).index[0].startswith('petal')
    pipe.plot(X, y)
    if task == 'classification': assert 0 <= pipe.evaluate_calibration(X, y)['ece'] <= 1
    else:
        assert np.array_equal(pipe.predict(X, output='mean'), pipe.predict(X))
        with pytest.raises(InputError, match="is Mitra's"): pipe.predict(X, output='quantiles')
        with pytest.raises(InputError, match='without intervals'): pipe.plot(X, y, 'intervals')

@pytest.fixture(scope='module')
def forest(table): return TabularPipeline('RandomForest').fit(*table)

@pytest.mark.parametrize('ask', [lambda p, X: p.tuned_model_, lambda p, X: p.save_adapter('a'), lambda p, X: p.get_attention_weights(X),
    lambda p, X: p.similar_rows(X.iloc[[0]]), lambda p, X: p.embed(X), lambda p, X: p.evaluate_checkpoints(X, X), lambda p, X: feature_importance(p, X, method='attention')],
    ids=['tuned weights', 'adapter', 'attention', 'similar rows', 'embedding', 'checkpoints', 'importance by attention'])
def test_what_only_mitra_has_says_so(ask, forest, table):
    with pytest.raises(InputError, match="Mitra's"): ask(forest, table[0])

WRONG = dict(strategy=(dict(tuning_strategy='base-ft'), 'fit trains all of it'), misspelt=(dict(model_params=dict(n_estimator=3)), "did you mean 'n_estimators'"),
             processing=(dict(processor_params=dict(scaling_strategy='power')), 'leave them out'), weights=(dict(model_checkpoint_path='w.ckpt'), 'no weights to load'),
             tuning=(dict(tuning_params=dict(epoch=3)), "did you mean 'epochs'"))

@pytest.mark.parametrize('wrong', WRONG)
def test_settings_that_a_forest_does_not_have(wrong, table):
    params, words = WRONG[wrong]
    with pytest.raises(ConfigError, match=words): TabularPipeline('RandomForest', **params).fit(*table)

def test_settings_without_use_are_said_to_be_unused(table, caplog):
    TabularPipeline('knn', tuning_params=dict(epochs=3, device='cpu')).fit(*table)
    assert "tuning_params: 'epochs' unused, since tuning_strategy='inference' trains nothing of KNeighbors" in caplog.text

def test_kinds_of_columns_reach_every_model(table):
    X = table[0].assign(code=np.arange(150) % 5)
    kinds = [TabularPipeline('knn', column_types=t).fit(X, table[1]).show_processing_summary().kind.iloc[-1] for t in (None, dict(code='category'))]
    assert kinds == ['number', 'category']

def test_parameters_that_are_no_plain_data_and_damaged_files_are_refused(table, tmp_path, forest):
    from sklearn.tree import DecisionTreeClassifier
    register_model(ModelSpec('Bagging', 'sklearn.ensemble:BaggingClassifier', form='codes'))
    try:
        pipe = TabularPipeline('Bagging', model_params=dict(estimator=DecisionTreeClassifier(max_depth=2), n_estimators=3)).fit(*table)
        with pytest.raises(InputError, match='.joblib'): pipe.save(tmp_path/'p.tabtune')
        with warnings.catch_warnings(action='ignore'): again = TabularPipeline.load(pipe.save(tmp_path/'p.joblib'))
        assert np.array_equal(again.predict(table[0]), pipe.predict(table[0]))
    finally: del MODELS['classification', 'Bagging']
    path = forest.save(tmp_path/'f.tabtune')
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError): TabularPipeline.load(path)

def test_models_of_a_grid_search_and_of_a_leaderboard(table):
    from sklearn.model_selection import GridSearchCV
    X, y = table
    found = GridSearchCV(TabularPipeline(), dict(model_name=['knn', 'logistic']), cv=2).fit(X, y)
    assert found.best_score_ > .85
    t = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2], show_progress=False).add_model('random forest').run()
    assert (t.name[1], t.status[1]) == ('RandomForest', 'ok')
    assert t.accuracy[1] == TabularPipeline('RandomForest').fit(X[::2], y[::2]).score(X[1::2], y[1::2])
