"Tuning through the front door, and what happens when it is interrupted, killed, or shared between processes."
import copy, dataclasses, os, pickle, signal, subprocess, sys, threading, time

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from tabtune import TabularPipeline
from tabtune import TuningConfig
from tabtune.training import comparison, tuning
from tabtune.core.config import TUNING_KEYS, LoraSettings, MitraConfig, tuning_config
from tabtune.model.checkpoints import save_checkpoint
from tabtune.model.ensembles import AdapterEnsemble
from tabtune.model.mitra import Mitra, neighbour_init
from tabtune.core.shapes import CheckpointError, ConfigError, InputError
from tabtune.training.loop import Callback
from tabtune.training.strategies import find_strategy
from tabtune.training.comparison import compare
from tabtune.training.tuning import Tuning, tune

QUICK = dict(device='cpu', epochs=2, steps_per_epoch=4, support_size=24, query_size=16, batch_size=2, learning_rate=1e-3, show_progress=False)
ONCE = QUICK | dict(keep='tuned')  # without the repeats that find out which model is better
SMALL = dict(use_synthetic_prior=False, d_model=32, num_layers=1)

def rings(n, seed=0):
    "Two classes that no single column tells apart."
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 5)).astype(np.float32)
    return x, (np.sin(3 * x[:, 0]) + np.sin(3 * x[:, 1]) > 0).astype(np.int64)

def tiny_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return neighbour_init(Mitra(MitraConfig(d_model=32, num_layers=1, dropout=0.0)))

def pipeline(**kw):
    kw = dict(tuning_strategy='base-ft', tuning_params=QUICK, model_params=SMALL) | kw
    return TabularPipeline(**kw)

@pytest.fixture(scope='module')
def tuned():
    X, _ = rings(300)
    return pipeline(tuning_params=QUICK | dict(epochs=12, learning_rate=3e-3), model_params=SMALL | dict(dropout=0.0)).fit(X, X[:, 0] + X[:, 1] > 0)

# through the front door

def test_a_random_start_learns_and_says_so(tuned):
    report = tuned.describe()
    assert report['kept'] == 'tuned' and report['gain'] > report['gain_error'] > 0
    assert report['trained'] == report['parameters'] == sum(p.numel() for p in tuned.model.parameters())
    assert 4 <= tuned.history_.step.max() == report['steps'] and {'loss', 'val_loss', 'lr', 'grad_norm', 'rss_mib', 'cells_per_s'} <= set(tuned.history_)
    assert tuned.plot_history().get_title() == 'kept: tuned'

def test_kept_untuned_predicts_as_inference():
    X, y = rings(200)
    y = np.random.default_rng(1).permutation(y)  # nothing to learn
    with pytest.warns(UserWarning, match='random weights'): plain = pipeline(tuning_strategy='inference').fit(X, y)
    pipe = pipeline(tuning_params=QUICK | dict(optimizer='sgd', learning_rate=1.0, max_grad_norm=1e6)).fit(X, y)
    assert pipe.describe()['kept'] == 'untuned'
    assert np.array_equal(pipe.predict_proba(X), plain.predict_proba(X))

@pytest.mark.parametrize('way', ['pickle', 'deepcopy', 'joblib', 'save', 'save_joblib'])
def test_a_tuned_pipeline_travels(tuned, tmp_path, way):
    X, _ = rings(20, 1)
    def joblibbed(p): joblib.dump(p, tmp_path/'p'); return joblib.load(tmp_path/'p')
    ways = dict(pickle=lambda p: pickle.loads(pickle.dumps(p)), deepcopy=copy.deepcopy, joblib=joblibbed,
                save=lambda p: TabularPipeline.load(p.save(tmp_path/'p.tabtune')), save_joblib=lambda p: TabularPipeline.load(p.save(tmp_path/'p.joblib')))
    again = ways[way](tuned)
    assert np.array_equal(again.predict_proba(X), tuned.predict_proba(X))
    assert again.describe() == tuned.describe() and again.history_.loss.dropna().tolist() == tuned.history_.loss.dropna().tolist()
    assert clone(again).get_params() == tuned.get_params() and not hasattr(clone(again), 'history_')

def test_same_seed_same_weights_and_the_users_generators_untouched():
    X, y = rings(150)
    np.random.seed(3); torch.manual_seed(3)
    a = pipeline(tuning_params=ONCE).fit(X, y)
    drawn = np.random.rand(), torch.rand(1).item()
    np.random.seed(3); torch.manual_seed(3)
    assert drawn == (np.random.rand(), torch.rand(1).item())
    b, c = (pipeline(tuning_params=ONCE, model_params=SMALL | seed).fit(X, y) for seed in ({}, dict(seed=1)))
    assert a.history_.loss.dropna().tolist() == b.history_.loss.dropna().tolist() != c.history_.loss.dropna().tolist()

def test_finetune_mode_in_either_place():
    X, y = rings(150)
    assert pipeline(finetune_mode='sft', tuning_params=ONCE).fit(X, y).describe()['finetune_mode'] == 'sft'
    assert pipeline(tuning_params=ONCE | dict(finetune_mode='sft')).fit(X, y).describe()['finetune_mode'] == 'sft'

def test_refitting_forgets_the_training():
    X, y = rings(150)
    pipe = pipeline(tuning_params=ONCE).fit(X, y)
    pipe.set_params(tuning_strategy='inference', model_params=None).fit(X, y)
    assert not hasattr(pipe, 'history_') and pipe.describe()['trained'] == 0

@pytest.mark.parametrize('params, message', [
    pytest.param({'learning_rat': 1e-4}, "did you mean 'learning_rate'", id='misspelled learning_rate'),
    pytest.param({'epochs': 0}, r'epochs=0 must lie in 1\.\.', id='epochs=0'),
    pytest.param({'optimizer': 'adamv'}, "did you mean 'adam", id='misspelled optimizer'),
    pytest.param({'batch_size': 2.5}, 'must be an integer', id='batch_size=2.5'),
    pytest.param({'weight_decay': -1}, 'weight_decay=-1 must lie in', id='weight_decay=-1'),
    pytest.param({'warmup_steps': -1}, 'warmup_steps=-1', id='warmup_steps=-1'),
    pytest.param({'mixed_precision': 'fp8'}, "mixed_precision='fp8'", id='mixed_precision=fp8'),
    pytest.param({'peft_config': {'rank': 3}}, "peft_config key 'rank'", id='misspelled peft_config key'),
    pytest.param({'peft_config': {'r': 0}}, 'r=0 must lie', id='r=0'),
    pytest.param({'resume': True}, 'needs checkpoint_dir', id='resume alone'),
    pytest.param('automatic', 'must be a dict', id='string for a dict'),
    pytest.param({'callbacks': 3}, 'must be a list', id='callbacks=3')])
@pytest.mark.parametrize('strategy', ['inference', 'base-ft'])
def test_wrong_settings_are_named_before_any_work(params, message, strategy):
    with pytest.raises(ConfigError, match=message): pipeline(tuning_strategy=strategy, tuning_params=params).fit(*rings(20))

# name: default, values that are good, values that are not
SETTINGS = dict(
    device=('auto', ['cpu', 'cuda', 'cuda:0', 'mps'], ['gpu', 'CUDA', 0]), epochs=(None, [1, 10_000, np.int64(5), None], [0, -1, 10_001, 1.5, '3', True]),
    learning_rate=(None, [1e-8, 1, 1.0, np.float32(1e-3), None], [0, -1e-5, 1.1, '1e-5', float('nan')]), optimizer=('adamw', ['adam', 'sgd'], ['AdamW', 'rmsprop', None]),
    weight_decay=(None, [0, 1.0], [-0.1, 1.5, 'none']), support_size=(None, [1, 100_000], [0, 100_001, 12.5]), query_size=(None, [1, 100_000], [0, 100_001, 12.5]),
    n_episodes=(None, [1, 10_000_000, None], [0, 1e3]), steps_per_epoch=(None, [1, 1_000_000], [0, 2.5]), batch_size=(None, [1, 8, 1024], [0, 1025, 2.5]),
    gradient_accumulation_steps=(None, [1, 1024], [0, 1025]), warmup_steps=(None, [0, 10, None], [-1, 0.1]), max_grad_norm=(1.0, [1e-6, 5], [0, -1, None]),
    early_stopping=(True, [False], [1, 'yes', None]), patience=(4, [1, 10_000], [0, 1.5]), mixed_precision=('auto', ['bf16', 'no'], ['fp8', 'fp16', ['bf16']]),
    show_progress=(True, [False], ['no', 0]), callbacks=([], [[Callback()], (Callback(),)], [3, None, [print], [Callback]]),
    n_folds=(1, [1, 8, 32], [0, 33, 2.5, None, True]), keep=('better', ['tuned', 'last'], ['best', 'untuned', True, None]), checkpoint_dir=(None, ['run', __file__], [3, ['run']]), resume=(False, [], ['yes', 1]), finetune_mode=('meta-learning', ['sft'], ['SFT', 'lora', None]),
    peft_config=(None, [{}, None, dict(r=4)], [4, ['q'], dict(rank=4), dict(r=0), dict(r=257), dict(r=1.5), dict(lora_alpha=0), dict(lora_alpha='16'),
                                                         dict(lora_dropout=-0.1), dict(lora_dropout=1), dict(target_modules=[]), dict(target_modules=3), dict(target_modules=['q', 3])]))

def test_every_setting_of_tuning_has_its_default_its_range_and_its_errors():
    assert set(SETTINGS) == set(TUNING_KEYS)
    for name, (default, good, bad) in SETTINGS.items():
        assert getattr(tuning_config(), name) == default, name
        for value in good: tuning_config({name: value})
        for value in bad:
            with pytest.raises(ConfigError) as e: tuning_config({name: value}); pytest.fail(f'{name}={value!r} was taken')
            wrong = list(value)[0] if isinstance(value, dict) else name
            assert wrong in str(e.value), (name, value, str(e.value))
        for typo in (name[:-1], name.upper(), name.replace('_', '')):
            if typo == name: continue
            with pytest.raises(ConfigError, match=f"unknown tuning_params key '{typo}'"): tuning_config({typo: default})

def test_defaults_of_adapters_and_names_with_the_same_meaning():
    assert vars(LoraSettings()) == dict(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=None)
    assert [find_strategy(s).config().learning_rate for s in ('inference', 'base-ft', 'finetune', 'peft', 'lora')] == [None] * 5  # measured, by size
    assert find_strategy('peft').config(dict(learning_rate=1e-5)).learning_rate == 1e-5
    for given, meant in {True: 'bf16', False: 'no', 'fp32': 'no', 'none': 'no', 'bfloat16': 'bf16', 'auto': 'auto'}.items():
        assert tuning_config(dict(mixed_precision=given)).mixed_precision == meant
    for given in ('meta_learning', 'episodic'): assert tuning_config(dict(finetune_mode=given)).finetune_mode == 'meta-learning'

# what is left open, and what is odd

LITTLE = dict(epochs=1, steps_per_epoch=1, support_size=16, query_size=8, batch_size=1, show_progress=False)

def settled(params, n=1200, model=None, strategy='base-ft'):
    "The settings of a run on a table of n rows."
    return Tuning(model or tiny_model(), *rings(n), params, strategy).config

@pytest.mark.parametrize('params', [None, {}, 'auto', TuningConfig(), dict(epochs=None, learning_rate=None, n_episodes=None)], ids=['None', 'empty', 'auto', 'config', 'all None'])
@pytest.mark.parametrize('strategy', ['base-ft', 'peft'])
def test_there_is_one_set_of_defaults(params, strategy):
    r = Tuning(tiny_model(), *rings(1200), 'auto', strategy).recommendation.tuning_params
    c = settled(params, strategy=strategy)
    assert {k: getattr(c, k) for k in ('epochs', 'steps_per_epoch', 'batch_size', 'support_size', 'query_size', 'learning_rate', 'weight_decay', 'patience')} == \
        {k: r[k] for k in ('epochs', 'steps_per_epoch', 'batch_size', 'support_size', 'query_size', 'learning_rate', 'weight_decay', 'patience')}
    assert tuning.loop_settings(c).n_steps == r['epochs'] * r['steps_per_epoch']

@pytest.mark.parametrize('given, whole', [
    pytest.param(dict(r=4), dict(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=['q', 'k', 'v', 'o']), id='rank'),
    pytest.param(dict(lora_alpha=5, target_modules=None), dict(r=2, lora_alpha=5, lora_dropout=0.0, target_modules=None), id='alpha and targets')])
def test_what_is_left_open_of_adapters_is_as_recommended(given, whole):
    assert vars(settled(dict(peft_config=given), strategy='peft').peft_config) == whole

def test_a_small_table_is_given_up_early():
    small, large = settled(None, n=300), settled(None, n=1200)
    assert small.patience == 2 < large.patience and settled(dict(patience=6), n=300).patience == 6
    assert settled(None, n=300).batch_size > Tuning(tiny_model(), np.zeros((300, 200), np.float32), np.arange(300) % 2, None, 'base-ft').config.batch_size

def test_the_rate_left_open_is_the_one_for_the_size_of_the_model_and_a_number_is_obeyed():
    wide = Mitra(MitraConfig(d_model=128, num_layers=1))
    assert settled({}, model=wide).learning_rate == find_strategy('base-ft').rate_for(128) < settled({}).learning_rate == find_strategy('base-ft').rate_for(32)
    assert settled(dict(learning_rate=1e-5)).learning_rate == 1e-5

@pytest.mark.parametrize('params, steps', [
    pytest.param(dict(epochs=5), 50, id='five epochs'), pytest.param(dict(epochs=5, n_episodes=None), 50, id='five epochs, n_episodes=None'),
    pytest.param(dict(epochs=5, n_episodes=30, batch_size=1, gradient_accumulation_steps=1), 30, id='cut by n_episodes'),
    pytest.param(dict(n_episodes=30, batch_size=1, gradient_accumulation_steps=1), 30, id='n_episodes alone'),
    pytest.param(dict(epochs=3, steps_per_epoch=7, batch_size=4), 21, id='batches do not shorten epochs')])
def test_how_long_a_run_is(params, steps): assert tuning.loop_settings(settled(params)).n_steps == steps

ODD = [pytest.param(dict(epochs=5, n_episodes=500, steps_per_epoch=50, batch_size=4, gradient_accumulation_steps=1), 'n_episodes=500 ends training after 2.5 of 5 epochs', id='n_episodes'),
       pytest.param(dict(warmup_steps=1000), 'warmup_steps=1000 is more than the', id='warmup_steps'),
       pytest.param(dict(max_grad_norm=1e6), 'max_grad_norm=1e+06 clips nothing', id='max_grad_norm'),
       pytest.param(dict(support_size=900), 'support_size=900 and query_size=', id='more rows than there are'),
       pytest.param(dict(early_stopping=False, patience=3), 'patience=3 unused', id='patience'),
       pytest.param(dict(batch_size=9), 'batch_size=9 is large for 2D attention; if memory runs out, prefer gradient_accumulation_steps', id='batch_size')]

@pytest.mark.parametrize('params, message', ODD)
def test_what_is_odd_is_said_once_before_the_start(params, message, caplog):
    settled(params)
    assert [r.getMessage()[:len(message)] for r in caplog.records if r.levelname == 'WARNING'] == [message]

@pytest.mark.parametrize('params', [None, dict(epochs=5), dict(n_episodes=500), dict(batch_size=8), dict(epochs=2, n_episodes=10 ** 6), dict(warmup_steps=20), dict(max_grad_norm=5.0)], ids=str)
def test_no_false_alarm(params, caplog):
    settled(params)
    assert [r.getMessage() for r in caplog.records if r.levelname == 'WARNING'] == []

@pytest.mark.parametrize('strategy, params, unused', [
    pytest.param('inference', dict(epochs=3, device='cpu'), "'epochs' unused, since tuning_strategy='inference' trains nothing", id='epochs of inference'),
    pytest.param('inference', 'auto', "'auto' unused", id='auto of inference'),
    pytest.param('inference', TuningConfig(epochs=3), "tuning_params: 'epochs' unused", id='a config of inference'),
    pytest.param('base-ft', LITTLE | dict(peft_config=dict(r=4)), "'peft_config' unused, since tuning_strategy='base-ft' has no use for it", id='peft_config of base-ft'),
    pytest.param('inference', dict(device='cpu'), None, id='device of inference'), pytest.param('inference', None, None, id='nothing'),
    pytest.param('peft', LITTLE | dict(peft_config=dict(r=4)), None, id='peft_config of peft')])
def test_what_is_not_used_is_said_to_be_unused(strategy, params, unused, caplog):
    pipeline(tuning_strategy=strategy, tuning_params=params, model_params=dict(d_model=32, num_layers=1)).fit(*rings(60))
    said = [r.getMessage() for r in caplog.records if 'unused' in r.getMessage()]
    assert len(said) == (unused is not None) and (unused is None or unused in said[0])

@pytest.mark.parametrize('value, message', [(0.9, r'dropout=0\.9 must lie in 0\.0\.\.0\.3'), (1.5, r'dropout=1\.5 must lie in 0\.0\.\.0\.3'), ('much', 'dropout')])
@pytest.mark.filterwarnings("ignore:'dropout' belongs in model_params")
def test_dropout_among_the_tuning_parameters_is_checked(value, message):
    with pytest.raises(ConfigError, match=message): pipeline(tuning_params=LITTLE | dict(dropout=value)).fit(*rings(60))
    pipeline(tuning_params=LITTLE | dict(dropout=None), model_params=dict(d_model=32, num_layers=1)).fit(*rings(60))

@pytest.mark.parametrize('mode', ['meta_learning', 'episodic', 'meta-learning', 'sft'])
def test_names_of_the_mode_in_the_constructor(mode):
    pipe = pipeline(finetune_mode=mode, tuning_params=LITTLE, model_params=dict(d_model=32, num_layers=1)).fit(*rings(60))
    assert pipe.describe()['finetune_mode'] == ('sft' if mode == 'sft' else 'meta-learning')

# what it says at the end

def kept(monkeypatch, params, *gains):
    "The result of a run whose comparisons end with these gains."
    gains_of_repeats(monkeypatch, *gains)
    return tune(tiny_model(), *rings(150), QUICK | dict(epochs=1, steps_per_epoch=2) | params)

def test_a_gain_is_printed_or_logged(monkeypatch, capsys, caplog):
    caplog.set_level('INFO', 'tabtune')
    line = 'kept: tuned (held-out log loss 1.000 → 0.900, better in 5 of 5 folds)'
    assert kept(monkeypatch, {}, *[0.1] * 5).report['verdict'] == line and line in caplog.messages and line not in capsys.readouterr().out
    kept(monkeypatch, dict(show_progress=True), *[0.1] * 5)
    assert capsys.readouterr().out.splitlines()[-1] == line

@pytest.mark.parametrize('progress', [True, False])
def test_no_gain_is_a_warning_with_advice(monkeypatch, caplog, progress):
    report = kept(monkeypatch, dict(show_progress=progress, learning_rate=1e-5), -0.1).report
    assert report['verdict'] == ('kept: untuned; tuning did not help (held-out log loss 1.000 → 1.100, on 20 rows). '
                                 'Try learning_rate=0.002, measured for models of this size, instead of 1e-05')
    assert [r.getMessage() for r in caplog.records if r.levelname == 'WARNING'] == [report['verdict']]

@pytest.mark.parametrize('keep, gain, model, better', [('better', -0.1, 'untuned', False), ('tuned', -0.1, 'tuned', False), ('last', -0.1, 'tuned', False), ('better', 1e-5, 'untuned', False)])
def test_keep(monkeypatch, caplog, keep, gain, model, better):
    result = kept(monkeypatch, dict(keep=keep), gain)
    assert [r.getMessage() for r in caplog.records if r.levelname == 'WARNING'] == [result.report['verdict']]  # nothing was gained, whatever was asked for
    assert (result.report['kept'], result.report['better'], result.report['repeats'], result.not_kept is None) == (model, better, 1, model == 'tuned')
    assert keep == 'better' or result.report['verdict'].startswith(f"kept: tuned, as keep='{keep}' asks (held-out log loss")

def test_keep_last_has_the_weights_of_the_last_step():
    x, y = rings(150)
    class Last(Callback):
        def on_step(self, state): self.weights = {n: w.detach().clone() for n, w in run.tuned.named_parameters()}
    last = Last()
    run = Tuning(tiny_model(), x, y, QUICK | dict(keep='last', learning_rate=1e-2), 'base-ft', 0.0, 0, [last])
    result = run.run()
    assert result.report['best_step'] == result.report['steps'] == 8
    for n, w in result.model.named_parameters(): assert torch.equal(w, last.weights[n]), n

@pytest.mark.parametrize('strategy', ['base-ft', 'peft'])
def test_tuned_weights_that_were_not_kept_can_be_had(strategy):
    X, y = rings(150)
    pipe = pipeline(tuning_strategy=strategy, tuning_params=QUICK | dict(learning_rate=1e-2), model_params=dict(d_model=32, num_layers=1)).fit(X, np.random.default_rng(0).permutation(y))
    if pipe.describe()['kept'] == 'tuned': pytest.skip('tuning helped')
    assert type(pipe.tuned_model_) is Mitra and pipe.tuned_model_ is not pipe.model
    assert not hasattr(TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit(X, y), 'tuned_model_')

@pytest.mark.parametrize('keep, best', [('better', 0), ('tuned', 4)])
def test_tuned_weights_are_those_of_a_step_also_where_no_step_was_better(keep, best):
    x, y = rings(150)
    run = Tuning(tiny_model(), x, y, QUICK | dict(keep=keep, epochs=1, steps_per_epoch=4, optimizer='sgd', learning_rate=1.0, max_grad_norm=50.0), 'base-ft', 0.0)
    result = run.run()
    tuned = result.model if keep == 'tuned' else result.not_kept
    assert (run.best.improved, run.best.step, result.report['best_step']) == (False, 4, best)
    assert not all(torch.equal(a, b) for a, b in zip(tuned.parameters(), run.untuned.parameters()))
    assert ('no step made' in result.report['verdict']) == (keep == 'better')

@pytest.mark.parametrize('keep', ['tuned', 'last'])
def test_weights_that_are_asked_for_are_those_of_the_run_also_where_only_the_comparison_is_better(keep, monkeypatch):
    monkeypatch.setattr(tuning, 'compare_repeats', lambda *args: comparison.compare_repeats(*args) | dict(kept='tuned'))
    x, y = rings(150)
    run = Tuning(tiny_model(), x, y, QUICK | dict(keep=keep, epochs=1, steps_per_epoch=4, optimizer='sgd', learning_rate=1.0, max_grad_norm=50.0), 'base-ft', 0.0)
    result = run.run()
    assert not run.best.improved and not all(torch.equal(a, b) for a, b in zip(result.model.parameters(), run.untuned.parameters()))

def test_seconds_are_the_whole_wait_and_its_parts(monkeypatch):
    task = tuning.TUNING_TASKS['classification']
    slow = dataclasses.replace(task, scores=lambda *args: (time.sleep(0.1), task.scores(*args))[1])
    monkeypatch.setitem(tuning.TUNING_TASKS, 'classification', slow)
    for name in ('_tune', 'use_model'):  # at the end of reading, at the begin of calibration
        monkeypatch.setattr(TabularPipeline, name, lambda self, *args, f=getattr(TabularPipeline, name), **kw: (time.sleep(0.2), f(self, *args, **kw))[1])
    start = time.perf_counter()
    report = pipeline(tuning_params=QUICK).fit(*rings(150)).describe()
    wait = time.perf_counter() - start
    parts = {k: report[f'seconds_{k}'] for k in ('reading', 'preparation', 'training', 'validation', 'comparison', 'calibration', 'other')}
    assert abs(sum(parts.values()) - report['seconds']) < 0.06 and report['seconds'] <= wait + 0.02
    for part, least in dict(reading=0.2, validation=0.3, calibration=0.2).items(): assert parts[part] >= least, parts

def test_early_stopping_reports_itself_only_when_it_stopped_early():
    x, y = rings(150)
    wrong = ONCE | dict(optimizer='sgd', learning_rate=1.0, max_grad_norm=50.0, steps_per_epoch=1)
    ends = [tune(tiny_model(), x, y, wrong | dict(epochs=e, patience=2)).report for e in (2, 9)]
    assert [r['ended'] for r in ends] == ['complete', 'early stopping'] and ends[1]['steps'] < 9

@pytest.mark.parametrize('head, classes', [pytest.param('retrieval', {26}, id='retrieval'), pytest.param('linear', {8, 9, 10}, id='linear')])
def test_an_episode_has_all_classes_where_the_head_tells_them_apart(head, classes):
    r = np.random.default_rng(0)
    y, x = np.arange(520) % 26, r.normal(size=(520, 3)).astype(np.float32)
    x[:, 0] += y
    model = Mitra(MitraConfig(d_model=32, num_layers=1, dropout=0.0, head=head)).eval()
    run = Tuning(model, x, y, QUICK | dict(support_size=60, epochs=1), 'base-ft')
    run.train()
    episodes = [next(run.trainer.episodes), *run.val, *run.test]
    assert {int(k) for ep in episodes for k in ep.n_classes} <= classes, [ep.n_classes.tolist() for ep in episodes]
    before, after = run._test_scores()
    assert len(after.losses) == len(run.test_rows) and np.isfinite(after.losses).all()

@pytest.mark.parametrize('labels', ['one class', 'one row', 'one row of a class', 'all different', 'a dozen rows', 'fifteen classes'])
def test_odd_tables_end_well(labels):
    X, y = rings(90)
    y = {'one class': np.zeros(90, int), 'one row': y[:1], 'one row of a class': np.r_[y[:-1], 7], 'all different': np.arange(9),
         'a dozen rows': y[:12], 'fifteen classes': np.arange(90) % 15}[labels].astype(str)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        pipe = pipeline().fit(X[:len(y)], y)
    assert set(pipe.predict(X[:5])) <= set(y)
    enough = labels in ('one row of a class', 'fifteen classes')
    assert (len(pipe.history_) > 0) == enough
    assert pipe.describe()['ended'] == ('complete' if enough else 'too few rows')
    assert pipe.describe()['verdict'].startswith('kept: ') and pipe.describe()['seconds'] > 0

def test_wide_table_with_holes():
    r = np.random.default_rng(0)
    X = r.normal(size=(80, 150)); X[r.random(X.shape) < 0.2] = np.nan; X[:, 3] = np.nan
    pipe = pipeline(tuning_params=ONCE).fit(X, X[:, 0] > 0)
    assert np.isfinite(pipe.history_.loss.dropna()).all() and np.isfinite(pipe.predict_proba(X)).all()

def test_rows_that_resampling_copied_do_not_tune():
    pytest.importorskip('imblearn')
    X, y = rings(150)
    y[:] = X[:, 0] > 1.2  # rare
    pipe = pipeline(processor_params=dict(resampling_strategy='over')).fit(X, y)
    report = pipe.describe()
    assert report['rows'] > 150 > report['train_rows'] + report['val_rows'] and report['compared_rows'] <= 150  # repeats compare on different rows

# adapters

def peft_pipeline(**kw):
    return pipeline(tuning_strategy='peft', model_params=dict(d_model=32, num_layers=1, dropout=0.0), **kw)

@pytest.fixture(scope='module')
def adapted():
    X, y = rings(500)
    with pytest.MonkeyPatch.context() as m:  # the bundled weights know rings well: keep the adapter whether it helps or not
        m.setattr(comparison, 'compare', lambda *a: compare(*a) | dict(kept='tuned'))
        return peft_pipeline(tuning_params=QUICK | dict(epochs=10, learning_rate=1e-2, support_size=64, query_size=48, batch_size=4)).fit(X, y)

@pytest.fixture(scope='module')
def plain():
    X, y = rings(500)
    return TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit(X, y)

def test_adapters_alone_train(adapted, plain):
    report = adapted.describe()
    assert report['kept'] == 'tuned' and 0 < report['trained'] < 0.5 * report['parameters']
    before = plain.model.state_dict()
    for name, w in adapted.model.state_dict().items():
        if 'lora_' not in name: assert torch.equal(w, before[name.replace('.base_layer', '')]), name

def test_new_adapters_are_drawn_from_the_seed_and_the_users_generator_stays():
    X, y = rings(150)
    def losses(seed):
        torch.manual_seed(seed)
        losses = peft_pipeline(tuning_params=QUICK | dict(epochs=1)).fit(X, y).history_.loss.dropna().tolist()
        return losses, torch.rand(1).item()
    (one, drawn), (two, _) = losses(3), losses(4)
    torch.manual_seed(3)
    assert one == two and drawn == torch.rand(1).item()

@pytest.mark.parametrize('way', ['pickle', 'deepcopy', 'joblib', 'save', 'save_joblib'])
def test_an_adapted_pipeline_travels(adapted, tmp_path, way): test_a_tuned_pipeline_travels(adapted, tmp_path, way)

def test_an_adapter_saved_loaded_named_switched_merged(adapted, plain, tmp_path):
    X, _ = rings(40, 1)
    p, without = adapted.predict_proba(X), plain.predict_proba(X)
    assert np.abs(p - without).max() > 1e-2
    adapted.save_adapter(tmp_path/'a')
    assert sorted(f.name for f in (tmp_path/'a').iterdir()) == ['adapter_config.json', 'adapter_model.safetensors']
    other = copy.deepcopy(plain).load_adapter(tmp_path/'a', 'rings')
    assert np.array_equal(other.predict_proba(X), p)
    assert np.allclose(other.use_adapter(None).predict_proba(X), without, atol=1e-6)
    other.load_adapter(tmp_path/'a', 'again')
    again = TabularPipeline.load(other.save(tmp_path/'two.tabtune'))
    assert again.adapted_.active_adapter == 'again' and np.array_equal(again.predict_proba(X), p)
    merged = again.use_adapter('rings').merge_adapter()
    assert np.allclose(merged.predict_proba(X), p, atol=1e-5) and not any('lora' in n for n, _ in merged.model.named_parameters())
    with pytest.raises(ValueError, match='no adapter'): merged.merge_adapter()
    with pytest.raises(ConfigError, match="did you mean 'rings'"): other.use_adapter('ring')
    with pytest.raises(CheckpointError, match='is no adapter'): other.load_adapter(tmp_path)

def test_the_tuned_model_is_there_whichever_adapter_is_in_use(adapted, tmp_path):
    pipe, weights = copy.deepcopy(adapted), lambda m: {n.replace('.base_layer', ''): w for n, w in m.state_dict().items() if 'lora_' not in n}
    assert pipe.tuned_model_ is pipe.model
    tuned, base = weights(copy.deepcopy(pipe).merge_adapter().model), weights(pipe.use_adapter(None).model)
    assert type(pipe.tuned_model_) is Mitra and pipe.tuned_model_ is not pipe.model
    loaded = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    for name, p in dict(switched=pipe, loaded=loaded, merged=copy.deepcopy(pipe).merge_adapter()).items():
        assert all(torch.allclose(w, tuned[n], atol=1e-6) for n, w in p.tuned_model_.state_dict().items()), name
        assert all(torch.equal(w, base[n]) for n, w in weights(p.model).items()), name

def test_other_weights_leave_the_experts_as_they_are(monkeypatch, tmp_path):
    from tabtune.estimators import held_out
    from tabtune.model import experts
    fitted, solved, predictions, solve_all = [], [], held_out.held_out_predictions, experts.solve_all
    monkeypatch.setattr(held_out, 'held_out_predictions', lambda *a: (fitted.append(1), predictions(*a))[1])
    X, y = rings(120)
    pipe = pipeline(tuning_strategy='peft', tuning_params=LITTLE | dict(keep='tuned', epochs=2, checkpoint_dir=str(tmp_path)),
                    model_params=dict(d_model=32, num_layers=1, experts=['trees'])).fit(X, y)
    p = pipe.predict_proba(X)
    monkeypatch.setattr(experts, 'solve_all', lambda *a: (solved.append(1), solve_all(*a))[1])
    scores = pipe.evaluate_checkpoints(X, y)
    assert list(scores.index) == ['epoch-001', 'epoch-002', 'in use'] and np.array_equal(pipe.use_adapter(None).use_adapter('default').predict_proba(X), p)
    assert (len(fitted), len(solved)) == (1, 0)
    assert set(pipe.estimator_.blend_.report['experts']) == {'trees'}

def test_an_adapter_of_another_size_is_refused(adapted, tmp_path):
    X, y = rings(60)
    medium = TabularPipeline().fit(X, y)
    before = medium.predict_proba(X)
    with pytest.raises(CheckpointError, match='another architecture'): medium.load_adapter(adapted.save_adapter(tmp_path/'a'))
    assert np.array_equal(medium.predict_proba(X), before)

def test_an_adapter_that_does_not_help_is_switched_off(plain, tmp_path):
    X, y = rings(300)
    pipe = peft_pipeline(tuning_params=QUICK | dict(learning_rate=1.0, epochs=1)).fit(X, np.random.default_rng(0).permutation(y))
    same = TabularPipeline(model_params=dict(d_model=32, num_layers=1)).fit(X, np.random.default_rng(0).permutation(y))
    assert pipe.describe()['kept'] == 'untuned' and np.allclose(pipe.predict_proba(X), same.predict_proba(X), atol=1e-6)
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert np.allclose(again.predict_proba(X), pipe.predict_proba(X), atol=1e-6)
    assert pipe.save_adapter(tmp_path/'a').is_dir() and again.use_adapter('default').adapter_on_

# an ensemble of adapters

def folds_of(task, n=150, **model):
    "A pipeline with an adapter for each of three folds, its queries, and their probabilities or numbers by a fitted estimator."
    X, y = rings(n + 30)
    if task == 'many classes': y = y * 7 + np.digitize(X[:, 0], np.quantile(X[:, 0], np.arange(1, 7) / 7))
    if task == 'regression': y = y + np.sin(3 * X[:, 1])
    small = {} if task == 'regression' else dict(d_model=32, num_layers=1)
    pipe = pipeline(task_type='regression' if small == {} else 'classification', tuning_strategy='peft', model_params=dict(experts=None) | small | model,
                    tuning_params=QUICK | dict(n_folds=3, keep='tuned', learning_rate=5e-2, epochs=1, steps_per_epoch=2)).fit(X[:n], y[:n])
    return pipe, X[n:]

def answers(est, q):
    "What an estimator says of encoded rows: probabilities, or means."
    if est.task == 'regression': return np.mean([d.mean() for d in est._query_members(0, q)], 0)
    p = np.exp(est.predict_encoded(q, est._combine))
    return p / p.sum(1, keepdims=True)

TOGETHER = [pytest.param('many classes', {}, id='more classes than label tokens'), pytest.param('regression', {}, id='regression'),
            pytest.param('two classes', dict(n_landmarks=40, n_estimators=2), id='landmarks, two members')]

@pytest.mark.parametrize('task, model', TOGETHER)
def test_adapters_of_all_folds_predict_as_the_mean_of_each_alone(task, model, monkeypatch):
    from tabtune.estimators import base
    pipe, X = folds_of(task, **model)
    est, q = pipe.estimator_, pipe.estimator_.encoder_.transform(X)
    alone = [answers(est.with_weights(pipe._with_adapter(f'fold{i}')), q) for i in (1, 2, 3)]
    together = answers(est.with_weights(pipe.model), q)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert np.allclose(together, np.mean(alone, 0), atol=1e-5)
    monkeypatch.setattr(base, '_MAX_ADAPTED', 1)  # too large for one pass: one adapter after the other
    assert np.allclose(answers(est.with_weights(pipe.model), q), together, atol=1e-5)

def test_an_ensemble_of_adapters_says_so_travels_and_gives_its_adapters_back(tmp_path):
    pipe, X = folds_of('two classes', d_model=64, num_layers=2)
    found, p = pipe.describe(), pipe.predict_proba(X)
    assert type(pipe.model) is AdapterEnsemble and pipe.tuned_model_ is pipe.model
    assert pipe.tuning_report_['verdict'].startswith("kept: tuned, an ensemble of 3 adapters, as keep='tuned' asks (held-out log loss") and found['adapters'] == 3
    assert 0 < found['trained'] < 3 * 0.05 * found['parameters'] and found['compared_rows'] <= 150
    held = np.concatenate([rows for rows, _ in pipe.estimator_.held_out_folds()])
    assert len(held) == len(set(held))
    loaded = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    for other in (loaded, copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert type(other.model) is AdapterEnsemble and np.array_equal(other.predict_proba(X), p)
    with pytest.raises(InputError, match="3 adapters predict together here.*fold1"): loaded.save_adapter(tmp_path/'a')
    weights, small = (sum(f.stat().st_size for f in folder.rglob('*.safetensors')) for folder in (save_checkpoint(pipe._with_adapter(None), tmp_path/'w'), loaded.save_adapter(tmp_path/'a', 'fold2')))
    assert small < 0.05 * weights
    one = loaded.use_adapter('fold2').predict_proba(X)
    assert not np.array_equal(one, p) and np.array_equal(loaded.use_adapter(['fold1', 'fold2', 'fold3']).predict_proba(X), p)

def test_folds_end_where_nothing_is_gained():
    X, y = rings(200)
    pipe = peft_pipeline(tuning_params=QUICK | dict(n_folds=4, learning_rate=1.0, epochs=1)).fit(X, np.random.default_rng(0).permutation(y))
    assert pipe.describe()['repeats'] == 1 and 'adapters' not in pipe.describe() and type(pipe.model) is Mitra

# repeats

class CountStarts(Callback):
    "Counts the runs that it is a callback of."
    def __init__(self): self.starts = 0
    def on_start(self, state): self.starts += 1

def gains_of_repeats(monkeypatch, *gains):
    "Let the repeats of the next run end with these gains, on 20 rows each; the untuned model costs a nat for each row."
    todo = list(gains)
    monkeypatch.setattr(tuning.Tuning, '_test_scores', lambda self: ((np.ones(20), 0.8), (np.ones(20) - todo.pop(0) + 0.01 * np.sin(np.arange(20)), 0.8)))

@pytest.mark.parametrize('gains, repeats, kept', [
    pytest.param([-0.1], 1, 'untuned', id='loss at once'), pytest.param([0.1, -0.2], 2, 'untuned', id='loss after a gain'),
    pytest.param([0.1] * 5, 5, 'tuned', id='gains only'),
    pytest.param([0.1, 0.1, -0.12, -0.07, 0.0], 4, 'untuned', id='losses after two gains: hopeless'),
    pytest.param([6e-6], 1, 'untuned', id='a gain that does not matter'), pytest.param([0.1, -0.0985], 2, 'untuned', id='too little is left of a gain')])
def test_a_small_table_is_repeated_while_a_gain_is_in_sight(monkeypatch, gains, repeats, kept):
    gains_of_repeats(monkeypatch, *gains)
    x, y = rings(150)
    counter = CountStarts()
    result = tune(tiny_model(), x, y, QUICK | dict(epochs=1, steps_per_epoch=2, callbacks=[counter]))
    assert (result.report['repeats'], result.report['kept'], result.report['compared_rows']) == (repeats, kept, 20 * repeats)
    assert counter.starts == 1 and result.report['steps'] == result.history.step.max() == 2  # a callback hears of the first run only

@pytest.mark.parametrize('gains, mean', [((0.1,) * 5, 2.0), ((0.1, -0.3), None)], ids=['kept', 'not kept'])
def test_weights_of_repeats_are_averaged_where_they_are_kept(monkeypatch, gains, mean):
    gains_of_repeats(monkeypatch, *gains)
    monkeypatch.setattr(tuning.Tuning, '_weights', lambda self: {n: torch.full_like(w, self.repeat) for n, w in self.tuned.named_parameters()})
    result = tune(tiny_model(), *rings(150), QUICK | dict(epochs=1, steps_per_epoch=1))
    assert {float(w.detach().mean()) for w in result.model.parameters()} == {mean} if mean else result.not_kept is not None

def test_ctrl_c_in_a_later_repeat_ends_all_repeats(monkeypatch):
    gains_of_repeats(monkeypatch, 0.1, 0.1, 0.1)
    x, y = rings(150)
    again = tuning.Tuning._repeat
    def interrupted(self, repeat):
        other = again(self, repeat)
        if repeat == 2: other.callbacks.append(At(1, lambda state: os.kill(os.getpid(), signal.SIGINT)))
        return other
    monkeypatch.setattr(tuning.Tuning, '_repeat', interrupted)
    report = tune(tiny_model(), x, y, QUICK | dict(epochs=1, steps_per_epoch=4)).report
    assert report['repeats'] == 2 and report['ended'] == 'complete'

def watched(monkeypatch, **actions):
    "Tune with a live view; what its run is like at the beginning of each repeat, and the report."
    from tabtune.widgets.training_view import LiveRun
    live, seen, for_repeat = LiveRun(), [], LiveRun.for_repeat
    def noted(self, number):
        seen.append((number, live.status, live.done.is_set()))
        if number in actions.values(): live.stop()
        return for_repeat(self, number)
    monkeypatch.setattr(LiveRun, 'for_repeat', noted)
    report = tune(tiny_model(), *rings(150), QUICK | dict(epochs=1, steps_per_epoch=4, callbacks=[live])).report
    assert live.done.is_set() and not live.view.monitor_thread.is_alive()
    return live, seen, report

def test_a_live_view_stays_to_the_last_repeat(monkeypatch):
    gains_of_repeats(monkeypatch, 0.1, 0.1, -0.5)
    live, seen, report = watched(monkeypatch)
    assert seen == [(2, 'comparing', False), (3, 'comparing', False)] and report['repeats'] == 3
    assert live.repeat == (3, 1.0) and live.view.state()['status'] == 'finished'
    assert live.view.state()['step'] == 4 and len(live.history.rows) == 6  # the curves are those of the first run

def test_stop_in_a_later_repeat_ends_all_repeats(monkeypatch):
    gains_of_repeats(monkeypatch, 0.1, 0.1, 0.1)
    live, seen, report = watched(monkeypatch, stop=3)
    assert [s[0] for s in seen] == [2, 3] and live.repeat == (3, 0.25)  # after one step of four
    assert report['repeats'] == 2 and report['ended'] == 'complete' and live.view.state()['status'] == 'stopped'

def test_a_live_view_ends_where_training_fails():
    from tabtune.widgets.training_view import LiveRun
    live = LiveRun()
    with pytest.raises(ZeroDivisionError): tune(tiny_model(), *rings(150), QUICK | dict(callbacks=[live, At(2, lambda state: 1 / 0)]))
    assert live.done.is_set() and not live.view.monitor_thread.is_alive()
    assert live.status == 'failed' and isinstance(live.error, ZeroDivisionError)

def test_stop_after_the_last_step_is_not_repeated(monkeypatch):
    from tabtune.widgets.training_view import LiveRun
    class Late(Callback):
        def on_epoch(self, state): live.stop()
    live = LiveRun()
    gains_of_repeats(monkeypatch, *[0.1] * 5)
    report = tune(tiny_model(), *rings(150), QUICK | dict(epochs=1, steps_per_epoch=4, callbacks=[live, Late()])).report
    assert report['repeats'] == 1 and live.status == 'stopped'

# interrupted

class At(Callback):
    "Do something after a step."
    def __init__(self, step, f): self.step, self.f, self.steps, self.ended = step, f, [], False
    def on_step(self, state):
        self.steps.append(state.step)
        if state.step == self.step: self.f(state)
    def on_end(self, state): self.ended = True

def test_ctrl_c_leaves_a_usable_pipeline():
    X, y = rings(150)
    press, before = At(6, lambda state: os.kill(os.getpid(), signal.SIGINT)), signal.getsignal(signal.SIGINT)
    pipe = pipeline(tuning_params=QUICK | dict(epochs=5, callbacks=[press])).fit(X, y)
    assert press.steps[-1] == 6 and press.ended and signal.getsignal(signal.SIGINT) is before
    assert pipe.describe()['ended'] == 'stopped' and pipe.predict(X).shape == (150,)

def test_keyboard_interrupt_in_the_middle_of_a_step_too():
    def interrupt(state): raise KeyboardInterrupt
    pipe = pipeline(tuning_params=QUICK | dict(callbacks=[At(3, interrupt)])).fit(*rings(150))
    assert pipe.describe()['steps'] == 3 and pipe.describe()['ended'] == 'stopped'

def test_an_error_in_a_callback_is_passed_on_and_the_pipeline_can_predict():
    pipe, (X, y) = pipeline(tuning_params=QUICK | dict(callbacks=[At(2, lambda state: 1 / 0)])), rings(100)
    with pytest.raises(ZeroDivisionError): pipe.fit(X, y)
    assert pipe.predict(X).shape == (100,)

def test_stop_and_pause_from_another_thread():
    X, y = rings(150)
    go, states = threading.Event(), []
    listen = At(3, lambda state: (states.append(state), go.wait(600)))
    pipe = pipeline(tuning_params=QUICK | dict(epochs=50, callbacks=[listen]))
    worker = threading.Thread(target=pipe.fit, args=(X, y)); worker.start()
    while not states and worker.is_alive(): time.sleep(0.01)
    time.sleep(0.2); assert listen.steps == [1, 2, 3]  # paused
    states[0].stop(); go.set(); worker.join(600)
    assert not worker.is_alive() and listen.steps == [1, 2, 3] and pipe.predict(X).shape == (150,)

# killed

SCRIPT = '''
import sys, time, torch
sys.path.insert(0, {tests!r})
from test_tuning import *
class Slow(Callback):
    def on_step(self, state): time.sleep(600 if state.step == 11 else 0)  # in the middle of the third epoch: killed there
x, y = rings(200)
tune(tiny_model(), x, y, RUN | dict(checkpoint_dir={dir!r}), dropout=0.2, callbacks=[Slow()])
'''
RUN = ONCE | dict(epochs=4, gradient_accumulation_steps=2, n_episodes=10_000)

def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(tmp_path):
    x, y = rings(200)
    dir, whole = tmp_path/'killed', Tuning(tiny_model(), x, y, TuningConfig(**RUN), 'base-ft', 0.2, 42)
    victim = subprocess.Popen([sys.executable, '-c', SCRIPT.format(tests=os.path.dirname(__file__), dir=str(dir))])
    whole.run()
    lines = lambda: (dir/'metrics.jsonl').read_text().count('\n') if (dir/'metrics.jsonl').exists() else 0
    while lines() < 14 and victim.poll() is None: time.sleep(0.02)  # in the middle of the third epoch
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert torch.load(dir/'state.pt', weights_only=True)['state']['epoch'] < 4
    again = Tuning(tiny_model(), x, y, TuningConfig(**RUN, checkpoint_dir=str(dir), resume=True), 'base-ft', 0.2, 42)
    again.run()
    assert again.history.rows[-1]['step'] == 16 and sorted(p.name for p in dir.glob('epoch-*')) == [f'epoch-00{i}' for i in (1, 2, 3, 4)]
    for (n, a), b in zip(whole.tuned.named_parameters(), again.tuned.parameters()): assert torch.equal(a, b), n
    ours = lambda run: run.history.frame().loss.dropna().tolist()
    assert ours(whole) == ours(again)

def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    x, y = rings(120)
    kw = ONCE | dict(checkpoint_dir=str(tmp_path/'run'))
    tune(tiny_model(), x, y, kw | dict(resume=True))  # nothing there yet: begins
    with pytest.raises(CheckpointError, match='table differs'): tune(tiny_model(), x + 1, y, kw | dict(resume=True))
    longer = tune(tiny_model(), x, y, kw | dict(resume=True, epochs=3))
    assert longer.report['steps'] == 12 and longer.history.step.is_monotonic_increasing
    (tmp_path/'run'/'state.pt').write_bytes(b'half')
    with pytest.raises(CheckpointError, match="can't be read"): tune(tiny_model(), x, y, kw | dict(resume=True))

@pytest.mark.parametrize('keep', ['tuned', 'better'])
def test_experts_are_weighed_once_for_the_model_in_use(monkeypatch, tmp_path, keep):
    from tabtune.estimators.base import InContextEstimator
    calls, fit_blend = [], InContextEstimator.fit_blend
    monkeypatch.setattr(InContextEstimator, 'fit_blend', lambda est, *a: (calls.append(est.model_), fit_blend(est, *a))[1])
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(2600, 3)), columns=list('abc'))
    y = np.where(X.a + X.b ** 2 > 1, 'yes', 'no')
    params = dict(device='cpu', epochs=1, steps_per_epoch=1, support_size=32, query_size=32, keep=keep, show_progress=False)
    pipe = TabularPipeline(tuning_strategy='peft', tuning_params=params, model_params=dict(d_model=32, num_layers=1, experts=['trees'])).fit(X, y)
    assert len(calls) == 1 and calls[0] is pipe.model and 'trees' in pipe.estimator_.blend_.report['experts']
    times = pipe.tuning_report_
    assert times['seconds'] == pytest.approx(sum(v for k, v in times.items() if k.startswith('seconds_')), abs=0.1) and 'seconds_calibration' in times
    again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
    assert len(calls) == 1 and np.array_equal(again.predict_proba(X[:50]), pipe.predict_proba(X[:50]))

# beside the weights

def a_run(tuned, other=None, n=1000):
    "An estimator, and a run whose first fold was predicted by other weights than all else."
    from tabtune import MitraClassifier
    from tabtune.estimators.blending import TunedRun
    X, y = rings(n)
    est = MitraClassifier('small', random_state=0, n_landmarks=100, experts='auto' if other else None).fit(X, y)
    folds = [(np.arange(i, n, 5), tiny_model if i == 0 else None) for i in range(5)]
    return est, TunedRun(tuned, other, est.model_, folds)

@pytest.mark.parametrize('tuned', [True, False], ids=['tuned weights', 'untuned weights'])
def test_tuned_weights_are_weighed_on_rows_that_they_were_not_tuned_on(tuned):
    est, run = a_run(tuned, other=tiny_model())
    own, beside = est._predict_folds(est.held_out_folds(run), [{} for _ in range(5)], run, True)
    def alone(model, i): return est.with_weights(model)._predict_fold(run.folds[i][0], {})[0]
    of_fold, elsewhere = (own, beside) if tuned else (beside, own)
    np.testing.assert_allclose(of_fold[0], alone(tiny_model(), 0), atol=1e-6)
    np.testing.assert_allclose(elsewhere[0], alone(run.untuned, 0), atol=1e-6)
    for i in range(1, 5): assert np.array_equal(own[i], beside[i]), i  # no run held these rows out

def test_a_run_brings_more_experts_and_its_blend_travels(monkeypatch, tmp_path):
    from tabtune.estimators import blending
    monkeypatch.setattr(blending, 'boosted_trees', lambda *a, f=blending.boosted_trees: f(*a).set_params(max_iter=10))
    X, y = rings(1000)
    pipe = TabularPipeline(model_params=dict(pretrained='small', n_landmarks=100, seed=0)).fit(X, y)
    est, new = pipe.estimator_, rings(50, 1)[0]
    est.unseen_rows_ = np.arange(0, 1000, 5)
    pipe.use_model(tiny_model(), tuned=True, run=a_run(True, est.model_)[1])  # next to nothing, so the untuned weights count
    assert set(est.blend_.report['experts']) == {'untuned', 'small_trees'} and est.blend_.weights[1] > est.blend_.weights[0], est.blend_.weights
    assert est.blend_.report['blend'] < est.blend_.report['experts']['untuned']
    for suffix in ('tabtune', 'joblib'):
        again = TabularPipeline.load(pipe.save(tmp_path/f'p.{suffix}'))
        assert np.array_equal(again.predict_proba(new), pipe.predict_proba(new)), suffix
        assert list(map(list, again.predict_set(new))) == list(map(list, pipe.predict_set(new))), suffix
    assert est.held_out_folds()[0][0].tolist() == list(range(0, 1000, 5))  # whatever is found again later, is found on rows of no run
    assert [len(h) for h, _ in pipe.fit(X, y).estimator_.held_out_folds()] == [200] * 5 and pipe.estimator_.blend_ is None

def test_a_small_table_predicts_with_the_weights_alone():
    est, run = a_run(True, tiny_model(), n=400)
    est.fit_blend(run=run)
    assert est.blend_.experts == {} and est.blend_.report['rows'] == 400
    est.fit_blend(run=dataclasses.replace(run, tuned=False))
    assert est.blend_ is None
