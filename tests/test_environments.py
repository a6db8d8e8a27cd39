"A model in an environment of its own: a small package that is installed there only, and a worker that has neither TabTune nor torch."
import logging, os, pickle, subprocess, sys, sysconfig, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabtune import TabularLeaderboard, TabularPipeline
from tabtune.core.shapes import ConfigError
from tabtune.estimators.environments import PeerError
from tabtune.estimators.registry import MODELS, ModelSpec, list_models, make_model, register_model

PACKAGE = '''
import os, sys, time
import numpy as np

class Peer:
    def __init__(self, behave='well', model_path=None, device=None, random_state=None):
        assert 'torch' not in sys.modules and 'tabtune' not in sys.modules
        self.behave, self.given = behave, (model_path, device, random_state)
    def fit(self, X, y):
        print('reading', *self.given)
        if self.behave == 'die': os._exit(7)
        if self.behave == 'hang': time.sleep(600)
        if self.behave == 'fail': raise ValueError('too few rows')
        if self.behave == 'offline': raise ConnectionError('no answer')
        if self.behave == 'stuck': self.not_plain = lambda: 0
        self.kinds, self.p = [str(t) for t in X.dtypes], np.bincount(y) / len(y)
        assert list(X.iloc[:, -1].cat.categories) == ['no', 'yes'] and X.iloc[:, -1].isna().any()
    def predict_proba(self, X):
        if self.behave == 'die later': os.kill(os.getpid(), 9)
        if self.behave == 'odd': return np.full((len(X), 5), .2)
        return np.tile(self.p, (len(X), 1))
'''

@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    "An environment with NumPy, pandas and the small package."
    folder = tmp_path_factory.mktemp('peers')/'Small'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    site = Path(sysconfig.get_path('purelib', vars=dict(base=str(folder))))
    (site/'small_peer.py').write_text(PACKAGE)
    (site/'more.pth').write_text('\n'.join(dict.fromkeys(sysconfig.get_path(p) for p in ('purelib', 'platlib'))))
    return folder

@pytest.fixture
def small(environment):
    register_model(ModelSpec('Small', 'small_peer:Peer', kind='peer', install='small-peer', source='nobody/small', weights='model_path', device='device',
                             license='MIT', python=str(environment)))
    yield
    del MODELS['classification', 'Small']

@pytest.fixture(scope='module')
def table():
    x = np.random.default_rng(0).normal(size=40)
    return pd.DataFrame(dict(x=x, word=np.where(x > 0, 'yes', np.where(x > -1, 'no', None)))), pd.Series(np.where(x > .5, 'high', 'low'))

def test_its_row_is_like_any_other_and_what_it_prints_is_progress(small, table, caplog):
    X, y = table
    caplog.set_level(logging.INFO, 'tabtune')
    assert list_models().loc['Small', ['installed', 'apart']].tolist() == [True, True]
    lb = TabularLeaderboard(X, X, y, y, show_progress=False).add_model('small', model_checkpoint_path='w.ckpt', tuning_params=dict(device='cpu'))
    t = lb.add_model('KNeighbors').run().set_index('name')
    assert t.status.tolist() == ['ok', 'ok'] and t.accuracy['Small'] == pytest.approx((y == 'low').mean())
    assert 'Small: reading w.ckpt cpu 42' in caplog.text

HOW = {'die': r"its process ended \(exit code 7\) before it answered 'fit'; its last words: reading", 'die later': 'signal SIGKILL: memory may have run out',
       'hang': r"no answer to 'fit' after 3 s \(time_limit\)", 'fail': 'Small: ValueError: too few rows',
       'offline': "come from 'nobody/small'; without network give model_checkpoint_path", 'odd': r'shape \(40, 5\) where float64 of shape \(40, 2\)'}

def test_whatever_goes_wrong_is_a_row_and_the_others_go_on(small, table):
    X, y = table
    lb = TabularLeaderboard(X, X, y, y, show_progress=False).add_model('KNeighbors')
    for how in HOW: lb.add_model('Small', name=how, model_params=dict(behave=how), tuning_params=dict(time_limit=3) if how == 'hang' else None)
    t = lb.run().set_index('name')
    assert t.status.to_dict() == dict.fromkeys(HOW, 'error') | dict(KNeighbors='ok')
    for how, words in HOW.items(): assert pd.Series([t.error[how]]).str.contains(words).all(), t.error[how]

def test_a_pipeline_with_it(small, table, tmp_path):
    X, y = table
    pipe = TabularPipeline('SMALL', model_params=dict(seed=5)).fit(X, y)
    assert pipe.evaluate(X, y)['accuracy'] == pytest.approx((y == 'low').mean()) and pipe.describe()['apart'] is True
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert np.array_equal(again.predict_proba(X), pipe.predict_proba(X))
    with warnings.catch_warnings(action='ignore'): again = TabularPipeline.load(pipe.save(tmp_path/'p.joblib'))  # as its own process pickles it
    assert np.array_equal(again.predict_proba(X), pipe.predict_proba(X))
    stuck = TabularPipeline('SMALL', model_params=dict(behave='stuck')).fit(X, y)
    with pytest.raises(PeerError, match="Can't pickle.*process of its own"): stuck.save(tmp_path/'p.joblib')

def test_parameters_are_checked_before_any_work(small, table):
    with pytest.raises(ConfigError, match="did you mean 'behave'"): make_model('Small', params=dict(behav='well'))
    with pytest.raises(ConfigError, match="can't go to another process"): TabularPipeline('Small', model_params=dict(behave=print)).fit(*table)
    assert pickle.loads(pickle.dumps(make_model('Small', seed=1))).make.keywords == dict(random_state=1)

def test_an_environment_that_is_not_there(table):
    register_model(ModelSpec('Nowhere', 'nowhere:X', python='some/folder'))
    try: t = TabularLeaderboard(table[0], table[0], table[1], table[1], show_progress=False).add_model('Nowhere').run()
    finally: del MODELS['classification', 'Nowhere']
    assert t.status[1] == 'error' and 'make peers PEERS=some/folder' in t.error[1]

def test_the_worker_ends_with_the_process_that_started_it(small, table):
    est = make_model('Small', params=dict(behave='well')).fit(*table)
    process = est.model_.process.process
    assert process.poll() is None
    process.stdin.close()  # what happens when this process ends, whatever ends it
    assert process.wait(20) == 0
    assert subprocess.run([sys.executable, '-c', f"import runpy, sys; runpy.run_path({est.model_.process.process.args[3]!r}); sys.exit('torch' in sys.modules or 'tabtune' in sys.modules)"],
                          env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}, cwd='/').returncode == 0
