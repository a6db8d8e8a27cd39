"The model and its checkpoints: reference logits, strict loading, old names, exactness where it is not taught in the notebooks."
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tabtune.core.config import MitraConfig, config_from_json
from tabtune.core.shapes import CheckpointError, InputError
from tabtune.model.checkpoints import RENAMED, bundled, load_checkpoint, read_config, save_checkpoint
from tabtune.model.experts import KERNEL_EXPERTS, KernelExperts, select_landmarks, solve
from tabtune.model.mitra import Mitra, neighbour_init

FIXTURES = ('public_layout_small', 'public_layout_regression')

@pytest.fixture(params=FIXTURES)
def fixture(request, root): return root/'tests/fixtures'/request.param

def logits(model, e):
    out = model(e['x_support'], e['y_support'], e['x_query'])
    return out.reshape(e['logits'].shape)

def test_public_layout_gives_the_reference_logits(fixture):
    expected = load_file(fixture/'expected.safetensors')
    with torch.no_grad(): out = logits(load_checkpoint(fixture), expected)
    assert expected['logits'].abs().max() > 1
    assert (out - expected['logits']).abs().max() < 1e-4

def test_public_layout_is_saved_and_loaded_unchanged(fixture, tmp_path):
    model = load_checkpoint(fixture)
    again = load_checkpoint(save_checkpoint(model, tmp_path/'copy'))
    for k, v in model.state_dict().items(): assert torch.equal(v, again.state_dict()[k]), k
    assert json.loads((tmp_path/'copy/config.json').read_text()).items() >= json.loads((fixture/'config.json').read_text()).items()

def broken(fixture, tmp_path, change):
    weights = load_file(fixture/'model.safetensors')
    change(weights)
    save_file(weights, tmp_path/'model.safetensors')
    (tmp_path/'config.json').write_text((fixture/'config.json').read_text())
    return tmp_path

@pytest.mark.parametrize('change, message', [
    pytest.param(lambda w: w.pop('layers.1.attention2.o.bias'), 'lacks 1 key.*layers.1.attention2.o.bias', id='missing key'),
    pytest.param(lambda w: w.update(extra=torch.zeros(2)), 'has unknown 1 key.*extra', id='unknown key'),
    pytest.param(lambda w: w.update({'y_embedding.y_mask.weight': torch.zeros(2, 32)}), r'y_mask.weight has shape \(2, 32\).*needs \(1, 32\)', id='wrong shape')])
def test_weights_that_do_not_fit_are_refused_by_name(fixture, tmp_path, change, message):
    with pytest.raises(CheckpointError, match=message): load_checkpoint(broken(fixture, tmp_path, change))

@pytest.mark.parametrize('text, message', [
    pytest.param('{"dim": 32}', 'lacks', id='missing keys'), pytest.param('{', 'can not be used', id='broken JSON'),
    pytest.param(None, 'no config.json', id='no file'),
    pytest.param('{"dim": 32, "dim_output": 10, "n_layers": 2, "n_heads": 4, "task": "CLASSIFICATION", "ordr": "x"}', "did you mean 'order'", id='misspelled key')])
def test_bad_config_json_is_refused(root, tmp_path, text, message):
    broken(root/'tests/fixtures'/FIXTURES[0], tmp_path, lambda w: None)
    (tmp_path/'config.json').unlink()
    if text: (tmp_path/'config.json').write_text(text)
    with pytest.raises(CheckpointError, match=message): load_checkpoint(tmp_path)

# names that changed

def old_names(d, old): return {old + k.removeprefix(RENAMED[old]) if k.split('.')[0] == RENAMED[old] else k: v for k, v in d.items()}

def as_written_before(model, old, folder):
    "A checkpoint of `model` under the `old` name, without a version of the format."
    save_checkpoint(model, folder)
    config = json.loads((folder/'config.json').read_text())
    del config['format_version']
    (folder/'config.json').write_text(json.dumps(old_names(config, old)))
    save_file(old_names(load_file(folder/'model.safetensors'), old), folder/'model.safetensors')
    return folder

@pytest.mark.parametrize('old', RENAMED)
@pytest.mark.parametrize('task', ['classification', 'regression'])
def test_a_checkpoint_written_under_an_old_name_loads(old, task, tmp_path):
    torch.manual_seed(0)
    model = Mitra(MitraConfig(d_model=32, num_layers=1, task=task)).eval()
    for p in model.experts.parameters(): torch.nn.init.normal_(p, std=0.1)
    folder = as_written_before(model, old, tmp_path/'before')
    config, weights = json.loads((folder/'config.json').read_text()), load_file(folder/'model.safetensors')
    names = {k.split('.')[0] for k in [*config, *weights]}
    assert old in names and RENAMED[old] not in names
    again = load_checkpoint(folder)
    assert again.config == model.config
    for k, v in model.state_dict().items(): assert torch.equal(v, again.state_dict()[k]), k

@pytest.mark.parametrize('name', bundled())
def test_bundled_weights_load_and_are_saved_under_current_names(name, tmp_path):
    source = bundled()[name]
    raw, config = load_file(source/'model.safetensors'), json.loads((source/'config.json').read_text())
    assert 'format_version' in config or 'hints' in config and any(k.startswith('hints.') for k in raw)
    model = load_checkpoint(name)
    assert model.config == read_config(source) and model.config.experts == 'kernel'
    for k, v in model.state_dict().items(): assert torch.equal(v, raw[k if k in raw else k.replace('experts.', 'hints.')].to(v.dtype)), k
    again = save_checkpoint(model, tmp_path/'copy')
    saved = [*json.loads((again/'config.json').read_text()), *load_file(again/'model.safetensors')]
    assert not {k.split('.')[0] for k in saved} & set(RENAMED)

def test_a_checkpoint_of_a_later_format_is_refused(tmp_path):
    save_checkpoint(Mitra(MitraConfig(d_model=32, num_layers=1)), tmp_path)
    config = json.loads((tmp_path/'config.json').read_text())
    (tmp_path/'config.json').write_text(json.dumps(config | dict(format_version=config['format_version'] + 1)))
    with pytest.raises(CheckpointError, match='format_version=3.*update tabtune'): load_checkpoint(tmp_path)

# kernel experts

def test_the_order_of_the_experts_is_that_of_the_bundled_weights():
    assert list(KERNEL_EXPERTS) == ['linear', 'additive', 'laplace', 'rbf']
    assert KernelExperts(MitraConfig()).gate.out_features == len(KERNEL_EXPERTS)

def cells(rows, columns=3, seed=0):
    "Value, rank and missing flag of each cell."
    v = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed))
    return torch.stack([v.asinh(), 2 * v.argsort(1).argsort(1) / rows - 1, torch.zeros_like(v)], -1)

@pytest.mark.parametrize('expert', KERNEL_EXPERTS.values(), ids=list(KERNEL_EXPERTS))
@pytest.mark.parametrize('rows, limit', [(40, 512), (90, 512), (90, 30)], ids=['few', 'dual', 'landmarks'])
def test_every_expert_predicts_what_its_kernel_says_and_knows_its_error(expert, rows, limit):
    support, query, w = cells(rows), cells(20, seed=1), torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    similar = expert.kernel(support, support, w)
    assert torch.allclose(similar, similar.transpose(1, 2), atol=1e-5)
    target = support[..., :1, 1] + 0.01 * support[..., 1:2, 0]
    real = torch.ones(2, rows)
    loo, marks, coef = solve(expert, support, target - target.mean(1, keepdim=True), real, w, select_landmarks(support, real, limit))
    predicted = expert.predict(query, w, *expert.store(marks, coef, w))
    assert predicted.shape == (2, 20, 1)
    assert torch.allclose(predicted, expert.kernel(query, marks, w) @ coef, atol=1e-3)
    assert (loo - target + target.mean(1, keepdim=True)).square().mean() < 0.5 * target.var()

# exactness

SIZES = [pytest.param(dict(d_model=32, num_layers=1), id='32 wide'),
         pytest.param(dict(d_model=256, d_ff=512, num_heads=8, num_layers=4), id='256 wide'),
         pytest.param(dict(d_model=48, num_heads=3, num_layers=3), id='48 wide'),
         pytest.param(dict(d_model=320, num_heads=2, num_layers=1, d_ff=64), id='320 wide'),
         pytest.param(dict(cell='value_rank', column='none', order='rows_first'), id='value_rank cells'),
         pytest.param(dict(head='linear', order='features_first', row_scale='none'), id='linear head'),
         pytest.param(dict(cell='quantile', head='retrieval', order='rows_first', experts='none'), id='retrieval head')]

@pytest.mark.parametrize('sizes', SIZES)
def test_any_size_and_variant_is_exact_under_padding_and_batching(no_kernel, sizes):
    torch.manual_seed(0)
    model = neighbour_init(Mitra(MitraConfig(dropout=0.0, **sizes))).eval()
    for p in model.experts.parameters(): torch.nn.init.normal_(p, std=0.1)  # they start at zero
    xs, ys, xq = torch.randn(2, 12, 4), torch.randint(4, (2, 12)), torch.randn(2, 5, 4)
    xs[0, 3, 1] = xq[1, 0, 2] = float('nan')
    with torch.no_grad():
        out = model(xs, ys, xq)
        pad = lambda x, r, c: torch.nn.functional.pad(x, (0, c, 0, r), value=9.)
        mask = lambda n, extra: (torch.arange(n + extra) < n).expand(2, -1)
        padded = model(pad(xs, 3, 2), torch.nn.functional.pad(ys, (0, 3), value=1), pad(xq, 1, 2), mask(12, 3), mask(5, 1), mask(4, 2))
        single = torch.cat([model(xs[i:i+1], ys[i:i+1], xq[i:i+1]) for i in range(2)])
    assert out.shape == (2, 5, 10) and out.isfinite().all() and out.std() > 0
    assert (padded[:, :5] - out).abs().max() < 1e-5
    assert (single - out).abs().max() < 1e-5

def test_ragged_batch_equals_its_tables():
    "Tables of different sizes in one padded batch."
    torch.manual_seed(1)
    model = neighbour_init(Mitra(MitraConfig(dropout=0.0))).eval()
    sizes = [(20, 7, 5), (9, 3, 2)]
    tables = [(torch.randn(1, s, f), torch.randint(3, (1, s)), torch.randn(1, q, f)) for s, q, f in sizes]
    xs, ys, xq = torch.full((2, 20, 5), 3.), torch.zeros(2, 20, dtype=torch.long), torch.full((2, 7, 5), -3.)
    for i, (a, b, c) in enumerate(tables):
        xs[i, :a.shape[1], :a.shape[2]], ys[i, :b.shape[1]], xq[i, :c.shape[1], :c.shape[2]] = a[0], b[0], c[0]
    mask = lambda n, k: torch.stack([torch.arange(n) < size[k] for size in sizes])
    with torch.no_grad():
        out = model(xs, ys, xq, mask(20, 0), mask(7, 1), mask(5, 2))
        for i, t in enumerate(tables): assert (out[i:i+1, :t[2].shape[1]] - model(*t)).abs().max() < 1e-5

def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = Mitra(MitraConfig(dropout=0.3))
    args = torch.randn(1, 9, 3), torch.randint(2, (1, 9)), torch.randn(1, 4, 3)
    with torch.no_grad():
        assert not torch.equal(model(*args), model(*args))
        assert torch.equal(model.eval()(*args), model(*args))

def test_shapes_that_do_not_agree_are_refused():
    model = Mitra(MitraConfig())
    with pytest.raises(InputError, match='must have 1 tables and 3 features'): model(torch.randn(1, 9, 3), torch.zeros(1, 9).long(), torch.randn(1, 4, 2))
    with pytest.raises(InputError, match='y_support has shape'): model(torch.randn(1, 9, 3), torch.zeros(1, 8).long(), torch.randn(1, 4, 3))

def test_public_config_means_the_public_layout():
    c = config_from_json(dict(dim=512, dim_output=10, n_layers=12, n_heads=4, task='CLASSIFICATION'))
    assert sum(p.numel() for p in Mitra(c).parameters()) * 4 / 1e6 == pytest.approx(303, abs=3)  # MB, the size of the public file
