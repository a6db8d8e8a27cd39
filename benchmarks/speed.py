"""How long things take, and how much memory they want, for each bundled checkpoint. Writes benchmarks/speed.json, which the documentation shows.

    python benchmarks/speed.py [--rows 1000] [--columns 10]

One thread, and processor time instead of the clock's, so that other work on the machine does not count.
"""
import argparse, json, platform, resource, time
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import numpy as np

STEPS = 10

def timed(f):
    start = time.process_time()
    out = f()
    return time.process_time() - start, out

def measure(args):
    "All numbers of one checkpoint, in a process of its own."
    name, rows, columns = args
    import torch
    from tabtune import TabularPipeline
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * rows, columns))
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
    pipe = TabularPipeline(model_params=dict(pretrained=name))
    fit, _ = timed(lambda: pipe.fit(X[:rows], y[:rows]))
    first, _ = timed(lambda: pipe.predict_proba(X[rows:rows + 1]))
    one = np.median([timed(lambda: pipe.predict_proba(X[rows:rows + 1]))[0] for _ in range(20)])
    many, _ = timed(lambda: pipe.predict_proba(X[rows:]))
    peak_predict = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    quick = dict(epochs=1, steps_per_epoch=STEPS, show_progress=False, batch_size=4, support_size=128, query_size=128)
    tuned = TabularPipeline(tuning_strategy='base-ft', model_params=dict(pretrained=name), tuning_params=quick)
    tune, _ = timed(lambda: tuned.fit(X[:rows], y[:rows]))
    return dict(fit=fit, first=first, one=float(one), many=many, step=(tune - fit) / STEPS,
                peak_predict=peak_predict, peak_tune=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, default=1000)
    parser.add_argument('--columns', type=int, default=10)
    a = parser.parse_args()
    from tabtune.checkpoints import bundled
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        found = dict(zip(bundled(), pool.map(measure, [(n, a.rows, a.columns) for n in bundled()], chunksize=1)))
    out = dict(rows=a.rows, columns=a.columns, processor=platform.machine(), torch=metadata.version('torch'), results=found)
    Path(__file__).with_name('speed.json').write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')
    for name, r in found.items(): print(name, {k: round(v, 4) for k, v in r.items()})

if __name__ == '__main__': main()
