"The registry of priors: every record is complete, one decorated function is enough for a new prior, and it changes nothing for the others."
import importlib.util, inspect, pkgutil
from dataclasses import replace

import pytest
import torch

import tabtune.training
from tabtune import MitraConfig, load_checkpoint
from tabtune.core.shapes import ConfigError, InputError
from tabtune.model.checkpoints import read_card
from tabtune.training.episodes import PriorEpisodes
from tabtune.training.loop import LoopSettings
from tabtune.training.pretrain import Pretraining, validation_loss, validation_set
from tabtune.training.priors import (PRIORS, TRAITS, Prior, RandomSource, default_mixture, register_prior, sample_tables, second_mixture,
                                     second_traits)

FIRST = ['causal', 'forest', 'additive', 'clusters']  # the priors of the bundled weights
BEFORE = default_mixture()  # what is registered today, without the toys of this file
TASKS = ['classification', 'regression']

def first_column(rng, n, f, c, c_B):
    "x (B, N, F) and class scores (B, N, C): the first column alone decides."
    x = rng.normal(len(c_B), n, f)
    return x, x[..., :1] * torch.arange(c, device=rng.device)

@pytest.fixture
def registry():
    "Whatever a test registers or changes is undone."
    before = dict(PRIORS)
    yield PRIORS
    PRIORS.clear(); PRIORS.update(before)

@pytest.fixture
def toy(registry):
    "A prior of our own: all that there is to write is the function and the line above it."
    return register_prior('the first column alone decides', weight=0.5)(first_column)

def same(a, b): return all(torch.equal(getattr(a, k).nan_to_num(), getattr(b, k).nan_to_num()) for k in ('x', 'y', 'n_classes', 'prior'))

def same_episode(a, b):
    keys = ('x_support', 'y_support', 'x_query', 'y_query')
    return all(torch.equal(getattr(a, k).nan_to_num(), getattr(b, k).nan_to_num()) for k in keys)

@pytest.mark.parametrize('name', PRIORS)
def test_a_record_is_complete(name):
    p = PRIORS[name]
    assert p.name == name == p.draw.__name__
    assert p.draw.__doc__, f'the function {name} has no docstring: one line that says what it draws'
    assert 10 < len(p.description) < 100 and '\n' not in p.description, f'the description of {name}, {p.description!r}, is no line of 10 to 100 characters'
    assert p.weight >= 0
    assert p.pinned == (name in FIRST)  # only the first four share a stream; a new prior has its own

def test_no_prior_or_trait_is_left_without_its_decorator():
    registered = {r.draw for r in PRIORS.values()} | {t.change for t in TRAITS.values()}
    modules = [importlib.import_module(f'tabtune.training.{m.name}') for m in pkgutil.iter_modules(tabtune.training.__path__)]
    functions = {f for m in modules for f in vars(m).values() if inspect.isfunction(f) and f.__module__ == m.__name__}
    like_a_record = {f for f in functions if [*inspect.signature(f).parameters] in (['rng', 'n', 'f', 'c', 'c_B'], ['rng', 'draft', 'chosen'])}
    assert like_a_record >= registered and [f'{f.__module__}.{f.__name__}' for f in like_a_record - registered] == []

@pytest.mark.parametrize('rows, columns, classes', [(50, 1, 2), (200, 7, 10), (12, 40, 3)], ids=['one column', 'ten classes', 'wide'])
@pytest.mark.parametrize('name', PRIORS)
def test_a_prior_draws_what_it_should(name, rows, columns, classes):
    n_classes = torch.tensor([2, classes, classes])
    x, score, *levels = PRIORS[name].draw(RandomSource(1), rows, columns, classes, n_classes)
    assert all(l.shape == (3, columns) and ((x.amax(1) < l) | (l == 0)).all() for l in levels)
    assert x.shape == (3, rows, columns) and score.shape == (3, rows, classes)
    assert x.isfinite().all() and score.isfinite().all()
    again = PRIORS[name].draw(RandomSource(1), rows, columns, classes, n_classes)
    assert torch.equal(x, again[0]) and torch.equal(score, again[1])
    one_hot = ((score == 0) | (score == 1)).all() and (score.sum(-1) == 1).all()
    assert one_hot == PRIORS[name].gives_labels
    if one_hot: assert (score.argmax(-1).amax(1) < n_classes).all()

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('name', PRIORS)
def test_tables_of_a_prior_alone(name, task):
    t = sample_tables(RandomSource(2), 20, 60, 5, mixture={name: 1}, task=task)
    assert t.prior.tolist() == [list(PRIORS).index(name)] * 20
    assert not t.x.isinf().any() and t.y.isfinite().all()
    assert t.y.is_floating_point() == (task == 'regression')

def test_the_dashboard_has_a_slider_for_each_prior(toy):
    from tabtune.dashboard import PriorView
    view = PriorView()
    assert list(view.weights) == list(PRIORS)
    for name, slider in view.weights.items(): assert (slider.value, slider.tooltip) == (PRIORS[name].weight, PRIORS[name].description)
    for name, slider in view.weights.items(): slider.value = float(name == 'first_column')
    assert {list(PRIORS)[i] for i in view.tables.prior.tolist()} == {'first_column'}

def test_a_new_prior_is_drawn_validated_and_on_the_card(toy, tmp_path):
    assert default_mixture() == BEFORE | dict(first_column=0.5)
    assert list(PRIORS).index('first_column') in sample_tables(RandomSource(0), 50, 40, 4).prior
    settings = LoopSettings(n_steps=1, warmup_steps=1, validate_every=1)
    run = Pretraining(MitraConfig(16, num_heads=2, num_layers=1), tmp_path/'run', settings, quiet=True, cells=1500)
    run.validation = [(name, ep[:1]) for name, ep in run.validation[:len(BEFORE) + 1]]
    run.run()
    card = read_card(tmp_path/'run')
    assert card['prior'] == default_mixture() and set(card['validation']['by_prior']) == {*BEFORE, 'first_column'}

def test_a_prior_that_only_a_mixture_names_is_validated_too(registry, tmp_path):
    register_prior('the first column alone decides')(first_column)
    settings, config = LoopSettings(n_steps=1), MitraConfig(16, num_heads=2, num_layers=1)
    names = lambda run: [name for name, _ in run.validation[:len(BEFORE) + 1]]
    assert names(Pretraining(config, tmp_path/'a', settings, quiet=True)) == [*BEFORE, 'causal']
    assert names(Pretraining(config, tmp_path/'b', settings, mixture=dict(first_column=1), quiet=True)) == [*BEFORE, 'first_column']

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('n_tables', [1, 2, 30])
def test_a_prior_without_weight_changes_no_table(registry, n_tables, task):
    mixtures = [None, dict(forest=1), dict(causal=0.5, clusters=0.5)]
    draw = lambda m: sample_tables(RandomSource(4), n_tables, 40, 5, mixture=m, task=task)
    before = [draw(m) for m in mixtures]
    register_prior('the first column alone decides')(first_column)
    for m, b in zip(mixtures, before):
        assert same(draw(m), b)
        assert m is None or same(draw(m | dict(first_column=0)), b)

def test_a_stream_goes_on_as_before_when_a_prior_without_weight_comes(registry):
    a, b = PriorEpisodes(3, cells=1500), PriorEpisodes(3, cells=1500)
    for _ in range(5):
        one = next(a)
        register_prior('the first column alone decides')(first_column)
        assert same_episode(one, next(b))

@pytest.mark.parametrize('each', [1, 2], ids=['one table each', 'two tables each'])
@pytest.mark.parametrize('task', TASKS)
def test_validation_tables_do_not_depend_on_the_registry(registry, task, each):
    tables = lambda **kw: validation_set(tables_each=each, task=task, **kw)
    of = lambda episodes, name: [ep for n, ep in episodes if n == name]
    before = tables()
    assert [n for n, _ in before] == 4 * [*BEFORE]
    register_prior('the first column alone decides', weight=0.5)(first_column)
    with_toy = tables()
    PRIORS['causal'] = replace(PRIORS['causal'], weight=0.01)  # another weight
    register_prior('the last column alone decides', weight=0.5)(later := lambda *a: first_column(*a))
    assert later.__name__ in PRIORS  # a second new prior
    for episodes in (with_toy, tables(), tables(priors=['clusters', 'first_column'])):
        for name in {n for n, _ in episodes} - {later.__name__}:
            wanted = of(with_toy if name == 'first_column' else before, name)
            assert len(of(episodes, name)) == len(wanted) == 4
            assert all(same_episode(a, b) for a, b in zip(of(episodes, name), wanted))

@pytest.mark.parametrize('name', ['small', 'medium-regression'])
def test_cards_of_the_bundled_weights_still_hold(toy, name):
    "The losses that a card quotes are measured again on validation tables of its own priors, with the 256 landmarks of pre-training."
    card, model = read_card(name), load_checkpoint(name).eval()
    model.experts.max_landmarks = 256
    losses = validation_loss(model, validation_set(task=card['task'], priors=card['prior']))
    assert losses.to_dict() == pytest.approx(card['validation']['by_prior'], abs=0.001)
    assert losses.mean() == pytest.approx(card['validation']['loss'], abs=0.001)

def test_a_new_prior_changes_no_mean_that_score_writes_into_a_card(toy, root, monkeypatch):
    spec = importlib.util.spec_from_file_location('score', root/'benchmarks'/'score.py')
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    monkeypatch.setattr(score, 'validation_set', lambda **kw: validation_set(tables_each=1, **kw))
    assert sorted(score.synthetic_tables('small').index) == sorted(read_card('small')['prior'])

@pytest.mark.parametrize('change, words', [
    (dict(description=' '), 'has no description'), (dict(weight=-0.1), 'weight=-0.1 must be 0 or more'), (dict(weight=float('inf')), 'must be 0 or more')],
    ids=['no description', 'negative weight', 'infinite weight'])
def test_an_incomplete_record_is_refused(change, words):
    with pytest.raises(ConfigError, match=words): Prior(**dict(name='toy', draw=first_column, description='one column') | change)

def test_a_decorator_without_a_description_is_refused():
    with pytest.raises(InputError, match=r"write @register_prior\('how the class comes about'\)"): register_prior(first_column)
    with pytest.raises(InputError, match="weight='much' of a Prior must be a number"): register_prior('one column', weight='much')(first_column)

@pytest.mark.parametrize('mixture, words', [
    (dict(forrest=1), "did you mean 'forest'"), (dict(forest=0), 'at least one above 0'), ({}, 'at least one above 0'),
    (dict(forest=-1, causal=1), 'weights must be 0 or more')], ids=['misspelt', 'all zero', 'empty', 'negative'])
def test_a_mixture_that_cannot_be_drawn_is_explained(mixture, words):
    with pytest.raises(ConfigError, match=words): sample_tables(RandomSource(0), 2, 20, 3, mixture=mixture)

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('name', TRAITS)
def test_a_trait_is_complete_and_leaves_other_tables_alone(name, task):
    t = TRAITS[name]
    assert t.name == name == t.change.__name__ and 0 < t.share <= 1
    assert t.change.__doc__, f'the function {name} has no docstring: one line that says what it changes'
    assert 10 < len(t.description) < 100, f'the description of {name}, {t.description!r}, is no line of 10 to 100 characters'
    draw = lambda share: sample_tables(RandomSource(3), 12, 60, 6, mixture=dict(additive=1), task=task, traits={name: share})
    all_, again = draw(1.0), draw(1.0)
    assert same(all_, again) and not all_.x.isinf().any() and all_.y.isfinite().all() and all_.x.shape == (12, 60, 6)
    only = dict(imbalance='classification', label_noise='classification', odd_targets='regression').get(name, task)  # others are for both
    if t.stage != 'keep': assert same(all_, draw(1e-9)) == (only != task)

def test_traits_switched_off_change_nothing():
    draw = lambda traits: sample_tables(RandomSource(3), 12, 60, 6, traits=traits)
    assert same(draw(dict(missing=0.5) | {n: 0 for n in TRAITS if n != 'missing'}), draw(dict(missing=0.5)))
    assert same(draw({}), draw(None))

@pytest.mark.parametrize('name, measure, least', [
    ('missing', lambda t: t.x.isnan().float().mean(), 0.02),
    ('imbalance', lambda t: (torch.nn.functional.one_hot(t.y, 10).float().mean(1).masked_fill(torch.arange(10) >= t.n_classes[:, None], 1).amin(1) < 0.05).float().mean(), 0.3),
    ('few_values', lambda t: (t.levels > 1).float().mean(), 0.1)], ids=['missing', 'imbalance', 'few values'])
def test_a_trait_is_seen_in_the_tables(name, measure, least):
    draw = lambda **kw: sample_tables(RandomSource(5), 100, 200, 6, mixture=dict(additive=1), **kw)
    assert measure(draw(traits={name: 1.0})) > least

def test_the_second_generation_streams_and_resumes():
    make = lambda seed: PriorEpisodes(seed, mixture=second_mixture(), traits=second_traits(), many_classes=0.5, cells=1500)
    a, b = make(3), make(4)
    for _ in range(5): next(a)
    b.load_state_dict(a.state_dict())
    for _ in range(5): assert same_episode(next(a), next(b))

def test_labels_of_queries_do_not_reach_the_columns():
    "What the levels of categories tell is learned from the support: other labels of the queries change no cell."
    from dataclasses import replace as changed
    from tabtune.training.episodes import split_encoded
    t = sample_tables(RandomSource(1), 8, 200, 5, mixture=dict(categories=1), traits=second_traits())
    y = t.y.clone()
    y[:, 150:] = (y[:, 150:] + 1) % t.n_classes[:, None]
    a, b = (split_encoded(RandomSource(2), changed(t, y=labels), 150) for labels in (t.y, y))
    assert torch.equal(a.x_query.nan_to_num(9), b.x_query.nan_to_num(9)) and torch.equal(a.x_support.nan_to_num(9), b.x_support.nan_to_num(9))
