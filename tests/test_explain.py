"Explanations hold for every variant of the model, for ensembles, saved pipelines, and many classes."
import importlib.util
import itertools
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch.overrides import TorchFunctionMode

from tabtune import Mitra, MitraClassifier, MitraConfig, MitraRegressor, TabularPipeline
from tabtune.explain.importance import feature_importance, make_known_importance
from tabtune.explain.attention_maps import AttentionRecorder, attention_weights
from tabtune.core.shapes import ConfigError, InputError

class Replay(TorchFunctionMode):
    "Attention by stored weights instead of queries and keys."
    def __init__(self, stored): super().__init__(); self.stored = iter(stored)
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention: return func(*args, **kwargs or {})
        return next(self.stored)[..., :args[0].shape[-2], :] @ args[2]

def model(**kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = Mitra(MitraConfig(d_model=32, num_heads=2, num_layers=2, **kwargs)).eval()
        for p in m.parameters():
            if p.ndim > 1: torch.nn.init.normal_(p, std=.3)  # so that every part has a say
    return m

def table(seed=0, n=40, f=4):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, n, f, generator=g), torch.arange(n)[None] % 3, torch.randn(1, 5, f, generator=g)

@pytest.mark.parametrize('order, head, experts', list(itertools.product(
    ['rows_first', 'features_first'], ['linear', 'retrieval'], ['none', 'kernel'])))
def test_recorded_weights_give_the_output_back(order, head, experts):
    m, (x, y, xq), recorded = model(order=order, head=head, experts=experts), table(), []
    with torch.inference_mode():
        cache = m.encode_support(x, y)
        plain = m.predict_logits(cache, xq)
        with AttentionRecorder(m, lambda kind, layer, *qk: recorded.append((kind, attention_weights(*qk)))): while_recording = m.predict_logits(cache, xq)
        with Replay([w for _, w in recorded]): again = m.predict_logits(cache, xq)
        with Replay([w.flip(-1) for _, w in recorded]): reversed_ = m.predict_logits(cache, xq)
    torch.testing.assert_close(while_recording, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again, plain, rtol=1e-3, atol=1e-3)
    assert (reversed_ - plain).abs().max() > .01
    assert [w.shape[-2:] for kind, w in recorded if kind == 'columns'] == [(5, 5)] * 2
    assert [kind for kind, _ in recorded].count('rows') == 2 and [kind for kind, _ in recorded].count('head') == (head == 'retrieval')

class ByMaps(TorchFunctionMode):
    "Attention by the maps that users get; the other tokens' look at the rows, which is not in them, stays as it is."
    def __init__(self, maps, order='features_first'):
        super().__init__()
        pairs = [dict(features=('columns', c), rows=('rows', r)) for c, r in zip(maps.columns, maps.rows)]
        halves = ('features', 'rows') if order == 'features_first' else ('rows', 'features')
        self.todo, self.heads = [p[h] for p in pairs for h in halves] + ([] if maps.head is None else [('head', maps.head)]), len(maps.rows[0])

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if func is not F.scaled_dot_product_attention: return out
        (kind, w), v = self.todo.pop(0), args[2]
        w, n = torch.tensor(w), w.shape[1]
        if kind == 'columns': out[:n] = w.transpose(0, 1)[:, :, :out.shape[-2]] @ v[:n]
        else: out[0, :self.heads, :n] = w @ v[0, :self.heads]
        return out

def turned(maps, what):
    "The same maps, one kind of them turned round."
    w = getattr(maps, what)
    return replace(maps, **{what: w[..., ::-1].copy() if what == 'head' else [m[..., ::-1].copy() for m in w]})

def recomputed(est, maps, X, method, order):
    with ByMaps(maps, order) as replay: out = getattr(est, method)(X)
    assert replay.todo == []
    return out

@pytest.mark.parametrize('order, head, experts', list(itertools.product(
    ['rows_first', 'features_first'], ['linear', 'retrieval'], ['none', 'kernel'])))
def test_the_maps_give_the_prediction_back(wine, order, head, experts):
    m = model(order=order, head=head, experts=experts)
    clf, X = MitraClassifier(m).fit(wine[0], wine[1]), wine[2][:6]
    proba, maps = clf.predict_proba(X), clf.get_attention_weights(X)
    np.testing.assert_allclose(recomputed(clf, maps, X, 'predict_proba', order), proba, atol=1e-4)
    for what in ('rows', 'columns') + (('head',) if head == 'retrieval' else ()):
        assert abs(recomputed(clf, turned(maps, what), X, 'predict_proba', order) - proba).max() > 1e-3, what
    x, y, xq = (torch.as_tensor(a)[None] for a in (clf.x_support_, clf.y_support_, clf.encoder_.transform(X)))
    with torch.inference_mode():  # the rest of the prediction: gate times evidence
        cache = m.encode_support(x, y)
        part = torch.zeros(1) if experts == 'none' else m.experts.add_to_output(torch.zeros(1, len(X), 10), torch.tensor(clf.embed(X))[None], m.experts.evidence(m.cell(xq, cache.cells), cache.experts))[0]
    np.testing.assert_allclose(maps.expert_logits, np.broadcast_to(part.numpy(), maps.logits.shape), atol=1e-3)
    assert (abs(maps.expert_logits).max() > .01) == (experts == 'kernel')

def test_the_maps_give_a_predicted_number_back(wine):
    reg = MitraRegressor().fit(wine[0].iloc[:, 1:], wine[0].iloc[:, 0])
    X = wine[2].iloc[:6, 1:]
    y, maps = reg.predict(X), reg.get_attention_weights(X)
    np.testing.assert_allclose(recomputed(reg, maps, X, 'predict', 'features_first'), y, rtol=1e-4)
    for what in ('rows', 'columns', 'head'): assert abs(recomputed(reg, turned(maps, what), X, 'predict', 'features_first') - y).max() > 1e-3, what

def test_padding_gets_no_weight():
    m, (x, y, xq), recorded = model(), table(), []
    rows, columns = torch.ones(1, 40, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    rows[:, 30:], columns[:, 3] = False, False
    with torch.inference_mode():
        cache = m.encode_support(x, y, rows, columns)
        with AttentionRecorder(m, lambda kind, layer, *qk: recorded.append((kind, attention_weights(*qk)))): m.predict_logits(cache, xq)
    for kind, w in recorded: assert w[..., {'columns': 4}.get(kind, 30):].abs().max() == 0, kind

@pytest.fixture(scope='module')
def wine():
    X, y = load_wine(return_X_y=True, as_frame=True)
    return X.iloc[::2], y[::2], X.iloc[1::2], y[1::2]

@pytest.mark.parametrize('kwargs', [
    pytest.param(dict(order='rows_first', head='linear', experts='none', cell='quantile', column='none', row_scale='none'), id='public layout'),
                                    pytest.param(dict(order='features_first'), id='features first')])
def test_a_classifier_of_any_variant(wine, kwargs):
    clf = MitraClassifier(model(**kwargs)).fit(wine[0], wine[1])
    maps = clf.get_attention_weights(wine[2][:6])
    np.testing.assert_allclose(torch.tensor(maps.logits[:, :3]).softmax(-1), clf.predict_proba(wine[2][:6]), atol=1e-4)
    assert (maps.head is None) == (kwargs.get('head') == 'linear')
    np.testing.assert_allclose(maps.votes().sum(1), 1, atol=1e-4)
    assert clf.embed(wine[2][:6]).shape == (6, 32) and len(clf.similar_rows(wine[2][:1], n=3)) == 3

def test_ensemble_members_and_a_sampled_support(wine):
    clf = MitraClassifier(model(), n_estimators=2, max_support=30).fit(wine[0], wine[1])
    one, two = (clf.get_attention_weights(wine[2][:4], member=v) for v in (0, 1))
    assert len(one.support) == 30 and set(one.support) <= set(range(len(wine[0]))) and list(one.support) != list(two.support)
    np.testing.assert_array_equal(two.labels, wine[1].to_numpy()[two.support])
    rows = clf.similar_rows(wine[2][:1], table=wine[0], member=1)
    pd.testing.assert_frame_equal(rows[list(wine[0])].reset_index(drop=True), wine[0].iloc[rows.index].reset_index(drop=True))
    assert clf.embed_support(member=1).shape == (len(wine[0]), 32)

def test_many_classes():
    X, y = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=['a', 'b']), np.arange(60) % 12
    clf = MitraClassifier(model()).fit(X, y)
    maps = clf.get_attention_weights(X[:3])
    assert maps.rows[0].shape == (2, 3, 60) and set(clf.similar_rows(X[:1]).label) <= set(range(12))
    assert set(clf.feature_importance(X).index) == {'a', 'b'}

def test_a_loaded_pipeline_explains_the_same(wine, tmp_path):
    X = wine[0].assign(kind=np.where(wine[0].alcohol > 13, 'strong', 'light'), day=pd.date_range('2024-01-01', periods=len(wine[0]), freq='9h'))
    pipe = TabularPipeline().fit(X, wine[1].map({0: 'a', 1: 'b', 2: 'c'}))
    rows = pipe.similar_rows(X[:1])
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    pd.testing.assert_frame_equal(again.similar_rows(X[:1]), rows)
    assert list(rows) == ['weight', 'label', *X] and set(rows.kind) <= {'strong', 'light'}
    importance = pipe.feature_importance(X)
    assert set(importance.index) == set(X) and abs(importance.sum() - 1) < 1e-6  # a date's inputs count as one column

def test_adapters_are_no_obstacle(wine):
    from peft import LoraConfig, get_peft_model
    clf = MitraClassifier(model()).fit(wine[0], wine[1])
    before = clf.get_attention_weights(wine[2][:4])
    clf.model_ = get_peft_model(clf.model_, LoraConfig(target_modules=r'.*attention\d\.[qv]')).eval()
    after = clf.get_attention_weights(wine[2][:4])  # fresh adapters change nothing
    for a, b in zip(before.rows + before.columns, after.rows + after.columns): np.testing.assert_allclose(a, b, atol=1e-5)

def test_no_more_than_memory_holds(wine, monkeypatch):
    from tabtune.explain import attention_maps as maps
    monkeypatch.setattr(maps, 'MAX_WEIGHTS', 10_000)
    clf = MitraClassifier(model()).fit(wine[0], wine[1])
    with pytest.raises(InputError, match='rows of X at a time'): clf.get_attention_weights(wine[2])

def test_importance_of_a_table_whose_truth_is_known():
    X, y = make_known_importance()
    pipe = TabularPipeline().fit(X[:400], y[:400])
    by_attention = pipe.feature_importance(X[400:])
    assert by_attention.strong > by_attention.weak > by_attention.noise
    without_y = pipe.feature_importance(X[400:], 'permutation', n_rows=100, n_repeats=2)
    assert min(without_y.strong, without_y.weak) > without_y.noise >= 0
    pytest.importorskip('shap')
    by_shap = pipe.feature_importance(X[400:], 'shap', n_rows=8, n_permutations=1)
    assert min(by_shap.strong, by_shap.weak, by_shap[['pair_a', 'pair_b']].mean()) > by_shap.noise

def test_labels_and_method_are_taken_in_either_order(wine, caplog):
    X, y = wine[2][:30], wine[3][:30]
    clf = MitraClassifier(model()).fit(wine[0], wine[1])
    expected = feature_importance(clf, X, method='permutation', y=y, n_repeats=1)
    for args, named in (((y,), dict(method='permutation')), ((y, 'permutation'), {}), (('permutation', y), {}), (('permutation',), dict(y=y))):
        for result in (feature_importance(clf, X, *args, n_repeats=1, **named), clf.feature_importance(X, *args, n_repeats=1, **named)):
            pd.testing.assert_series_equal(result, expected)
    assert not caplog.messages
    pd.testing.assert_series_equal(clf.feature_importance(X, y), clf.feature_importance(X))
    assert [m for m in caplog.messages if "y is not used by the method 'attention'" in m]

def test_strings_and_missing_cells_in_every_method():
    pytest.importorskip('shap')
    X, y = make_known_importance(200)
    X = X.assign(flag=X.strong > 0, word=np.where(X.weak > 0, 'high', 'low'), n=np.arange(200)).mask(np.eye(200, 9, dtype=bool))
    pipe = TabularPipeline().fit(X[:150], y[:150])
    values = pipe.shap_values(X[150:151], n_permutations=1)
    assert values.shape == (1, 9, 2)
    np.testing.assert_allclose(values.sum(-1), 0, atol=1e-6)  # what one class gains the other loses
    empty = X[150:151].astype(object).mask(np.ones((1, 9), dtype=bool), None)
    np.testing.assert_allclose(pipe.predict_proba(empty) + values.sum(1), pipe.predict_proba(X[150:151]), atol=1e-5)  # from an empty row to this one
    assert set(pipe.feature_importance(X[150:], 'permutation', y[150:], n_repeats=1).index) == set(X)

def test_regions_and_steps_before_the_model():
    X, y = make_known_importance(300)
    X = X.assign(word=np.where(X.weak > 0, 'high', 'low'))
    near = MitraClassifier(model(), support_strategy='nearest', max_support=80).fit(X[:250], y[:250])
    with pytest.raises(InputError, match='regions of the table'): near.get_attention_weights(X[250:])
    assert set(near.feature_importance(X[250:260]).index) == set(X) and len(near.similar_rows(X[250:251])) == 5
    np.testing.assert_allclose(torch.tensor(near.get_attention_weights(X[250:251]).logits[:, :2]).softmax(-1), near.predict_proba(X[250:251]), atol=1e-4)
    steps = MitraClassifier(model(), processor_params=dict(categorical_encoding='onehot', feature_selection_strategy='anova', n_features=3))
    importance = steps.fit(X[:250], y[:250]).feature_importance(X[250:])
    assert set(importance.index) == set(X) and (importance > 0).sum() <= 3  # columns that selection dropped get nothing
    assert list(steps.similar_rows(X[250:251], table=X[:250]))[2:] == list(X)

def test_ensembles_of_regions_with_many_classes():
    X, y = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 3)), columns=list('abc')), np.arange(120) % 12
    steps = dict(categorical_encoding='onehot', scaling_strategy='power')
    clf = MitraClassifier(model(), n_estimators=2, support_strategy='nearest', max_support=40, processor_params=steps)
    clf.fit(X.assign(w=np.where(X.a > 0, 'x', 'y')), y)
    query = X[:1].assign(w='y')
    maps = clf.get_attention_weights(query, member=1)
    np.testing.assert_array_equal(maps.labels, y[maps.support])
    assert set(clf.similar_rows(query).label) <= set(range(12)) and set(clf.feature_importance(query).index) == {'a', 'b', 'c', 'w'}

def test_wrong_settings_are_named(wine):
    clf = MitraClassifier(model()).fit(wine[0], wine[1])
    for settings, words in ((dict(n_rows=-3), 'n_rows=-3'), (dict(n_rows=0), 'n_rows=0'), (dict(method='permutation', n_repeat=2), "did you mean 'n_repeats'")):
        with pytest.raises(ConfigError, match=words): clf.feature_importance(wine[2], **settings)
    with pytest.raises(ConfigError, match='n=-1'): clf.similar_rows(wine[2][:1], n=-1)
    with pytest.raises(ConfigError, match='member=1'): clf.embed_support(member=1)

SUITE = os.environ.get('TABTUNE_SUITE')  # the folder of development tables

@pytest.mark.skipif(not SUITE, reason='needs the development tables, which are no part of the project: set TABTUNE_SUITE')
@pytest.mark.parametrize('name', ['vehicle', 'breast_cancer'])  # two of the eight on which it holds; benchmarks/embeddings.csv has all twelve
def test_neighbours_in_the_embedding_beat_raw_columns_on_development_tables(root, monkeypatch, name):
    monkeypatch.syspath_prepend(SUITE)
    spec = importlib.util.spec_from_file_location('embeddings', root/'benchmarks'/'embeddings.py')
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    m = bench.contest(importlib.import_module('splits').split(name, 1), 300, 'medium')
    assert m['logloss_embedding'] < m['logloss_raw'] - .02
