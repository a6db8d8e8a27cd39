"""How long things take, and how much memory they want, for each bundled checkpoint. Writes benchmarks/speed.json, which the documentation shows.

    python benchmarks/speed.py [--rows 1000] [--columns 20] [--device cuda] [--threads 2] [--names medium]

One thread, and processor time instead of the clock's, so that other work on the machine does not count. With more threads the clock, on a machine
that does nothing else, into benchmarks/speed_threads.json; on a GPU the clock, and the card's memory, into benchmarks/speed_cuda.json; tuning on 100,000 rows there: `python benchmarks/tuning.py speed --strategies base-ft peft`.
"""
import argparse, json, resource, time
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from machine import made_by

STEPS = 10

def timed(f, device='cpu'):
    import torch
    clock = time.process_time if device == 'cpu' and torch.get_num_threads() == 1 else time.perf_counter
    wait = torch.cuda.synchronize if device != 'cpu' else lambda: None
    wait()
    start = clock()
    out = f()
    wait()
    return clock() - start, out

def peak(device):
    "MiB: of the process, or of the card."
    import torch
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if device == 'cpu' else torch.cuda.max_memory_allocated() / 2 ** 20

def measure(args):
    "All numbers of one checkpoint, in a process of its own."
    name, rows, columns, device, threads = args
    import torch
    from tabtune import TabularPipeline
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * rows, columns))
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
    here = dict(device=device, show_progress=False)
    make = lambda: TabularPipeline(model_params=dict(pretrained=name), tuning_params=here)
    make().fit(X[:50], y[:50]).predict_proba(X[:50])
    cold = np.median([timed(lambda: make().fit(X[:rows], y[:rows]).predict_proba(X[rows:]), device)[0] for _ in range(5)])
    pipe = make()
    fit, _ = timed(lambda: pipe.fit(X[:rows], y[:rows]), device)
    first, _ = timed(lambda: pipe.predict_proba(X[rows:rows + 1]), device)
    one = np.median([timed(lambda: pipe.predict_proba(X[rows:rows + 1]), device)[0] for _ in range(20)])
    many = np.median([timed(lambda: pipe.predict_proba(X[rows:]), device)[0] for _ in range(5)])
    peak_predict = peak(device)
    quick = here | dict(epochs=1, steps_per_epoch=STEPS, batch_size=4, support_size=128, query_size=128)
    tuned = TabularPipeline(tuning_strategy='base-ft', model_params=dict(pretrained=name), tuning_params=quick)
    tune, _ = timed(lambda: tuned.fit(X[:rows], y[:rows]), device)
    return dict(cold=float(cold), fit=fit, first=first, one=float(one), many=float(many), step=(tune - fit) / STEPS, peak_predict=peak_predict, peak_tune=peak(device))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, default=1000)
    parser.add_argument('--columns', type=int, default=20)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--names', nargs='*', help='checkpoints; left out: all')
    a = parser.parse_args()
    from tabtune.model.checkpoints import bundled
    names = a.names or [n for n in bundled() if 'regression' not in n]
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        found = dict(zip(names, pool.map(measure, [(n, a.rows, a.columns, a.device, a.threads) for n in names], chunksize=1)))
    out = dict(rows=a.rows, columns=a.columns, threads=a.threads, **made_by(), torch=metadata.version('torch'), results=found)
    kind = '_cuda' if a.device != 'cpu' else '_threads' if a.threads > 1 else ''
    Path(__file__).with_name(f'speed{kind}.json').write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')
    for name, r in found.items(): print(name, {k: round(v, 4) for k, v in r.items()})

if __name__ == '__main__': main()
