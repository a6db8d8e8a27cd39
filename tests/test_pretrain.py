"The pre-training command: it can be stopped at any time, leaves a usable checkpoint, and goes on."
import shutil, signal, subprocess, sys, time

import pytest
import torch

from tabtune.model.checkpoints import load_checkpoint, read_card
from tabtune.training.episodes import PriorEpisodes
from tabtune.core.config import MitraConfig
from tabtune.model.mitra import Mitra
from tabtune.training import pretrain
from tabtune.training.pretrain import Pretraining, arch_config
from tabtune.training.callbacks import History
from tabtune.training.loop import LOSSES, Callback, LoopSettings

def command(out, *more):
    return [sys.executable, '-m', 'tabtune.cli', 'pretrain', '--arch', 'small', '--cells', '1500', '--threads', '1', '--out', str(out), *more]

def run(out, *more): return subprocess.run(command(out, *more), capture_output=True, text=True, timeout=300)

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A run of 300 steps that nobody disturbed."
    out = tmp_path_factory.mktemp('whole')
    done = run(out, '--steps', '300')
    assert done.returncode == 0, done.stderr
    return out, done

def wait_for(path, seconds=120):
    for _ in range(10 * seconds):
        if path.exists(): return
        time.sleep(0.1)
    raise TimeoutError(path)

def weights(out): return load_checkpoint(out).state_dict()

def test_run_leaves_checkpoint_card_curve_and_baselines(whole):
    out, done = whole
    card = read_card(out)
    assert card['steps'] == 300 and card['progress'] == 1.0 and card['architecture']['d_model'] == 32
    lines = card['validation']['baselines']
    assert lines['forest'] < lines['linear'] < lines['frequencies']
    assert 'validation loss' in done.stdout and 'frequencies' in done.stdout and 'done after 300 steps' in done.stdout
    assert '%' in done.stderr and 'cells/s' in done.stderr  # the bar
    assert History.read(out/'metrics.jsonl').val_loss.notna().any()

def test_same_seed_gives_the_same_weights(whole, tmp_path):
    shutil.copy(whole[0]/'baselines.json', tmp_path)
    run(tmp_path, '--steps', '300', '--quiet')
    a, b = weights(whole[0]), weights(tmp_path)
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('sig', [signal.SIGTERM, signal.SIGINT], ids=['SIGTERM', 'Ctrl-C'])
def test_stopped_and_resumed_run_equals_the_whole_one(whole, tmp_path, sig):
    shutil.copy(whole[0]/'baselines.json', tmp_path)
    p = subprocess.Popen(command(tmp_path, '--steps', '300', '--quiet'), stdout=subprocess.PIPE, text=True)
    wait_for(tmp_path/'metrics.jsonl')  # written after 50 steps
    p.send_signal(sig)
    rest = p.communicate(timeout=120)[0]
    assert p.returncode == 0 and ('stopped after' in rest or 'done after' in rest)
    assert load_checkpoint(tmp_path).config.d_model == 32
    done = run(tmp_path, '--steps', '300', '--quiet', '--resume')
    assert 'done after 300 steps' in done.stdout, done.stderr
    a, b = weights(whole[0]), weights(tmp_path)
    assert all(torch.equal(a[k], b[k]) for k in a)

def test_a_run_is_not_overwritten_and_not_resumed_as_another(whole):
    for more, words in (([], 'holds a run already'), (['--resume', '--seed', '5'], 'is of another seed'), (['--resume', '--d_model', '64'], 'another architecture')):
        done = run(whole[0], '--steps', '300', '--quiet', *more)
        assert done.returncode != 0 and words in done.stderr, done.stderr

def test_wrong_use_is_explained(tmp_path):
    for more, words in ((['--arch', 'medum'], "did you mean 'medium'"), (['--steps', '0'], 'n_steps=0'), (['--device', 'gpu'], "device='gpu' is unknown"), (['--resume'], 'nothing to resume'), (['--d_model', '50', '--num_heads', '4'], 'must be divisible')):
        done = subprocess.run(command(tmp_path/'x')[:4] + ['--out', str(tmp_path/'x'), '--steps', '2', *more], capture_output=True, text=True)
        assert done.returncode != 0 and words in done.stderr, done.stderr


TOGETHER = """
import sys
from tabtune.training.pretrain import Pretraining, arch_config
from tabtune.training.loop import LoopSettings
Pretraining(arch_config('small'), sys.argv[1], LoopSettings(n_steps=4, learning_rate=3e-3, warmup_steps=1), 5, quiet=True, cells=1500).run()
"""

def test_two_processes_do_as_one_with_both_batches(tmp_path):
    "The gradient of two processes is the mean of theirs: one process that takes both batches per step ends with the same weights."
    (tmp_path/'run.py').write_text(TOGETHER)
    launch = [sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1',
              '--mixed_precision', 'no', '--dynamo_backend', 'no', '--main_process_port', '0', str(tmp_path/'run.py'), str(tmp_path/'two')]
    done = subprocess.run(launch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    class Alternate:
        "Batches of the streams of both processes, in turn."
        def __init__(self):
            self.streams = [PriorEpisodes(6, cells=1500) for _ in range(2)]
            for rank, s in enumerate(self.streams): s.set_rank(rank, 2)
            self.turn, self.progress = 0, 0.0
        def __next__(self):
            s, self.turn = self.streams[self.turn], 1 - self.turn
            s.progress = self.progress
            return next(s)

    settings = LoopSettings(n_steps=4, learning_rate=3e-3, warmup_steps=1, accumulation=2)
    one = Pretraining(arch_config('small'), tmp_path/'one', settings, 5, quiet=True, cells=1500)
    start = {k: v.clone() for k, v in one.trainer.raw_model.state_dict().items()}
    one.trainer.callbacks, one.trainer.episodes = [], Alternate()
    one.trainer.run()
    two = weights(tmp_path/'two')
    for k, v in one.trainer.raw_model.state_dict().items(): assert torch.allclose(two[k], v, atol=2e-4), k
    assert max((v - start[k]).abs().max() for k, v in two.items()) > 4e-3  # it did train

@pytest.mark.parametrize('options, words', [
    pytest.param(['--arch', 'medum'], "arch='medum' is unknown: did you mean 'medium'", id='arch'), pytest.param(['--hours', '-1'], 'hours=-1.0 must lie in', id='hours'),
    pytest.param(['--init', 'nowhere'], "no checkpoint 'nowhere'", id='init'), pytest.param(['--out', '/dev/null/x'], "can't be made", id='out'),
    pytest.param(['--threads', '-2'], 'threads=-2 must lie in 0 or more', id='threads'), pytest.param(['--cells', '-5'], 'cells=-5 must lie in 100', id='cells'),
    pytest.param(['--late', '3'], 'late=3.0 must lie in 0.0..1.0', id='late')])
def test_a_wrong_option_is_one_line(options, words, tmp_path, capsys):
    from tabtune.cli import main
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
                          row_landmarks=64, quiet=True, cells=4000, min_support=150, max_support=400, late=1.0)
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
    assert read_card(tmp_path/'stopped')['row_landmarks'] == 64
