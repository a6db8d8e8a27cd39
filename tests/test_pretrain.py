"The pre-training command: it can be stopped at any time, leaves a usable checkpoint, and goes on."
import functools, os, shutil, signal, subprocess, sys, time

import pytest
import torch

from tabtune.cli import main
from tabtune.model.checkpoints import load_checkpoint, read_card
from tabtune.training.episodes import PriorEpisodes
from tabtune.core.config import MitraConfig
from tabtune.model.mitra import Mitra
from tabtune.training import pretrain
from tabtune.training.pretrain import Pretraining, arch_config
from tabtune.training.callbacks import History
from tabtune.training.loop import LOSSES, Callback, LoopSettings

SMALLER = """import functools, os, time
from tabtune.cli import main
from tabtune.training import pretrain
from tabtune.training.callbacks import History
pretrain.validation_set = functools.partial(pretrain.validation_set, tables_each=1)
class Curve(History):
    def on_step(self, state):
        super().on_step(state)
        while 'WAITS' in os.environ and state.step == 10 and not state.stopped: time.sleep(.01)
pretrain.History = lambda path, every: Curve(path, every=8)
main()"""

def command(out, *more):
    "The command with a sixth of its validation tables, whose baselines take most of the time; its curve is written every 8 steps, and with WAITS it is stopped at the tenth."
    return [sys.executable, '-c', SMALLER, 'pretrain', '--arch', 'small', '--cells', '1500', '--threads', '1', '--out', str(out), *more]

@pytest.fixture(autouse=True)
def smaller(monkeypatch):
    monkeypatch.setattr(pretrain, 'validation_set', functools.partial(pretrain.validation_set, tables_each=1))
    monkeypatch.setattr(pretrain, 'History', lambda path, every: History(path, every=8))

def here(out, *more):
    "The same command in this process."
    main(command(out, *more)[3:])

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A run of 40 steps that nobody disturbed."
    out = tmp_path_factory.mktemp('whole')
    done = subprocess.run(command(out, '--steps', '40'), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, done

def wait_for(path, seconds=600):
    for _ in range(100 * seconds):
        if path.exists(): return
        time.sleep(0.01)
    raise TimeoutError(path)

def weights(out): return load_checkpoint(out).state_dict()

def test_run_leaves_checkpoint_card_curve_and_baselines(whole):
    out, done = whole
    card = read_card(out)
    assert card['steps'] == 40 and card['progress'] == 1.0 and card['architecture']['d_model'] == 32
    lines = card['validation']['baselines']
    assert lines['forest'] < lines['linear'] < lines['frequencies']
    assert 'done after 40 steps' in done.stdout and 'validation loss' in done.stdout
    assert 'frequencies' in done.stderr  # each validation, beside the bar
    assert '%' in done.stderr and 'cells/s' in done.stderr  # the bar
    assert History.read(out/'metrics.jsonl').val_loss.notna().any()

def test_same_seed_gives_the_same_weights(whole, tmp_path):
    shutil.copy(whole[0]/'baselines.json', tmp_path)
    here(tmp_path, '--steps', '40', '--quiet')
    a, b = weights(whole[0]), weights(tmp_path)
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('sig', [signal.SIGTERM, signal.SIGINT], ids=['SIGTERM', 'Ctrl-C'])
def test_stopped_and_resumed_run_equals_the_whole_one(whole, tmp_path, sig, capsys):
    shutil.copy(whole[0]/'baselines.json', tmp_path)
    p = subprocess.Popen(command(tmp_path, '--steps', '40', '--quiet'), stdout=subprocess.PIPE, text=True, env=os.environ | dict(WAITS='1'))
    wait_for(tmp_path/'metrics.jsonl')  # written after 8 steps
    p.send_signal(sig)
    rest = p.communicate()[0]
    assert p.returncode == 0 and 'stopped after' in rest
    assert load_checkpoint(tmp_path).config.d_model == 32
    here(tmp_path, '--steps', '40', '--quiet', '--resume')
    assert 'done after 40 steps' in capsys.readouterr().out
    a, b = weights(whole[0]), weights(tmp_path)
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('options, words', [pytest.param([], 'holds a run already', id='again'), pytest.param(['--resume', '--seed', '5'], 'is of another seed', id='another seed'),
                                            pytest.param(['--resume', '--d_model', '64'], 'another architecture', id='another width')])
def test_a_run_is_not_overwritten_and_not_resumed_as_another(whole, options, words, capsys):
    with pytest.raises(SystemExit) as e: here(whole[0], '--steps', '40', '--quiet', *options)
    assert e.value.code != 0 and words in capsys.readouterr().err

@pytest.mark.parametrize('options, words', [
    pytest.param(['--arch', 'medum'], "arch='medum' is unknown: did you mean 'medium'", id='arch'), pytest.param(['--hours', '-1'], 'hours=-1.0 must lie in', id='hours'),
    pytest.param(['--init', 'nowhere'], "no checkpoint 'nowhere'", id='init'), pytest.param(['--out', '/dev/null/x'], "can't be made", id='out'),
    pytest.param(['--threads', '-2'], 'threads=-2 must lie in 0 or more', id='threads'), pytest.param(['--cells', '-5'], 'cells=-5 must lie in 100', id='cells'),
    pytest.param(['--late', '3'], 'late=3.0 must lie in 0.0..1.0', id='late'), pytest.param(['--steps', '0'], 'n_steps=0', id='steps'),
    pytest.param(['--device', 'gpu'], "device='gpu' is unknown", id='device'), pytest.param(['--resume'], 'nothing to resume', id='resume'),
    pytest.param(['--drop-experts', '2'], 'drop_experts=2.0 must lie in 0..1', id='drop_experts'),
    pytest.param(['--d_model', '50', '--num_heads', '4'], 'must be divisible', id='d_model')])
def test_a_wrong_option_is_one_line(options, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as e: main(['pretrain', '--out', str(tmp_path/'x'), '--quiet', *options])
    out, err = capsys.readouterr()
    assert (e.value.code, out) == (1 if options[0] == '--init' else 2, '') and err.startswith('tabtune pretrain: ') and words in err and err.count('\n') == 1

def test_the_command_runs_as_a_module():
    done = subprocess.run([sys.executable, '-m', 'tabtune.cli', 'compair'], capture_output=True, text=True)
    assert done.returncode == 2 and "there is no command 'compair'; did you mean 'compare'?" in done.stderr

@pytest.mark.parametrize('task', ['classification', 'regression'])
def test_landmarks_that_are_all_rows_give_the_gradients_of_the_plain_path(task):
    torch.manual_seed(0)
    model = Mitra(MitraConfig(32, num_layers=2, dropout=0.0, task=task))
    for p in model.experts.parameters(): torch.nn.init.normal_(p, std=0.1)  # they start at zero, which would hide a fault
    ep = next(PriorEpisodes(1, cells=1500, min_support=60, late=1.0, task=task))
    gradients = []
    for reading in ({}, dict(landmarks=torch.arange(ep.sizes[1]).expand(len(ep), -1))):
        model.zero_grad()
        loss = LOSSES[task](model, ep, **reading)
        loss.backward()
        gradients.append([loss.item()] + [p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 20
    for a, b in zip(*gradients): assert torch.allclose(torch.as_tensor(a), torch.as_tensor(b), atol=1e-5, rtol=1e-3)

def test_the_long_stage_of_the_second_generation_is_resumed_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, 'validation_set', lambda **kw: [])
    monkeypatch.setattr(pretrain, 'validation_extras', lambda *a, **kw: [])
    monkeypatch.setitem(pretrain._BASELINES, 'classification', lambda episodes: {})
    def make(name, steps):
        settings = LoopSettings(n_steps=4, learning_rate=1e-3, warmup_steps=1)
        run = Pretraining(arch_config('small'), tmp_path/name, settings, 5, dict(graph=1, categories=1), traits=dict(imbalance=0.5, drift=0.5), many_classes=0.5,
                          row_landmarks=64, drop_experts=0.3, quiet=True, cells=4000, min_support=150, max_support=400, late=1.0)
        run.trainer.callbacks.append(Stop(steps))
        return run
    class Stop(Callback):
        def __init__(self, at): self.at = at
        def on_step(self, state): state.step == self.at and state.stop()
    whole = make('whole', 9)
    whole.run()
    stopped = make('stopped', 2)
    stopped.run(); stopped.save()
    again = make('stopped', 9)
    again.run(resume=True)
    b = again.trainer.raw_model.state_dict()
    assert [k for k, v in whole.trainer.raw_model.state_dict().items() if not torch.equal(v, b[k])] == []
    assert [read_card(tmp_path/'stopped')[k] for k in ('row_landmarks', 'drop_experts')] == [64, 0.3]
