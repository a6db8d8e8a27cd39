"""What watching costs: a training run with a live dashboard.

    python benchmarks/dashboard.py [--steps 100 1000]

Processor time of the thread that draws and of the listener, as a share of the time of training, must stay under 2 %. On a machine that
others use too, training takes longer by the clock than it computes, so the share of its processor time is shown beside it; on a free one
the two agree. The first line is a warm-up; the last picture, drawn after the training, is not counted."""
import argparse, time

import torch

from tabtune.core.config import MitraConfig
from tabtune.training.episodes import PriorEpisodes
from tabtune.widgets.training_view import TrainingDashboard
from tabtune.model.mitra import Mitra
from tabtune.training.loop import LoopSettings, Trainer

def trainer(steps):
    torch.manual_seed(0)
    settings = LoopSettings(n_steps=steps, learning_rate=1e-4, validate_every=max(1, steps // 10), validate_first=True)
    return Trainer(Mitra(MitraConfig(d_model=32, num_layers=1)), PriorEpisodes(0, cells=4000), settings, validate=lambda m: 1.0)

def timed(f, spent):
    "`f`, whose processor time in this thread is added to `spent`."
    def g(*args, **kw):
        start = time.thread_time()
        try: return f(*args, **kw)
        finally: spent.append(time.thread_time() - start)
    return g

def watched(steps):
    "Processor seconds of training, of drawing and of listening; number of pictures."
    t = trainer(steps); view = TrainingDashboard(t)
    train, draw, listen, pictures = [], [], [], []
    t.step, view.refresh = timed(t.step, train), timed(view.refresh, draw)
    view.run.on_step, view._draw = timed(view.run.on_step, listen), timed(view._draw, pictures)
    view.start(); view.wait()
    return sum(train), sum(draw[:-1]), sum(listen), len(pictures) - 1, t.state.seconds

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, nargs='+', default=[100, 1000])
    for steps in [10, *p.parse_args().steps]:
        train, draw, listen, n, wall = watched(steps)
        share, own = 100 * (draw + listen) / wall, 100 * (draw + listen) / train
        words = 'warm-up' if steps == 10 else 'ok' if share < 2 else 'TOO MUCH'
        print(f'{steps} steps, {wall:.1f} s by the clock, {train:.1f} s of processor time: {n} pictures, drawing {draw:.3f} s, '
              f'listening {listen:.3f} s: {share:.2f} % ({own:.2f} %) {words}', flush=True)

if __name__ == '__main__': main()
