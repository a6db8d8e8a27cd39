"""Each peer through its own package and a small checkpoint of random weights that the package's own classes made.
A test skips where its package is neither here (pip install '.[baselines,peers]') nor in an environment of its own (make peers)."""
import os, subprocess, sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.datasets import load_iris

from tabtune import TabularLeaderboard, TabularPipeline
from tabtune.core.shapes import ConfigError
from tabtune.estimators.registry import MODELS, count_parameters, find_model, how_to_install, installed, interpreter_of, make_model, strategies_of

PEERS = dict(TabICL=('w.ckpt', dict(n_estimators=2)), TabDPT=('w.safetensors', dict(n_ensembles=2)), TabPFN=('w.ckpt', dict(n_estimators=2)),
             OrionMSP=('w.ckpt', dict(n_estimators=2)), OrionBix=('w.ckpt', dict(n_estimators=2)))

@pytest.fixture
def table():
    "Numbers with missing cells, strings, and three classes of strings."
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.assign(word=np.where(X.iloc[:, 0] > 5.5, 'long', None)).iloc[::3].reset_index(drop=True)
    X.iloc[3, 1] = np.nan
    return X, y.iloc[::3].map({0: 'setosa', 1: 'versicolor', 2: 'virginica'}).reset_index(drop=True)

@pytest.fixture(params=PEERS)
def peer(request, tmp_path):
    "name -> a function that writes random weights for a task, with the interpreter that has the package."
    spec, (file, params) = find_model(request.param), PEERS[request.param]
    if not installed(spec): pytest.skip(f'{spec.name}: {how_to_install(spec)}')
    def weights(task):
        env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        command = [interpreter_of(spec) or sys.executable, str(Path(__file__).with_name('peer_weights.py')), spec.name, task, str(tmp_path/file)]
        return tmp_path/file, int(subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()[-1])
    return request.param, weights, params

def test_peer_answers_and_its_weights_are_the_ones_given(peer, table):
    (name, weights, params), (X, y) = peer, table
    path, n = weights('classification')
    make = lambda seed: make_model(name, params=params, seed=seed, device='cpu', path=path).fit(X, y)
    est = make(1)
    p = est.predict_proba(X)
    assert p.shape == (50, 3) and np.allclose(p.sum(1), 1, atol=1e-5) and (p >= 0).all()
    assert set(est.predict(X)) <= {'setosa', 'versicolor', 'virginica'} and est.classes_.tolist() == ['setosa', 'versicolor', 'virginica']
    assert count_parameters(est) == (n, 0)
    assert np.allclose(make(1).predict_proba(X), p, atol=1e-6) and np.ptp(p, axis=0).max() > 1e-4  # and rows differ

def test_peer_takes_numbers_to_predict(peer, table):
    (name, weights, params), (X, _) = peer, table
    if ('regression', name) not in MODELS: pytest.skip(f'{name} has no regression')
    path, _ = weights('regression')
    y = X.pop('petal length (cm)')
    pred = make_model(name, 'regression', params, seed=1, device='cpu', path=path).fit(X, y).predict(X)
    assert pred.shape == (50,) and np.isfinite(pred).all()

TUNING = dict(n_estimators_finetune=1, n_estimators_validation=1)
TUNED = dict(TabICL=(TUNING | dict(n_estimators_inference=1), {}), TabPFN=(TUNING | dict(n_estimators_final_inference=1), {}),
             OrionMSP=(dict(n_estimators=2), dict(n_episodes=5)), OrionBix=(dict(n_estimators=2), dict(n_episodes=5)))

@pytest.mark.parametrize('strategy', ['base-ft', 'peft'])
def test_peer_is_tuned_by_its_own_package_or_says_that_it_can_not_be(strategy, peer, table):
    (name, weights, _), (X, y) = peer, table
    params, more = TUNED.get(name, ({}, {}))
    make = lambda: TabularPipeline(name, tuning_strategy=strategy, model_params=params, model_checkpoint_path=weights('classification')[0],
                                   tuning_params=dict(device='cpu', epochs=1, learning_rate=1e-3) | more)
    if strategy not in strategies_of(find_model(name)):
        with pytest.raises(ConfigError, match='its package offers no such tuning'): make().fit(X, y)
        return
    untuned = TabularPipeline(name, model_params=PEERS[name][1], model_checkpoint_path=weights('classification')[0], tuning_params=dict(device='cpu')).fit(X, y)
    pipe = make().fit(X, y)
    about = pipe.describe()
    assert 0 < about['trained'] <= about['parameters'] and about['version'] and np.abs(pipe.predict_proba(X) - untuned.predict_proba(X)).max() > 1e-3

def test_peer_is_a_row(peer, table):
    (name, weights, params), (X, y) = peer, table
    lb = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2], show_progress=False)
    lb.add_model(name, model_params=params, tuning_params=dict(device='cpu'), model_checkpoint_path=weights('classification')[0])
    lb.add_model('LogisticRegression')
    t = lb.run().set_index('name')
    assert t.status.tolist() == ['ok'] * 2 and 0 <= t.accuracy[name] <= 1
    assert t.parameters[name] == weights('classification')[1] and t.trainable_parameters[name] == 0

def test_peer_without_weights_says_where_they_come_from(peer, table, monkeypatch):
    import huggingface_hub.constants
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('TABPFN_MODEL_CACHE_DIR', '/nowhere'); monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    (name, _, params), (X, y) = peer, table
    t = TabularLeaderboard(X, X, y, y, show_progress=False).add_model(name, model_params=params, tuning_params=dict(device='cpu')).run()
    assert t.status[1] == 'error' and find_model(name).source in t.error[1] and 'model_checkpoint_path' in t.error[1]

def test_peer_refuses_a_wrong_parameter_early(peer, table, caplog):
    X, y = table
    lb = TabularLeaderboard(X, X, y, y, show_progress=False)
    lb.add_model(peer[0], model_params=dict(n_estimator=2))
    assert ('did you mean' in caplog.text) == (peer[0] != 'TabDPT')  # its class takes any keyword
    assert lb.run().status[1] == 'error'

def test_lightgbm_starts_no_more_threads_than_it_may(table):
    pytest.importorskip('lightgbm')
    def threads(**params):
        make_model('LightGBM', params=dict(n_estimators=1) | params, seed=0).fit(*table)
        return psutil.Process().num_threads()
    before = psutil.Process().num_threads()
    assert os.environ['OMP_NUM_THREADS'] == '1' and threads() == before
    assert threads(n_jobs=3) == before + 2  # the threads would be seen
