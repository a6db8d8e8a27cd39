"""How time and memory grow with support rows, query rows and columns. Writes benchmarks/scale.csv, which the documentation draws.

    python benchmarks/scale.py [--most 1000000]

One thread, processor time; each line in a process of its own. `first` is fit and the first prediction, `later` a prediction by the same context,
`peak` the memory of the process beyond what it held before, in MiB. Support rows and columns with `medium`, 1,000 queries; queries with `small`, 5 columns.
"""
import argparse, resource, time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

MIDDLE = dict(support=1000, queries=1000, columns=10)
AXES = dict(columns=('medium', (5, 20, 100, 500), {}), support=('medium', (1000, 10_000, 100_000), {}),
            queries=('small', (1000, 10_000, 100_000, 1_000_000), dict(columns=5)))

def measure(args):
    "One line, in a process of its own."
    axis, name, size = args
    import torch
    from tabtune import MitraClassifier
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(size['support'], size['columns']))
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
    Q = rng.normal(size=(size['queries'], size['columns']))
    MitraClassifier(name).fit(X[:20], y[:20]).predict_proba(X[:20])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    est = MitraClassifier(name).fit(X, y)
    est.predict_proba(Q[:1000])
    first, start = time.process_time() - start, time.process_time()
    est.predict_proba(Q)
    return dict(axis=axis, checkpoint=name, **size, used=len(est.member_rows_[0]), first=round(first, 3), later=round(time.process_time() - start, 3),
                peak=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--most', type=int, default=1_000_000, help='leave out larger sizes')
    a, lines = parser.parse_args(), []
    todo = [(axis, name, MIDDLE | fixed | {axis: n}) for axis, (name, sizes, fixed) in AXES.items() for n in sizes if n <= a.most]
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for line in pool.imap(measure, todo, chunksize=1):
            lines.append(line)
            print(line, flush=True)
            pd.DataFrame(lines).to_csv(Path(__file__).with_name('scale.csv'), index=False)

if __name__ == '__main__': main()
