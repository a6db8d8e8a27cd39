"""What watching costs: processor time of a training run with a live dashboard against the same run without.

    python benchmarks/dashboard.py [--steps 150] [--repeats 5] [--plain] [--save]

Each run is a Jupyter kernel of its own, which sends what it shows as in a notebook; runs with and without a dashboard alternate. Each
kernel warms up with a short run, which is not counted. The dashboard has the live plot where anywidget is installed, else (and with
--plain) the picture; the last picture, drawn after the training, is not counted. Two figures are printed: how much larger the median
of the processor time of the whole process is, which other work on the machine blurs by some percent, and, exactly, the processor time
of all that does not train (the thread that watches, those that send, the listener) as a share of the training in the same run: that
one should be below 2 %."""
import argparse, json, statistics
from pathlib import Path

from machine import made_by

HERE = Path(__file__).parent
RUN = '''
import json, threading, time
import torch
from IPython.display import display
from tabtune.core.config import MitraConfig
from tabtune.model.mitra import Mitra
from tabtune.training.callbacks import History
from tabtune.training.episodes import PriorEpisodes
from tabtune.training.loop import LoopSettings, Trainer
from tabtune.widgets.training_view import TrainingDashboard
torch.set_num_threads(1)

def trainer(steps):
    torch.manual_seed(0)
    settings = LoopSettings(n_steps=steps, learning_rate=1e-4, validate_every=max(1, steps // 10), validate_first=True)
    return Trainer(Mitra(MitraConfig(d_model=64, num_layers=2)), PriorEpisodes(0, cells=4000), settings, validate=lambda m: 1.0, callbacks=[History()])

def timed(f, spent):
    "`f`, whose processor time in this thread is added to `spent`."
    def g(*args, **kw):
        start = time.thread_time()
        try: return f(*args, **kw)
        finally: spent.append(time.thread_time() - start)
    return g

def run(steps, watched, plain):
    "Processor seconds of the process and of the thread that trains, of which those of the listener; how often it drew."
    t, ends, train, listen, draws = trainer(steps), [], [], [], []
    if not watched:  # in a thread as well, since memory of another thread than the first costs some percent
        start, thread = time.process_time(), threading.Thread(target=t.run); thread.start(); thread.join()
        return dict(process=time.process_time() - start, wall=t.state.seconds)
    view = TrainingDashboard(t); display(view)
    if view.plot is not None and not plain: view.plot.receive('ready')  # as a page says
    view.job, view.run.on_step, view._draw, finish = timed(view.job, train), timed(view.run.on_step, listen), timed(view._draw, draws), view.run.finish
    view.run.finish = lambda *a: (ends.append(time.process_time()), finish(*a))
    start = time.process_time(); view.start(); view.wait()
    return dict(process=ends[0] - start, training=sum(train), listening=sum(listen), draws=len(draws) - 1, wall=t.state.seconds, live=bool(view.plot is not None and view.plot.ready))
'''

def measure(steps, watched, plain):
    "One run in a kernel of its own."
    from jupyter_client.manager import start_new_kernel
    manager, client = start_new_kernel(kernel_name='python3')
    said, failed = [], []
    def hear(message):
        if message['msg_type'] == 'stream': said.append(message['content']['text'])
        if message['msg_type'] == 'error': failed.append('\n'.join(message['content']['traceback']))
    try:
        code = f'{RUN}\nrun(20, {watched}, {plain})\nprint("RESULT" + json.dumps(run({steps}, {watched}, {plain})))'
        client.execute_interactive(code, output_hook=hear, timeout=3600)
    finally: client.stop_channels(); manager.shutdown_kernel(now=True)
    if failed: raise RuntimeError(failed[0])
    return json.loads(''.join(said).split('RESULT')[1].split('\n')[0])

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', type=int, default=150); p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--plain', action='store_true', help='the picture instead of the live plot'); p.add_argument('--save', action='store_true')
    a = p.parse_args()
    runs = {True: [], False: []}
    for i in range(a.repeats):
        for watched in ((True, False), (False, True))[i % 2]: runs[watched].append(measure(a.steps, watched, a.plain))
        print({k: v[-1] for k, v in runs.items()}, flush=True)
    median = {k: statistics.median(r['process'] for r in v) for k, v in runs.items()}
    shares = [100 * (r['process'] - r['training'] + r['listening']) / (r['training'] - r['listening']) for r in runs[True]]
    out = dict(**made_by(), live_plot=runs[True][0]['live'], steps=a.steps, seconds_without=round(median[False], 2), seconds_with=round(median[True], 2), ratio_percent=round(100 * (median[True] / median[False] - 1), 2),
               watching_percent=round(statistics.median(shares), 2), watching_percent_highest=round(max(shares), 2), draws=statistics.median(r['draws'] for r in runs[True]), runs=runs[True] + runs[False])
    print(json.dumps({k: v for k, v in out.items() if k != 'runs'}, indent=1))
    if a.save: (HERE / 'dashboard.json').write_text(json.dumps(out, indent=1) + '\n')

if __name__ == '__main__': main()
