"Names of the field's public toolkit are understood, and noted once; nbs/core/00a_also_called.ipynb has the table."
import numpy as np
import pytest

import tabtune
from tabtune.core.also_called import ALSO_CALLED, CALLS
from tabtune.core.config import TUNING_KEYS

def test_every_name_of_the_table_leads_to_one_that_exists():
    named = lambda where: {v.split('(')[0] for v in ALSO_CALLED[where].values() if not v.startswith('unused')}
    assert named('tuning_params') <= set(TUNING_KEYS)
    pipe = tabtune.TabularPipeline()
    assert all(hasattr(pipe, ours) for ours in named('TabularPipeline')) and all(hasattr(tabtune.TabularLeaderboard, ours) for ours in named('TabularLeaderboard') - {'results_'})
    assert named('run') <= set(tabtune.TabularLeaderboard(*[[[1]], [[1]], [1], [1]]).options)
    assert {*CALLS} <= {*ALSO_CALLED['TabularPipeline'], *ALSO_CALLED['TabularLeaderboard']}

@pytest.fixture(scope='module')
def numbers():
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = x[:, 0] * 2 + np.random.default_rng(1).normal(size=60)
    return tabtune.TabularPipeline('Mitra', 'regression', model_params=dict(experts=None)).fit(x, y), x, y

SAME = dict(  # a call with the other toolkit's names, and ours
    predict_quantiles=(lambda p, x, y: p.predict_quantiles(x, [.1, .9]), lambda p, x, y: p.predict(x, output='quantiles', quantiles=[.1, .9])),
    predict_intervals=(lambda p, x, y: p.predict_intervals(x, confidence=.8), lambda p, x, y: p.predict_interval(x, .8)),
    evaluate_interval_calibration=(lambda p, x, y: p.evaluate_interval_calibration(x, y, confidence=.8)['coverage'], lambda p, x, y: p.uncertainty_report(x, y, coverage=.8)['coverage']),
    get_feature_importance=(lambda p, x, y: p.get_feature_importance(x, y, method='permutation', n_repeats=1), lambda p, x, y: p.feature_importance(x, y, method='permutation', n_repeats=1)),
    clear_cache=(lambda p, x, y: p.clear_cache() is None, lambda p, x, y: True))

@pytest.mark.parametrize('name', ALSO_CALLED['TabularPipeline'])
def test_a_method_gives_what_ours_gives(name, numbers):
    theirs, ours = SAME[name]
    assert np.array_equal(theirs(*numbers), ours(*numbers))

def test_settings_of_constructors_and_calls(numbers):
    pipe, x, y = numbers
    assert tabtune.TabularPipeline(cache='memory', validate=False, license_mode='research').get_params() == tabtune.TabularPipeline().get_params()
    assert pipe.uncertainty_report(x, y, alpha=.2, method='lac')['coverage'] == pipe.uncertainty_report(x, y, coverage=.8)['coverage']
    board = tabtune.TabularLeaderboard(x, x, y, y, 'regression', cache='memory'); board.add_model('Ridge')
    assert board.run(progress=False).status.tolist() == ['ok']
    with pytest.raises(tabtune.core.shapes.ConfigError, match='callback=f'): board.run(progress=print)
    with pytest.raises(TypeError, match='caches'): tabtune.TabularPipeline(caches=1)

def test_a_class_has_no_quantiles_under_either_name():
    pipe = tabtune.TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit([[0], [1]] * 5, [0, 1] * 5)
    with pytest.raises(tabtune.core.shapes.InputError, match='is for a regression'): pipe.predict_quantiles([[0]])
    with pytest.raises(tabtune.core.shapes.InputError, match='is for a regression'): pipe.predict_intervals([[0]])

SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from tabtune import TabularLeaderboard, TabularPipeline
X, y = load_iris(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=.5, random_state=0)
lb = TabularLeaderboard(X_train, X_test, y_train, y_test)
lb.add_model('Mitra', name='Mitra-Small', model_params={'d_model': 32, 'num_layers': 1}, tuning_params={'early_stopping_patience': 2})
lb.add_model('knn', label='neighbours')
lb.run(rank_by='accuracy')
assert [r['name'] for r in lb.to_dict()['results']] == list(lb.results_['name']), lb.to_dict()
"""

def test_a_script_that_ends_with_run_prints_its_table(fresh):
    out = fresh(SCRIPT)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert lines[0].split()[:2] == ['name', 'accuracy'] and {l.split()[1] for l in lines[2:]} == {'Mitra-Small', 'neighbours'}
    assert out.stderr.count("'early_stopping_patience' is called 'patience' here") == 1 and "'label' is called 'name' here" in out.stderr
