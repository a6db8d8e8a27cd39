"""Each peer through its own package and a small checkpoint of random weights that the package's own classes made.
A test skips where its package isn't installed: pip install '.[baselines,peers]'."""
import json, os, sys, types

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris

from tabtune import TabularLeaderboard
from tabtune.estimators.registry import count_parameters, find_model, make_model

def tabicl_weights(path, task):
    from tabicl._model.tabicl import TabICL
    config = dict(max_classes=10 if task == 'classification' else 0, num_quantiles=9, embed_dim=16, col_num_blocks=1, col_nhead=2, col_num_inds=4,
                  row_num_blocks=1, row_nhead=2, row_num_cls=2, icl_num_blocks=1, icl_nhead=2, zero_init=False)
    model = TabICL(**config)
    torch.save(dict(config=config, state_dict=model.state_dict()), path)
    return model

def tabdpt_weights(path, task):
    from safetensors.torch import save_file
    from tabdpt.model import TabDPTModel
    c = dict(enc_cell_dim=8, max_num_classes=10, regression_bin_count=16, regression_bin_min=-3., regression_bin_max=3., nhead=2, ff_dim=16, emsize=16,
             nlayers=1, max_num_features=8, min_eval_context=16, max_eval_context=64, y_encoder_dim=8, num_col_attn_layers=1, n_thinking_rows=2)
    names = dict(max_num_classes='n_out', ff_dim='nhid', emsize='ninp', max_num_features='num_features', min_eval_context='base_len',
                 max_eval_context='max_len')
    model = TabDPTModel(dropout=0., use_flash=False, **{names.get(k, k): v for k, v in c.items()})
    meta = dict(cfg=json.dumps(dict(training=dict(dropout=0.), env=dict(device='cpu'), model=c)))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, metadata=meta)
    return model

def tabpfn_weights(path, task):
    from dataclasses import asdict
    from tabpfn.architectures import tabpfn_v2_6 as v
    from tabpfn.architectures.shared.bar_distribution import FullSupportBarDistribution
    classes = dict(max_num_classes=10 if task == 'classification' else 0)
    config, _ = v.parse_config(dict(emsize=16, nlayers=1, nhead=2, num_thinking_rows=2, encoder_mlp_hidden_dim=16, num_buckets=20) | classes)
    model = v.get_architecture(config)
    state = dict(model.state_dict())
    if task == 'regression':
        bars = FullSupportBarDistribution(torch.linspace(-3, 3, 21), ignore_nan_targets=True)
        state |= {f'criterion.{k}': t for k, t in bars.state_dict().items()}
    torch.save(dict(state_dict=state, config=asdict(config), architecture_name='tabpfn_v2_6'), path)
    return model

PEERS = dict(TabICL=('tabicl', tabicl_weights, 'w.ckpt', dict(n_estimators=2)), TabDPT=('tabdpt', tabdpt_weights, 'w.safetensors', dict(n_ensembles=2)),
             TabPFN=('tabpfn', tabpfn_weights, 'w.ckpt', dict(n_estimators=2)))

@pytest.fixture
def table():
    "Numbers with missing cells, strings, and three classes of strings."
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.assign(word=np.where(X.iloc[:, 0] > 5.5, 'long', None)).iloc[::3].reset_index(drop=True)
    X.iloc[3, 1] = np.nan
    return X, y.iloc[::3].map({0: 'setosa', 1: 'versicolor', 2: 'virginica'}).reset_index(drop=True)

@pytest.fixture(params=PEERS)
def peer(request, tmp_path):
    "name -> a function that writes random weights for a task."
    package, write, file, params = PEERS[request.param]
    pytest.importorskip(package)
    def weights(task):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = write(tmp_path/file, task)
        return tmp_path/file, sum(p.numel() for p in model.parameters())
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
    assert np.allclose(make(1).predict_proba(X), p, atol=1e-6)

def test_peer_takes_numbers_to_predict(peer, table):
    (name, weights, params), (X, _) = peer, table
    path, _ = weights('regression')
    y = X.pop('petal length (cm)')
    pred = make_model(name, 'regression', params, seed=1, device='cpu', path=path).fit(X, y).predict(X)
    assert pred.shape == (50,) and np.isfinite(pred).all()

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
    monkeypatch.setenv('TABPFN_MODEL_CACHE_DIR', '/nowhere')
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

# OrionMSP and OrionBix are on no package index. A stand-in has their documented constructor and calls, and records what it gets.

class Orion(ClassifierMixin, BaseEstimator):
    def __init__(self, n_estimators=32, norm_methods=None, feat_shuffle_method='latin', class_shift=True, outlier_threshold=4.0,
                 softmax_temperature=0.9, average_logits=True, use_hierarchical=True, use_amp=True, batch_size=8, model_path=None,
                 allow_auto_download=True, checkpoint_version='v', device=None, random_state=42, n_jobs=None, verbose=False, inference_config=None):
        for k, v in list(locals().items()):
            if k != 'self': setattr(self, k, v)
    def fit(self, X, y):
        assert isinstance(X, pd.DataFrame) and np.issubdtype(np.asarray(y).dtype, np.integer)
        self.X_, self.share_ = X, np.bincount(y) / len(y)
        self.model_ = torch.nn.Linear(3, 2)
        return self
    def predict_proba(self, X): return np.tile(self.share_, (len(X), 1))

@pytest.mark.parametrize('name, package, cls', [('OrionMSP', 'orion_msp', 'OrionMSPClassifier'), ('OrionBix', 'orion_bix', 'OrionBixClassifier')])
def test_orion_through_its_documented_interface(name, package, cls, table, monkeypatch, tmp_path):
    X, y = table
    assert 'pip install "git+https://github.com/Lexsi-Labs/Orion-' in TabularLeaderboard(X, X, y, y, show_progress=False).add_model(name).run().error[1]
    for module in (package, f'{package}.sklearn'): monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    setattr(sys.modules[f'{package}.sklearn'], cls, Orion)
    est = make_model(name, params=dict(n_estimators=4), seed=3, device='cpu', path=tmp_path/'w.ckpt').fit(X, y)
    m = est.model_
    assert (m.n_estimators, m.random_state, m.device, m.model_path) == (4, 3, 'cpu', str(tmp_path/'w.ckpt'))
    assert m.X_.dtypes.map(str).tolist() == ['float64'] * 4 + ['category']
    assert count_parameters(est) == (8, 0)
    t = TabularLeaderboard(X, X, y, y, show_progress=False).add_model(name).run()
    assert t.status[1] == 'ok' and t.parameters[1] == 8

def test_limits_are_checked_before_any_work(table, monkeypatch):
    X = pd.DataFrame(np.zeros((5001, 1)))
    y = np.arange(5001) % 200
    monkeypatch.setitem(sys.modules, 'tabpfn', types.ModuleType('tabpfn'))
    sys.modules['tabpfn'].TabPFNClassifier = Orion
    monkeypatch.setattr(Orion, 'fit', lambda *a: pytest.fail('it was fitted'))
    lb = TabularLeaderboard(X, X, y, y, show_progress=False).add_model('TabPFN', tuning_params=dict(device='cpu'))
    t = lb.run()
    assert t.status[1] == 'skipped'
    assert t.error[1] == '5,001 rows, but TabPFN takes at most 5,000 on a CPU; 200 classes, but TabPFN takes at most 160'
    assert lb.plan().license[0] == 'weights: non-commercial (Prior Labs)'
    monkeypatch.undo()
    if 'tabpfn' not in sys.modules: return
    lb.add_model('TabPFN', name='anyway', model_params=dict(ignore_pretraining_limits=True), tuning_params=dict(device='cpu'))
    assert lb.plan().status.tolist()[1] == 'ok'
