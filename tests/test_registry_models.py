"Every model of the registry has a whole record; a new one is registered in one place and works everywhere."
import inspect, sys, types

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris

from tabtune import TabularLeaderboard
from tabtune.core.shapes import ConfigError
from tabtune.leaderboard.compare import default_models, main
from tabtune.leaderboard.evaluation import Candidate, candidate_estimator
from tabtune.estimators.adapted import FORMS, Adapted
from tabtune.estimators.registry import (MODEL_KINDS, MODELS, ModelSpec, find_model, installed, list_models, make_model,
                                          model_names, package_of, register_model, why_not)

SPECS = {f'{name} ({task})': spec for (task, name), spec in MODELS.items()}

@pytest.mark.parametrize('name', SPECS)
def test_a_record_is_complete(name):
    spec = SPECS[name]
    assert MODELS[spec.task, spec.name] is spec
    assert spec.kind in MODEL_KINDS and spec.form in [*FORMS, None]
    assert spec.license not in ('', 'not stated'), f'{name}: license= names the licence of its code and weights'
    assert spec.target.count(':') == 1 if isinstance(spec.target, str) else callable(spec.target)
    assert spec.install or package_of(spec) in ('sklearn', 'tabtune'), 'a package that TabTune does not need says how to install it'
    if spec.kind in ('peer', 'mitra'): assert spec.source, 'pre-trained weights come from somewhere'
    for limit in (spec.rows, spec.cpu_rows, spec.columns, spec.classes): assert limit is None or limit > 0
    if spec.rows and spec.cpu_rows: assert spec.cpu_rows <= spec.rows

@pytest.mark.parametrize('name', SPECS)
def test_a_record_is_in_the_table_and_says_why_a_model_can_not_run(name):
    spec = SPECS[name]
    row = list_models(spec.task).loc[spec.name]
    assert (row.kind, row.license, bool(row.installed)) == (spec.kind, spec.license, installed(spec)) and (spec.install or '') in row['install']
    assert installed(spec) or (package_of(spec) in why_not(spec, 10, 2) and spec.install in why_not(spec, 10, 2))
    if installed(spec) and spec.rows: assert f'takes at most {spec.rows:,}' in why_not(spec, spec.rows + 1, 2, 2, 'cuda')

@pytest.mark.parametrize('name', SPECS)
def test_a_model_has_the_parameters_that_its_record_names(name):
    spec = SPECS[name]
    if not installed(spec): pytest.skip(f'{spec.install} is not installed')
    est = candidate_estimator(Candidate('x', spec.name), spec.task, seed=3)
    assert isinstance(est, Adapted) == (spec.form is not None)
    if spec.form is None: return
    names = inspect.signature(est.make.cls.__init__).parameters
    any_name = any(p.kind is p.VAR_KEYWORD for p in names.values())
    for key in (spec.seed, spec.device, spec.weights, *spec.defaults): assert key is None or any_name or key in names, key
    if spec.seed: assert est.make.keywords[spec.seed] == 3

@pytest.mark.parametrize('fields, message', [
    pytest.param(dict(task='ranking'), "task='ranking'", id='task'), pytest.param(dict(kind='pear'), "did you mean 'peer'", id='kind'),
    pytest.param(dict(form='sparse'), "form='sparse'", id='form'), pytest.param(dict(kind='peer'), 'how to install it', id='peer without a source')])
def test_a_record_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message): ModelSpec('x', 'x:X', **fields)

class Frequencies(ClassifierMixin, BaseEstimator):
    "A toy: predicts the smoothed class frequencies of the training rows."
    def __init__(self, smooth=1., seed=None): self.smooth, self.seed = smooth, seed
    def fit(self, X, y):
        assert isinstance(X, pd.DataFrame) and X.x4.dtype == 'category' and set(y) == {0, 1, 2}
        counts = np.bincount(y) + self.smooth
        self.p_ = counts / counts.sum()
        return self
    def predict_proba(self, X): return np.tile(self.p_, (len(X), 1))

@pytest.fixture
def toy(monkeypatch):
    "A toy package and the one call that makes its model known."
    monkeypatch.setitem(sys.modules, 'toy_models', types.ModuleType('toy_models'))
    sys.modules['toy_models'].Frequencies = Frequencies
    register_model(ModelSpec('Frequencies', 'toy_models:Frequencies', install='toy-models', seed='seed', columns=10, license='MIT'))
    yield
    del MODELS['classification', 'Frequencies']

def test_a_new_model_is_registered_in_one_place(toy, tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X.assign(long=np.where(X.iloc[:, 0] > 5.8, 'yes', None)), y.map({0: 'a', 1: 'b', 2: 'c'}).rename('kind')
    assert 'Frequencies' in model_names() and find_model('Frequencies').license == list_models().loc['Frequencies', 'license'] == 'MIT'
    assert make_model('Frequencies', params=dict(smooth=0.), seed=7).make().get_params() == dict(smooth=0., seed=7)
    with pytest.raises(ConfigError, match="did you mean 'smooth'"): make_model('Frequencies', params=dict(smoth=0.))

    def board(**options): return TabularLeaderboard(X, y_train=y, cv=2, show_progress=False, results_dir=tmp_path/'r', **options)
    lb = board().add_model('Frequencies').add_model('Frequencies', name='raw', model_params=dict(smooth=0.)).add_model('KNeighbors')
    t = lb.run('log_loss').set_index('name')
    assert set(t.status) == {'ok'} and t.log_loss['Frequencies'] == pytest.approx(np.log(3), abs=1e-3)
    assert lb.plan().set_index('name').most_columns['raw'] == 10
    again = board().add_model('Frequencies')
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path/'r').iterdir()}
    again.run('log_loss')
    assert {p: p.stat().st_mtime_ns for p in (tmp_path/'r').iterdir()} == stamps  # found on disk

    assert 'Frequencies' in default_models()
    X.assign(kind=y).to_csv(tmp_path/'t.csv', index=False)
    answer = main(str(tmp_path/'t.csv'), target='kind', models='Frequencies,KNeighbors', out=str(tmp_path/'o'))
    assert 'Frequencies' in answer.text and 'Frequencies' in (tmp_path/'o.html').read_text()

def test_a_toy_too_large_a_table_is_a_row_with_the_reason(toy):
    X, y = pd.DataFrame(np.zeros((8, 11))), ['a', 'b'] * 4
    t = TabularLeaderboard(X, X, y, y, show_progress=False).add_model('Frequencies').run()
    assert (t.status[1], t.error[1]) == ('skipped', '11 columns, but Frequencies takes at most 10')

def test_nothing_is_left_of_the_toy():
    with pytest.raises(ConfigError, match="model_name='Frequencies'"): find_model('Frequencies')
