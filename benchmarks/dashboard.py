"""What watching costs: the same training run without and with a live dashboard.

    python benchmarks/dashboard.py [--steps 1000] [--rounds 3]

Processor time of the drawing thread and of the listener, as a share of the training time, must stay under 2 %. Beside it, wall-clock and
processor time of the whole process with and without, taken in turn; wall-clock time means little on a machine that others use too."""
import argparse, time

import torch

from tabtune.config import MitraConfig
from tabtune.episodes import PriorEpisodes
from tabtune.live import TrainingDashboard
from tabtune.mitra import Mitra
from tabtune.training import LoopSettings, Trainer

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

def plain(steps):
    t = trainer(steps); start = time.perf_counter(), time.process_time(); t.run()
    return time.perf_counter() - start[0], time.process_time() - start[1]

def watched(steps):
    "Wall time, processor time, training seconds, processor seconds of drawing and of listening, number of drawings."
    t = trainer(steps); view = TrainingDashboard(t)
    drawing, listening, pictures = [], [], []
    view.refresh = timed(view.refresh, drawing); view.run.on_step = timed(view.run.on_step, listening)
    view.picture.draw = timed(view.picture.draw, pictures)
    start = time.perf_counter(), time.process_time(); view.start(); view.wait()
    return time.perf_counter() - start[0], time.process_time() - start[1], t.state.seconds, sum(drawing), sum(listening), len(pictures)

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0]); p.add_argument('--steps', type=int, default=1000); p.add_argument('--rounds', type=int, default=3)
    a = p.parse_args()
    plain(10)
    for _ in range(a.rounds):
        (alone, cpu0), (wall, cpu, train, draw, listen, n) = plain(a.steps), watched(a.steps)
        share = 100 * (draw + listen) / train
        print(f'{a.steps} steps: {alone:.2f} s alone, {wall:.2f} s watched ({100 * (wall / alone - 1):+.1f} %), processor {cpu0:.2f} and {cpu:.2f} s ({100 * (cpu / cpu0 - 1):+.1f} %); {n} pictures in {train:.2f} s of training '
              f'({n / train:.1f} a second); drawing {draw:.3f} s, listening {listen:.3f} s: {share:.2f} % {"ok" if share < 2 else "TOO MUCH"}', flush=True)

if __name__ == '__main__': main()
