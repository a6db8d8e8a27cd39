"""Did something get slower? Compares a handful of timings with the committed ones in benchmarks/quick.json. Half a minute; `make bench-quick` runs it.

    python benchmarks/quick.py            # says what got slower than 1.4 times, and ends with 1
    python benchmarks/quick.py --write    # these are the new figures to compare with

Each time is a multiple of a reference workload, a fixed piece of PyTorch, NumPy and Python work that is timed in turn with it, so that figures of one machine mean
something on the next. One thread, processor time, medians. On another kind of processor write the figures anew before you compare.
"""
import argparse, json, statistics, sys, time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from machine import made_by

LIMIT = 1.4
PLACE = Path(__file__).with_name('quick.json')

def reference_workload():
    "A fixed piece of work, none of it ours."
    x = torch.linspace(-1, 1, 2 ** 19).view(1024, 512)
    for _ in range(4): y = torch.nn.functional.gelu(x @ x.T).softmax(-1)
    return float(y.sum()) + sum(i * i for i in range(30_000)) + float(np.sort(np.sin(np.arange(200_000.))).sum())

def timed(f):
    start = time.process_time()
    f()
    return time.process_time() - start

def table(rows, columns):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns))
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)

def works():
    "Name -> what is timed."
    from tabtune import MitraClassifier, MitraRegressor, TabularPipeline
    from tabtune.data.encode import TableEncoder
    from tabtune.model.experts import KernelExperts
    X, y = table(2000, 20)
    cold = lambda: TabularPipeline().fit(X[:1000], y[:1000]).predict_proba(X[1000:])
    est = MitraClassifier('medium').fit(X[:1000], y[:1000])
    number = MitraRegressor().fit(X[:300, :8], X[:300, 0])
    mixed = pd.DataFrame(X[:, :6]).assign(town=np.array(['Ulm', 'Bonn', 'Trier'])[y], day=pd.date_range('2024-01-01', periods=len(X), freq='h')).set_axis([f'c{i}' for i in range(8)], axis=1)
    encoder = TableEncoder().fit(mixed)
    v = torch.randn(14, 90, 6, generator=torch.Generator().manual_seed(0))
    x, c = torch.stack([v.asinh(), 2 * v.argsort(1).argsort(1) / 90 - 1, torch.zeros_like(v)], -1), (v[..., 0] > 0).long()
    experts = KernelExperts(est.model_.config)
    def step():
        logits = est.model_(v[:4], c[:4], v[:4])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), c[:4].flatten()).backward()
    return {'fit and predict, 1,000 + 1,000 rows x 20 columns': cold, 'the next 1,000 rows': lambda: est.predict_proba(X[1000:]),
            'one row, 20 times': lambda: [est.predict_proba(X[1000:1001]) for _ in range(20)],
            'a regression, 300 + 300 rows': lambda: number.predict(X[300:600, :8]), 'encoding 2,000 rows of a mixed table': lambda: encoder.transform(mixed),
            'experts of 14 small tables': lambda: experts.fit(x, c), 'forward and backward, 4 tables of 90 + 90 rows': step}

def measured(repeats):
    "Name -> multiple of the reference workload's time."
    todo, out = works(), {}
    for name, f in todo.items():
        f(), reference_workload()
        both = [(timed(f), timed(reference_workload)) for _ in range(repeats)]
        out[name] = round(statistics.median(a / b for a, b in both), 3)
    return out

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--repeats', type=int, default=7)
    a = parser.parse_args()
    torch.set_num_threads(1)
    now = measured(a.repeats)
    if a.write: PLACE.write_text(json.dumps(made_by() | dict(results=now), indent=1) + '\n', encoding='utf-8')
    then, slower = json.loads(PLACE.read_text(encoding='utf-8'))['results'], []
    for name, ratio in now.items():
        change = ratio / then.get(name, ratio)
        if change > LIMIT: slower.append(name)
        print(f'{name:50s} {ratio:8.3f} times the reference workload, committed {then.get(name, float("nan")):8.3f}: {change:.2f} times' + (', SLOWER' if change > LIMIT else ''))
    print(f'slower than {LIMIT} times: ' + '; '.join(slower) if slower else 'nothing got slower')
    sys.exit(bool(slower))

if __name__ == '__main__': main()
