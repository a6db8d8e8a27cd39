"Two processes train as one does that takes the batches of both: tuning and pre-training, in one launch."
import functools, subprocess, sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from tabtune.core.config import TuningConfig
from tabtune.model.checkpoints import load_checkpoint
from tabtune.training import pretrain
from tabtune.training.episodes import PriorEpisodes
from tabtune.training.loop import LoopSettings
from tabtune.training.pretrain import Pretraining, arch_config
from tabtune.training.tuning import Tuning
from test_tuning import QUICK, rings, tiny_model

def tuned(batch_size):
    x, y = rings(200)
    config = TuningConfig(**QUICK | dict(keep='tuned', batch_size=batch_size, gradient_accumulation_steps=1, optimizer='sgd', learning_rate=0.5))
    run = Tuning(tiny_model(), x, y, config, 'base-ft', 0.0, 42)
    run.run()
    return run

def pretraining(out, **kw):
    settings = LoopSettings(n_steps=4, learning_rate=3e-3, warmup_steps=1, **kw)
    with patch.object(pretrain, 'validation_set', functools.partial(pretrain.validation_set, tables_each=1)):  # its baselines take most of the time
        return Pretraining(arch_config('small'), out, settings, 5, quiet=True, cells=1500)

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_two_processes import *
run = tuned(batch_size=2)
loss = run.history.frame().loss.dropna().tolist()
torch.save(dict(weights=run.tuned.state_dict(), loss=loss), {out!r} + f'/{{run.trainer.accelerator.process_index}}')
pretraining({out!r} + '/pretrained').run()
"""

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "The folder in which two processes left their weights."
    out = tmp_path_factory.mktemp('two')
    (out/'run.py').write_text(SCRIPT.format(tests=str(Path(__file__).parent), out=str(out)))
    launch = [sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1',
              '--mixed_precision', 'no', '--dynamo_backend', 'no', '--main_process_port', '0', str(out/'run.py')]
    done = subprocess.run(launch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return out

def test_two_processes_with_half_the_batch_do_as_one(two):
    one, parts = tuned(batch_size=4), [torch.load(two/str(r), weights_only=True) for r in (0, 1)]
    start = tiny_model().state_dict()
    for k, v in one.tuned.state_dict().items():
        assert torch.equal(parts[0]['weights'][k], parts[1]['weights'][k])
        assert torch.allclose(parts[0]['weights'][k], v, atol=2e-5), k
    assert max((v - start[k]).abs().max() for k, v in one.tuned.state_dict().items() if v.is_floating_point()) > 1e-2  # it did train
    assert np.allclose(parts[0]['loss'], one.history.frame().loss.dropna(), atol=1e-5)

class Alternate:
    "Batches of the streams of both processes, in turn."
    def __init__(self):
        self.streams = [PriorEpisodes(6, cells=1500) for _ in range(2)]
        for rank, s in enumerate(self.streams): s.set_rank(rank, 2)
        self.next, self.progress = 0, 0.0
    def __next__(self):
        s, self.next = self.streams[self.next], 1 - self.next
        s.progress = self.progress
        return next(s)

def test_two_processes_do_as_one_with_both_batches(two, tmp_path):
    "The gradient of two processes is the mean of theirs: one process that takes both batches per step ends with the same weights."
    one = pretraining(tmp_path/'one', accumulation=2)
    start = {k: v.clone() for k, v in one.trainer.raw_model.state_dict().items()}
    one.trainer.callbacks, one.trainer.episodes = [], Alternate()
    one.trainer.run()
    both = load_checkpoint(two/'pretrained').state_dict()
    for k, v in one.trainer.raw_model.state_dict().items(): assert torch.allclose(both[k], v, atol=2e-4), k
    assert max((v - start[k]).abs().max() for k, v in both.items()) > 4e-3  # it did train
