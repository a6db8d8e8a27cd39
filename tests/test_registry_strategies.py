"Each tuning strategy is one record in one table: every record is complete, nothing else knows a strategy by its name, and a new record is enough."
import ast, copy

import numpy as np
import pandas as pd
import pytest
import torch

from tabtune import Mitra, MitraConfig, TabularLeaderboard, TabularPipeline, TuningConfig, recommend
from tabtune.core.config import TUNING_KEYS
from tabtune.core.shapes import ConfigError, InputError
from tabtune.training.recommend import RuleInputs
from tabtune.training.strategies import STRATEGIES, TuningStrategy, find_strategy, list_strategies, register_strategy

BEFORE = list(STRATEGIES)
TRAINING = [s.name for s in STRATEGIES.values() if s.trains]

def model(): return Mitra(MitraConfig(d_model=32, num_layers=1))

def trained(m): return {n for n, p in m.named_parameters() if p.requires_grad}

# every record

@pytest.mark.parametrize('name', STRATEGIES)
def test_a_record_is_complete(name):
    s = STRATEGIES[name]
    assert s.name == name and s.label
    assert s.help and len(s.help) < 100 and not s.help.endswith('.'), f'help={s.help!r} of {name} is no line of at most 100 characters, without a full stop'
    assert {*s.defaults, *s.settings, *s.rules} <= set(TUNING_KEYS)
    assert isinstance(s.config(), TuningConfig) and 0 < s.memory <= 1.5 and len(s.rates) == len(s.rate_reasons) == 2
    assert find_strategy(name) is s and all(find_strategy(alias) is s for alias in s.aliases)
    assert list_strategies().loc[name, 'meaning'] == s.help
    with pytest.raises(AttributeError): s.label = 'another'

@pytest.mark.parametrize('name', TRAINING)
def test_what_a_strategy_trains_and_what_comes_back(name):
    s, base = STRATEGIES[name], model()
    prepared = s.prepare(copy.deepcopy(base), s.config())
    assert trained(prepared), 'nothing would be trained'
    assert s.adapters == hasattr(prepared, 'peft_config')
    with s.training_context(prepared): pass
    plain = s.to_plain(prepared)
    assert type(plain) is Mitra and trained(plain) == {n for n, _ in base.named_parameters()}
    for (n, a), b in zip(plain.named_parameters(), base.parameters()): assert torch.allclose(a, b, atol=1e-6), n

@pytest.mark.parametrize('name', TRAINING)
def test_recommended_rates_and_rules(name):
    s = STRATEGIES[name]
    rates = [s.rate_for(d) for d in (32, 64, 128, 255, 256, 512)]
    assert rates == sorted(rates, reverse=True) and rates[0] == s.rates[0] and rates[-1] == s.rates[1]
    assert set(s.settings) <= set(s.rules), 'recommend says nothing of a parameter that only this strategy has'
    r = recommend(np.random.default_rng(0).normal(size=(200, 4)), np.arange(200) % 2, 'cpu', name)
    for key, rule in s.rules.items(): assert r.tuning_params[key] == rule(RuleInputs(200, 4, strategy=name), {})[0]
    assert s.config(r.tuning_params).learning_rate == r.tuning_params['learning_rate'] == s.rate_for(64)

def test_names_are_unique_and_parameters_exist():
    def record(name, **kw): return TuningStrategy(name, 'label', 'help', prepare=lambda model, config: model, **kw)
    for wrong, message in ((record('peft'), "already a tuning strategy called 'peft'"), (record('mine', aliases=('lora',)), "called 'lora'"),
                           (record('mine', defaults=dict(epoch=3)), "did you mean 'epochs'"), (record('mine', settings=('ranks',)), "key 'ranks'"),
                           (record('mine', rules=dict(lerning_rate=None)), "did you mean 'learning_rate'")):
        with pytest.raises(ConfigError, match=message): register_strategy(wrong)
    assert 'mine' not in STRATEGIES

@pytest.mark.parametrize('change, words', [
    pytest.param(dict(name=None), 'name=None of a TuningStrategy must be a text', id='no name'),
    pytest.param(dict(label=''), "label='' of a TuningStrategy must be a text that is not empty", id='no label'),
    pytest.param(dict(aliases='mine'), r"aliases='mine' .* such as \('a', 'b'\)", id='aliases in a text'),
    pytest.param(dict(prepare='lora'), "prepare='lora' of a TuningStrategy must be a function", id='prepare'),
    pytest.param(dict(defaults=dict(epochs=-3)), 'epochs=-3 must lie in 1', id='value of a default'),
    pytest.param(dict(defaults=['epochs']), 'defaults=.* must be a dict', id='defaults'),
    pytest.param(dict(rates=(1e-3,)), 'must be two: at width 64', id='one rate'),
    pytest.param(dict(rates=('fast', 'slow')), 'a tuple of which each is a number', id='rates in words'),
    pytest.param(dict(rules=dict(epochs=3)), r"rules\['epochs'\]=3 must be a function", id='rule')])
def test_a_record_that_can_not_be_used_is_refused(change, words):
    fields = dict(name='mine', label='label', help='help', prepare=lambda model, config: model) | change
    with pytest.raises((InputError, ConfigError), match=words): register_strategy(TuningStrategy(**fields))
    assert fields['name'] not in STRATEGIES

def test_what_is_no_record_is_refused():
    with pytest.raises(InputError, match='is no TuningStrategy'): register_strategy(dict(name='mine'))

# nobody else knows them

def other_constants(tree):
    "The constants that stand as a default of a parameter or of a field, or as a key of another dictionary."
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) != 'STRATEGIES': yield id(node.slice)
        if isinstance(node, (ast.FunctionDef, ast.Lambda)): yield from map(id, [*node.args.defaults, *node.args.kw_defaults])
        if isinstance(node, ast.AnnAssign): yield id(node.value)

def test_no_other_module_names_a_strategy(root):
    names, found = {n for s in STRATEGIES.values() for n in (s.name, *s.aliases)}, []
    for path in (root/'tabtune').rglob('*.py'):
        if path.name in ('strategies.py', '_modidx.py', 'worker.py'): continue  # the worker calls other packages in their words
        tree = ast.parse(path.read_text())
        allowed = set(other_constants(tree))
        found += [f'{path.name}:{n.lineno} {n.value!r}' for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in names and id(n) not in allowed]
    assert not found, 'read the record of the strategy instead (tabtune.training.strategies)'

# one record is enough

def only_head(model, config):
    model.requires_grad_(False)
    model.final_layer.requires_grad_(True)
    return model

@pytest.fixture
def toy_head():
    "A strategy that trains the head alone, for the time of a test."
    yield register_strategy(TuningStrategy(
        'toy-head', 'the head alone', 'only the last layer is trained', prepare=only_head, aliases=('toy',), defaults=dict(epochs=2),
        rates=(1e-2, 1e-4), memory=0.5, rules=dict(weight_decay=lambda inputs, settings: (0.0, 'the head is small'), patience=lambda inputs, settings: (2, 'it is quick'))))
    del STRATEGIES['toy-head']

def table(n=120):
    r = np.random.default_rng(0)
    X = pd.DataFrame(r.normal(size=(n, 4)), columns=list('abcd'))
    return X, (X.a + X.b ** 2 > 0.8).map({True: 'yes', False: 'no'}).rename('label')

QUICK = dict(device='cpu', steps_per_epoch=3, support_size=24, query_size=16, batch_size=2, show_progress=False, learning_rate=1e-2)

@pytest.mark.parametrize('name', ['toy-head', 'toy'])
def test_a_new_strategy_in_the_pipeline(toy_head, tmp_path, name):
    X, y = table()
    pipe = TabularPipeline(tuning_strategy=name, tuning_params=QUICK | dict(checkpoint_dir=str(tmp_path/'run')), model_params=dict(d_model=32, num_layers=1)).fit(X, y)
    report = pipe.describe()
    head = sum(p.numel() for p in pipe.model.final_layer.parameters())
    assert (report['trained'], report['steps']) == (head, 6) and pipe.tuning_report_['strategy'] == 'toy-head'
    plain = TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit(X, y).model.state_dict()
    moved = {n.split('.')[0] for n, w in torch.load(tmp_path/'run'/'state.pt', weights_only=True)['model'].items() if n in plain and not torch.equal(w, plain[n])}
    assert moved <= {'final_layer'}
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert np.array_equal(again.predict_proba(X), pipe.predict_proba(X)) and not hasattr(again, 'adapted_')

def test_a_new_strategy_in_recommend(toy_head):
    X, y = table(1000)
    r, usual = (recommend(X, y, 'cpu', strategy) for strategy in ('toy', 'base-ft'))
    assert (r.tuning_strategy, r.tuning_params['learning_rate'], r.tuning_params['weight_decay'], r.tuning_params['patience']) == ('toy-head', 1e-2, 0.0, 2)
    assert (r.frame().reason['learning_rate'], usual.frame().reason['learning_rate'][:9]) == ('the rate of this strategy', 'measured:')
    assert r.frame().reason['weight_decay'] == 'the head is small' and set(r.frame().index) == set(usual.frame().index)
    assert r.memory_gb < 0.6 * usual.memory_gb

def test_a_new_strategy_in_the_builder(toy_head):
    from tabtune.dashboard import PipelineBuilder
    X, y = table()
    form = PipelineBuilder(X.assign(label=y), name='df')
    assert ('toy-head: the head alone', 'toy-head') in form.strategy.options
    form.set(strategy='toy-head')
    assert [box.layout.display for box in (form.tuning_box, form.lora_box)] == [None, 'none']
    assert form.state()['arguments']['tuning_strategy'] == 'toy-head' and "tuning_strategy='toy-head'" in form.code()
    assert form.state()['estimate']['steps'] > 0
    form.apply_recommendation()
    assert form.state()['arguments'] == dict(tuning_strategy='toy-head')  # what is recommended need not be said
    form.set(learning_rate=1e-3)
    assert form.state()['arguments']['tuning_params'] == dict(learning_rate=1e-3)

def test_a_new_strategy_in_the_leaderboard(toy_head):
    X, y = table()
    board = TabularLeaderboard(X[:80], X[80:], y[:80], y[80:], show_progress=False)
    for strategy in ('inference', 'toy-head'): board.add_model('Mitra', strategy, tuning_params={} if strategy == 'inference' else QUICK)
    results = board.run()
    rows = results.set_index('name')
    assert rows.loc['Mitra (toy-head)', ['strategy', 'status']].tolist() == ['toy-head', 'ok']
    assert rows.trainable_parameters['Mitra (toy-head)'] < 0.5 * rows.parameters['Mitra (toy-head)']
    board.add_model('LogisticRegression', 'toy-head')
    assert board.plan().status.tolist()[-1] == 'error'

def test_it_is_gone_afterwards():
    assert list(STRATEGIES) == BEFORE
    with pytest.raises(ConfigError, match="tuning_strategy='toy-head' is unknown"): TabularPipeline(tuning_strategy='toy-head').fit(*table())
