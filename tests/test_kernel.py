"The kernel gives PyTorch's results and gradients, for every variant of the model, and stays away where it can't or may not run."
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import tabtune.model.kernel as kernel
from tabtune import Mitra, MitraConfig
from tabtune.model.attention import Attention
from tabtune.model.mitra import neighbour_init

CSRC = Path(kernel.__file__).parent/'csrc'
needs_kernel = pytest.mark.skipif(kernel.library() is None, reason='no kernel on this machine: not built, or the processor lacks AVX-512 BF16')
needs_gcc = pytest.mark.skipif(not shutil.which('gcc') or sys.platform != 'linux', reason='no gcc on Linux')

def table(task, b=2, s=37, q=9, f=5):
    g = torch.Generator().manual_seed(0)
    x, xq = torch.randn(b, s, f, generator=g), torch.randn(b, q, f, generator=g)
    x[0, 3, 1] = xq[-1, 0, 2] = float('nan')
    return x, (x[..., 0].nan_to_num() if task == 'regression' else (x[..., 0].nan_to_num() > 0).long() + (x[..., 2] > 0.5)), xq

def model(**kw):
    torch.manual_seed(0)
    m = neighbour_init(Mitra(MitraConfig(dropout=0., **kw)))
    for p in m.experts.parameters(): torch.nn.init.normal_(p, std=0.1)
    return m

def bf16(): return torch.autocast('cpu', torch.bfloat16)

def calls(monkeypatch):
    "A list that grows with every call of the C library."
    made, call = [], kernel._call
    monkeypatch.setattr(kernel, '_call', lambda lib, name, *a, **kw: (made.append(name), call(lib, name, *a, **kw)))
    return made

def both(monkeypatch, f):
    with_it = f()
    monkeypatch.setattr(kernel, 'library', lambda: None)
    return with_it, f()

VARIANTS = [pytest.param(dict(), id='default'), pytest.param(dict(d_model=32, num_layers=1), id='small'),
            pytest.param(dict(d_model=128, num_layers=3), id='large'),
            pytest.param(dict(order='rows_first', head='linear', experts='none'), id='public order'),
            pytest.param(dict(row_scale='none', cell='value_rank', column='none'), id='value_rank cells'),
            pytest.param(dict(d_model=64, num_heads=2, d_ff=96), id='wide heads'), pytest.param(dict(task='regression'), id='regression')]

def step(m, args):
    "Result and gradients of a training step."
    m.zero_grad()
    with bf16(): out = m(*args).float()
    out.square().mean().backward()
    return out.detach(), torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])

@needs_kernel
@pytest.mark.parametrize('variant', VARIANTS)
def test_training_step(monkeypatch, variant):
    m, args, made = model(**variant).train(), table(variant.get('task')), calls(monkeypatch)
    (a, grad_a), (b, grad_b) = both(monkeypatch, lambda: step(m, args))
    float32 = m(*args)
    linear = m.config.head == 'linear'  # does not read the support rows, so these stop at their last keys
    halves = 4 * m.config.num_layers - (2 if linear else 0)
    assert made == ['half_forward'] * halves + ['half_backward'] * halves  # once each, and only with the kernel
    assert (a - float32).norm() < 2 * (b - float32).norm() + 1e-3
    assert (grad_a - grad_b).norm() < 0.05 * grad_b.norm()

@pytest.mark.parametrize('variant', VARIANTS)
def test_training_step_without_it(no_kernel, monkeypatch, variant):
    "The path of machines without a kernel: as float32, as far as eight bits go."
    m, args, made = model(**variant).train(), table(variant.get('task')), calls(monkeypatch)
    out, grad = step(m, args)
    m.zero_grad()
    float32 = m(*args); float32.square().mean().backward()
    right = torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])
    assert not made and (out - float32).norm() < 0.05 * float32.norm() and (grad - right).norm() < 0.1 * right.norm()

@needs_kernel
def test_it_learns_as_without(monkeypatch):
    def losses():
        m, (x, y, xq) = model(num_layers=1, d_model=32).train(), table(None, b=4, s=60, q=40)
        opt, out = torch.optim.AdamW(m.parameters(), lr=3e-3), []
        target = (xq[..., 0].nan_to_num() > 0).long() + (xq[..., 2].nan_to_num() > 0.5)
        for _ in range(25):
            opt.zero_grad()
            with bf16(): loss = F.cross_entropy(m(x, y, xq).flatten(0, 1).float(), target.flatten())
            loss.backward(); opt.step(); out.append(loss.item())
        return out
    a, b = both(monkeypatch, losses)
    assert a[-1] < 0.5 * a[0] and abs(a[-1] - b[-1]) < 0.1 * b[0]

def test_predictions_are_pytorch_s_to_the_bit(monkeypatch):
    "The kernel has no part in them: not in float32, not under autocast without gradients."
    m, args = model().eval(), table(None)
    def predict():
        with torch.inference_mode():
            exact = m(*args)
            with bf16(): return exact, m(*args)
    for a, b in zip(*both(monkeypatch, predict)): assert torch.equal(a, b)
    with torch.inference_mode(): assert m(args[0], args[1], args[2][:, :0]).shape == (2, 0, 10)  # no rows to predict

def taken(m, monkeypatch, *masks):
    "Was the kernel used in a step of `m` on a table with such masks?"
    made = calls(monkeypatch)
    with bf16(): m(*table(None), *masks)
    monkeypatch.undo()
    return bool(made)

@needs_kernel
def test_who_is_left_to_pytorch(monkeypatch):
    m, used = model(), lambda m, *masks: taken(m, monkeypatch, *masks)
    assert used(m) and not used(m, torch.ones(2, 37, dtype=torch.bool), None, torch.ones(2, 5, dtype=torch.bool))
    with torch.no_grad(): assert not used(m)
    made = calls(monkeypatch); m(*table(None)); monkeypatch.undo()
    assert not made  # gradients in float32
    hooks = [b.attention1.register_forward_hook(lambda *a: None) for b in m.layers] + [b.linear3.register_forward_pre_hook(lambda *a: None) for b in m.layers]
    assert not used(m)
    for h in hooks: h.remove()
    assert used(m) and not used(Mitra(MitraConfig(dropout=0.1)).train()) and not used(model(d_model=48, num_heads=4))
    for mode in (torch.jit, torch.compiler):
        monkeypatch.setattr(mode, 'is_tracing' if mode is torch.jit else 'is_compiling', lambda: True)
        made = calls(monkeypatch)
        with bf16(): m(*table(None))
        assert not made
        monkeypatch.undo()

class OwnLinear(torch.nn.Linear):
    "Somebody's layer that is more than a linear one."
    def __init__(self, *a): super().__init__(*a); self.extra = torch.nn.Linear(2, 2)

class OwnAttention(Attention):
    "Somebody's attention, which may compute something else."

CHANGES = dict(
    own_class=lambda b: setattr(b, 'linear1', OwnLinear(64, 128)),
    own_forward=lambda b: setattr(b.linear1, 'forward', lambda x: F.linear(x, b.linear1.weight, b.linear1.bias)),
    own_eps=lambda b: setattr(b.layer_norm1, 'eps', 0.1),
    no_bias=lambda b: setattr(b, 'layer_norm1', torch.nn.LayerNorm(64, bias=False)),
    dropout=lambda b: (setattr(b.dropout, 'p', 0.1), b.dropout.train()),
    own_attention=lambda b: setattr(b, 'attention1', OwnAttention(64, 4)),
    own_scale=lambda b: setattr(b.attention1, 'scale', torch.nn.Identity()),
    parametrised=lambda b: torch.nn.utils.parametrizations.weight_norm(b.linear1),
)

@needs_kernel
@pytest.mark.parametrize('change', CHANGES)
def test_layers_that_are_not_as_made(change):
    block, z = model().layers[0], torch.randn(2, 7, 3, 64)
    with bf16():
        assert kernel.takes_half(z, block.half_layers('rows'))
        CHANGES[change](block)
        assert not kernel.takes_half(z, block.half_layers('rows'))

nn_module = torch.nn.modules.module
HOOKS = dict(forward=lambda m: m.register_forward_hook, forward_pre=lambda m: m.register_forward_pre_hook,
             backward=lambda m: m.register_full_backward_hook, backward_pre=lambda m: m.register_full_backward_pre_hook,
             any_forward=lambda m: nn_module.register_module_forward_hook, any_forward_pre=lambda m: nn_module.register_module_forward_pre_hook,
             any_backward=lambda m: nn_module.register_module_full_backward_hook, any_backward_pre=lambda m: nn_module.register_module_full_backward_pre_hook)

@pytest.mark.parametrize('kind', HOOKS)
def test_hooks_of_every_kind_are_found(monkeypatch, kind):
    "Those of one layer, and those of all modules; PyTorch keeps both in private dictionaries, so this fails if it should move them."
    monkeypatch.setattr(kernel, 'library', object)  # all but the library is asked
    block, z = model().layers[0], torch.randn(2, 7, 3, 64)
    assert kernel.takes_half(z, block.half_layers('rows'))
    handle = HOOKS[kind](block.linear1)(lambda *a: None)
    try: assert not kernel.takes_half(z, block.half_layers('rows'))
    finally: handle.remove()
    assert kernel.takes_half(z, block.half_layers('rows'))

def test_predictions_never_open_the_library(monkeypatch):
    "Neither in a prediction nor in a step that the kernel couldn't take anyway."
    def asked(): raise AssertionError('the library was asked for')
    monkeypatch.setattr(kernel, 'library', asked)
    m, args = model(), table(None)
    with torch.no_grad(): m(*args)
    m(*args)
    with bf16(), torch.no_grad(): m(*args)
    with bf16(), pytest.raises(AssertionError, match='asked for'): m(*args)

@needs_kernel
def test_gradients_repeat_with_threads():
    z, n = torch.randn(3, 60, 5, 64), torch.get_num_threads()
    w = [t.detach().requires_grad_() for t in kernel.half_weights(*model().layers[0].half_layers('rows'))]
    grads = lambda: torch.autograd.grad(kernel.half_block(z, w, 4, rows=True)[0].square().sum(), w)
    torch.set_num_threads(4)
    try: a, b = grads(), grads()
    finally: torch.set_num_threads(n)
    assert all(torch.equal(p, q) for p, q in zip(a, b))

@needs_kernel
def test_functional_gradients():
    "What torch.func wraps has no address, and is left to PyTorch."
    m, args = model(num_layers=1), table(None)
    weights = dict(m.named_parameters())
    def loss(weights):
        with bf16(): return torch.func.functional_call(m, weights, args).float().square().mean()
    ours, names = torch.func.grad(loss)(weights), list(weights)
    theirs = torch.autograd.grad(loss(weights), [weights[n] for n in names], allow_unused=True)
    ours, theirs = (torch.cat([g.flatten() for g, t in zip(gs, theirs) if t is not None]) for gs in ([ours[n] for n in names], theirs))
    assert (ours - theirs).norm() < 0.05 * theirs.norm()

def test_memory_that_runs_out_is_an_error(monkeypatch):
    class Full:
        instructions = 'avx512'
        def half_forward(self, half): return 1
    with pytest.raises(MemoryError, match='smaller episodes'):
        kernel.half_block(torch.randn(1, 4, 2, 64), kernel.half_weights(*model().layers[0].half_layers('rows')), 4, rows=True, lib=Full())

# ---- Building and loading ----

@pytest.mark.parametrize('word', ['off', 'OFF', '0', 'no'])
def test_off(monkeypatch, word):
    monkeypatch.setenv('TABTUNE_KERNEL', word)
    assert kernel.library.__wrapped__() is None

@needs_kernel
def test_a_lesser_processor(fresh):
    "The same file on a processor that lacks something: no kernel, or one without the matrix unit."
    code = 'import tabtune.model.kernel as k; print(k.library().instructions, *(getattr(k.open_library(lacks=(f,)), "instructions", None) for f in k.FEATURES))'
    done = fresh(code, TABTUNE_KERNEL='avx512')
    assert done.stdout.split() == ['avx512', *['None'] * 5, 'avx512', 'avx512'], done.stderr

def test_a_file_that_can_not_be_loaded(tmp_path, monkeypatch):
    "Missing, empty, or something else: PyTorch alone, and nothing is raised."
    for content in (None, b'', b'\x7fELF spoilt'):
        path = tmp_path/'_kernel.so'
        if content is not None: path.write_bytes(content)
        monkeypatch.setattr(kernel, '_library_path', lambda: path if content is not None else None)
        assert kernel.open_library() is None

def test_no_compiler_at_run_time(tmp_path, fresh):
    "A step of training starts no other program and writes no file."
    code = ('import sys, torch\nfrom tabtune import Mitra, MitraConfig\nm = Mitra(MitraConfig(dropout=0.))\nbad = []\n'
            'sys.addaudithook(lambda event, args: bad.append((event, args)) if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", '
            '"os.fork") or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")) else None)\n'
            'with torch.autocast("cpu", torch.bfloat16): m(torch.randn(1, 9, 3), torch.randint(2, (1, 9)), torch.randn(1, 4, 3)).sum().backward()\n'
            'print(len(bad), bad)')
    done = fresh(code, XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout.split()[:1] == ['0'] and not list(tmp_path.iterdir()), done.stdout + done.stderr

def compiled(tmp_path, *flags):
    "The C tests, compiled with such flags; skips where gcc can't."
    out = tmp_path/'kernel_driver'
    done = subprocess.run(['gcc', '-g', '-Wall', '-Wextra', *flags, '-I', CSRC, Path(__file__).with_name('kernel_driver.c'), '-o', out, '-pthread', '-lm'],
                          capture_output=True, text=True)
    if done.returncode and 'sanitize' in done.stderr + ''.join(flags) and ('cannot find' in done.stderr or 'No such file' in done.stderr or 'unrecognized' in done.stderr):
        pytest.skip('gcc has no sanitizers here: ' + done.stderr.splitlines()[-1])
    assert done.returncode == 0 and not done.stderr, done.stderr  # without a warning
    return out

@needs_gcc
@pytest.mark.parametrize('flags', [('-O3',), ('-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all')], ids=['plain', 'sanitizers'])
@pytest.mark.parametrize('tiles', [(), ('-DEMULATED_TILES',)], ids=['avx512', 'emulated-amx'])
def test_the_c_code_alone(tmp_path, flags, tiles):
    "Products, GELU and half a block against plain C, with memory that is watched; the matrix unit's code by tiles in software."
    done = subprocess.run([compiled(tmp_path, *flags, *tiles)], capture_output=True, text=True, env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=1'})
    if done.returncode == 77: pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

@needs_kernel
@needs_gcc
def test_two_opened_levels_do_not_influence_each_other(tmp_path):
    "One file, opened twice: a call uses the instructions of the object that it goes through, whatever was opened or called in between."
    path = compiled(tmp_path, '-O1', '-fPIC', '-shared', '-DEMULATED_TILES')
    avx512, amx = (ctypes.CDLL(str(path)) for _ in range(2))
    avx512.instructions, amx.instructions = 'avx512', 'amx'
    tiles, weights, z = ctypes.c_long.in_dll(amx, 'tile_products'), kernel.half_weights(*model().layers[0].half_layers('rows')), torch.randn(1, 20, 3, 64)
    def run(lib):
        "Result and gradient of half a block, and how often it used the tiles."
        before, x = tiles.value, z.clone().requires_grad_()
        y = kernel.half_block(x, weights, 4, rows=True, lib=lib)[0]
        return y.detach(), torch.autograd.grad(y.square().sum(), x)[0], tiles.value - before
    y, grad, used = run(amx)
    assert used > 0
    assert avx512.kernel_open(kernel.INSTRUCTIONS.index('avx512'), 0) == 1  # opens, as `open_library('avx512')` does
    assert run(avx512)[2] == 0
    y2, grad2, used2 = run(amx)
    assert used2 == used and torch.equal(y, y2) and torch.equal(grad, grad2)

@pytest.mark.parametrize('path', [*sorted(CSRC.glob('*.[ch]')), Path(__file__).with_name('kernel_driver.c')], ids=lambda p: p.name)
def test_layout_of_the_c_sources(path):
    "What `.clang-format` asks for, as far as it can be seen without clang-format."
    longest = 100 if path.parent == CSRC else 140
    bad = [f'{path.name}:{i}' for i, line in enumerate(path.read_text().split('\n'), 1) if '\t' in line or line != line.rstrip() or len(line) > longest]
    assert not bad

@needs_kernel
@pytest.mark.skipif(not shutil.which('objdump'), reason='no objdump')
def test_the_feature_check_uses_no_AVX():
    "`kernel_open` runs on any x86-64: no instruction with AVX registers, whatever the build machine has."
    text = subprocess.run(['objdump', '-d', '--no-show-raw-insn', kernel._library_path()], capture_output=True, text=True, check=True).stdout
    functions = {}
    for f in text.split('\n\n'):  # a compiler may split a function or specialise it: name.part.0, name.isra.0
        if '>:' in f: functions.setdefault(f.split('>:')[0].rsplit('<', 1)[-1].split('.')[0], []).extend(f.splitlines())
    longer = lambda line: '%ymm' in line or '%zmm' in line or line.partition('\t')[2].startswith('v')  # AVX's names begin with v
    lines = functions['kernel_open']
    assert len(lines) > 20 and not [*filter(longer, lines)]
    assert any('%zmm' in line for line in functions['product_avx512'])

@pytest.mark.parametrize('value, opened', [('off', None), (' OFF', None), ('none', None), ('false', None), ('avx512', 'avx512'), ('', 'amx'), ('nonsense', 'amx')],
                         ids=['off', 'blank and capitals', 'none', 'false', 'avx512', 'empty', 'unknown'])
def test_the_switch(monkeypatch, caplog, value, opened):
    monkeypatch.setenv('TABTUNE_KERNEL', value)
    monkeypatch.setattr(kernel, 'open_library', lambda most: most)
    assert kernel.library.__wrapped__() == opened
    assert ("TABTUNE_KERNEL='nonsense' is unknown" in caplog.text) == (value == 'nonsense')

def test_a_library_that_is_not_ours_is_left_alone(monkeypatch, caplog):
    import _ctypes
    monkeypatch.setattr(kernel, '_library_path', lambda: Path(_ctypes.__file__))
    assert kernel.open_library() is None and 'was built from other sources' in caplog.text
