"The kernel gives PyTorch's answers and gradients, for every variant of the model, and stays away where it can't or may not run."
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import tabtune.model.fused as fused
import tabtune.model.mitra
from tabtune import Mitra, MitraClassifier, MitraConfig, MitraRegressor, load_checkpoint
from tabtune.model.checkpoints import bundled
from tabtune.model.mitra import neighbour_init

pytestmark = pytest.mark.skipif(fused.library() is None, reason='no kernel on this machine')
exact = pytest.mark.skipif(not (fused.library() and fused.library().exact()), reason='no matrix unit')

def table(task, b=2, s=37, q=9, f=5):
    g = torch.Generator().manual_seed(0)
    x, xq = torch.randn(b, s, f, generator=g), torch.randn(b, q, f, generator=g)
    x[0, 3, 1] = xq[-1, 0, 2] = float('nan')
    return x, (x[..., 0].nan_to_num() if task == 'regression' else (x[..., 0].nan_to_num() > 0).long() + (x[..., 2] > 0.5)), xq

def both(monkeypatch, f):
    with_it = f()
    monkeypatch.setattr(tabtune.model.mitra, 'library', lambda: None)
    return with_it, f()

def model(**kw):
    torch.manual_seed(0)
    m = neighbour_init(Mitra(MitraConfig(dropout=0., **kw)))
    for p in m.experts.parameters(): torch.nn.init.normal_(p, std=0.1)
    return m

VARIANTS = [pytest.param(dict(), id='default'), pytest.param(dict(d_model=32, num_layers=1), id='small'),
            pytest.param(dict(d_model=128, num_layers=3), id='large'),
            pytest.param(dict(order='rows_first', head='linear', experts='none'), id='public order'),
            pytest.param(dict(row_scale='none', cell='value_rank', column='none'), id='value_rank cells'),
            pytest.param(dict(d_model=64, num_heads=2, d_ff=96), id='wide heads'), pytest.param(dict(task='regression'), id='regression')]

@exact
@pytest.mark.parametrize('variant', VARIANTS)
def test_predictions(monkeypatch, variant):
    m, args = model(**variant).eval(), table(variant.get('task'))
    assert m.fusable() is False and isinstance(m.exactly(), bool)
    with torch.inference_mode():
        assert m.exactly()
        a, b = both(monkeypatch, lambda: m(*args))
    assert (a - b).abs().max() < 1e-4 * max(1, b.abs().max())
    if variant.get('task') != 'regression': assert (a.softmax(-1) - b.softmax(-1)).abs().max() < 1e-5
    assert not torch.equal(a, b)  # it was there

@exact
@pytest.mark.parametrize('name', list(bundled()))
def test_bundled_checkpoints(monkeypatch, name):
    m = load_checkpoint(name).eval()
    args = table(m.config.task, b=1, s=200, q=50, f=12)
    with torch.inference_mode(): a, b = both(monkeypatch, lambda: m(*args))
    assert (a - b).abs().max() < 1e-4 * max(1, b.abs().max())
    if m.config.task == 'classification': assert (a.softmax(-1) - b.softmax(-1)).abs().max() < 1e-5

@exact
def test_same_bits_whatever_stands_beside_a_row():
    m, (x, y, xq) = model().eval(), table(None, b=1, s=100, q=70)
    with torch.inference_mode():
        cache = m.encode_support(x, y)
        whole = m.blocks(m.begin_queries(cache, xq)[0], cache, cache.kv)[0]
        for part in (slice(0, 1), slice(3, 20), slice(31, 70)):
            assert torch.equal(m.blocks(m.begin_queries(cache, xq)[0][:, part], cache, cache.kv)[0], whole[:, part])

@pytest.mark.parametrize('variant', VARIANTS)
def test_training_step(monkeypatch, variant):
    m, args = model(**variant).train(), table(variant.get('task'))
    def step():
        m.zero_grad()
        with torch.autocast('cpu', torch.bfloat16): out = m(*args).float()
        out.square().mean().backward()
        return out.detach(), torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])
    with torch.autocast('cpu', torch.bfloat16): assert m.fusable()
    (a, grad_a), (b, grad_b) = both(monkeypatch, step)
    exactly = m(*args)  # float32
    assert (a - exactly).norm() < 2 * (b - exactly).norm() + 1e-3
    assert (grad_a - grad_b).norm() < 0.05 * grad_b.norm()

def test_it_learns_as_without(monkeypatch):
    def losses():
        m, (x, y, xq) = model(num_layers=1, d_model=32).train(), table(None, b=4, s=60, q=40)
        opt, out = torch.optim.AdamW(m.parameters(), lr=3e-3), []
        target = (xq[..., 0].nan_to_num() > 0).long() + (xq[..., 2].nan_to_num() > 0.5)
        for _ in range(25):
            opt.zero_grad()
            with torch.autocast('cpu', torch.bfloat16): loss = F.cross_entropy(m(x, y, xq).flatten(0, 1).float(), target.flatten())
            loss.backward(); opt.step(); out.append(loss.item())
        return out
    a, b = both(monkeypatch, losses)
    assert a[-1] < 0.5 * a[0] and abs(a[-1] - b[-1]) < 0.1 * b[0]

def test_who_is_left_to_pytorch():
    m = model()
    grad = lambda: torch.autocast('cpu', torch.bfloat16)
    with grad(): assert m.fusable() and not m.fusable(torch.ones(1)) and not m.exactly()
    assert not m.fusable() and not m.exactly()  # gradients in float32
    hook = m.layers[0].attention1.register_forward_hook(lambda *a: None)
    with grad(): assert not m.fusable()
    hook.remove()
    with torch.no_grad(): assert not Mitra(MitraConfig(dropout=0.1)).train().exactly() and not m.double().exactly()
    with grad(): assert not model(d_model=48, num_heads=4).fusable()

@exact
@pytest.mark.parametrize('est', [MitraClassifier, MitraRegressor])
def test_estimators(monkeypatch, est):
    x, y, xq = (t[0].numpy() for t in table('regression' if est is MitraRegressor else None, s=150, q=20))
    ask = lambda: (lambda e: getattr(e, 'predict_proba', e.predict)(xq))(est(random_state=0).fit(x, y))
    a, b = both(monkeypatch, ask)
    assert abs(a - b).max() < 1e-5 * max(1, abs(b).max())

CODE = 'import tabtune.model.fused as k; print(k.library() is None)'
@pytest.mark.parametrize('env', [
    pytest.param(dict(TABTUNE_KERNEL='off'), id='off'), pytest.param(dict(CC='false', PATH='', XDG_CACHE_HOME='{tmp}'), id='no compiler'),
    pytest.param(dict(CC='{tmp}/cc', XDG_CACHE_HOME='{tmp}'), id='failing compiler')])
def test_without_it(tmp_path, env):
    (tmp_path/'cc').write_text('#!/bin/sh\necho a compiler that fails >&2; exit 1\n'); (tmp_path/'cc').chmod(0o755)
    env = {k: v.format(tmp=tmp_path) for k, v in env.items()}
    said = subprocess.run([sys.executable, '-c', CODE], env={**os.environ, **env}, capture_output=True, text=True)
    assert said.stdout.strip() == 'True', said.stderr

def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path/'file').write_text('')
    said = subprocess.run([sys.executable, '-c', CODE], env={**os.environ, 'XDG_CACHE_HOME': str(tmp_path/'file')}, capture_output=True, text=True)
    assert said.stdout.strip() == 'False', said.stderr

def test_no_rows_to_answer():
    m, (x, y, xq) = model().eval(), table(None)
    with torch.inference_mode(): assert m(x, y, xq[:, :0]).shape == (2, 0, 10)

def test_layers_that_are_not_as_made():
    class Own(torch.nn.Linear):
        def __init__(self, *a): super().__init__(*a); self.extra = torch.nn.Linear(2, 2)
    def changed(change):
        m = model().eval()
        change(m.layers[0])
        with torch.no_grad(): return not m.exactly()
    assert not changed(lambda block: None) or not fused.library().exact()
    assert changed(lambda block: setattr(block, 'linear1', Own(64, 128)))
    assert changed(lambda block: setattr(block.linear1, 'forward', lambda x: x))
    assert changed(lambda block: setattr(block.layer_norm1, 'eps', 0.1))
    assert changed(lambda block: setattr(block, 'layer_norm1', torch.nn.LayerNorm(64, bias=False)))
    assert changed(lambda block: block.linear1.double())
    assert changed(lambda block: (setattr(block.dropout, 'p', 0.1), block.dropout.train()))
    assert changed(lambda block: block.linear1.register_full_backward_hook(lambda *a: None))

def test_gradients_repeat_with_threads():
    z, n = torch.randn(3, 60, 5, 64), torch.get_num_threads()
    w = [t.requires_grad_() for b in [model().layers[0]] for t in tabtune.model.mitra.half_weights(*b.parts('rows'))]
    grads = lambda: torch.autograd.grad(fused.fused_half(z, w, 4, 40).square().sum(), w)
    torch.set_num_threads(4)
    try: a, b = grads(), grads()
    finally: torch.set_num_threads(n)
    assert all(torch.equal(p, q) for p, q in zip(a, b))

def test_wide_heads():
    for d, heads, s in ((224, 2, 24), (256, 1, 20)):
        w = [t.detach().requires_grad_() for t in tabtune.model.mitra.half_weights(*model(d_model=d, num_heads=heads, num_layers=1).layers[0].parts('rows'))]
        z = torch.randn(1, s + 30, 2, d)
        ours = torch.autograd.grad(fused.fused_half(z, w, heads, s).square().sum(), w)
        theirs = torch.autograd.grad(fused.plain_half(z, w, heads, s).square().sum(), w)
        for a, b in zip(ours, theirs): assert (a - b).norm() < 0.03 * b.norm().clamp_min(0.1)

def test_nothing_is_compiled_for_nobody(monkeypatch):
    def asked(): raise AssertionError('the program was asked for')
    monkeypatch.setattr(tabtune.model.mitra, 'library', asked)
    with torch.no_grad():
        assert not model().double().exactly()  # as for a model on a GPU
        with pytest.raises(AssertionError): model().exactly()
