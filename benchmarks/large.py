"""A large table: how long, and how much memory, with the default model.

    python benchmarks/large.py [--rows 100000] [--queries 100000] [--columns 20] [--max-support 2000] [--strategy sample]

Prints what the process holds when the table is there, after `fit`, after each tenth of the prediction (sampled from a second thread),
and the peak. Half of the columns are numbers, the others categories, with holes.
"""
import argparse, json, resource, threading, time

import numpy as np
import pandas as pd
import psutil

def table(n, columns, seed):
    "Numbers and categories with holes, and labels that depend on some of them."
    r = np.random.default_rng(seed)
    X = pd.DataFrame({f'n{i}': r.normal(size=n) for i in range(columns - columns // 2)}
                     | {f'c{i}': pd.Categorical.from_codes(r.integers(0, 8, n), list('abcdefgh')) for i in range(columns // 2)})
    y = np.where(X.n0 + 0.5 * X.iloc[:, -1].isin(['a', 'b', 'c']) + 0.3 * r.normal(size=n) > 0.2, 'yes', 'no')
    X.loc[r.random(n) < 0.05, 'n0'] = np.nan
    return X, y

def mb(): return psutil.Process().memory_info().rss // 2 ** 20

class Sampler(threading.Thread):
    "Memory of this process, twice a second."
    def __init__(self): super().__init__(daemon=True); self.seen, self.stop = [], threading.Event()
    def run(self):
        while not self.stop.wait(0.5): self.seen.append(mb())

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (('rows', 100_000), ('queries', 100_000), ('columns', 20), ('max-support', None)): parser.add_argument(f'--{name}', type=int, default=value)
    parser.add_argument('--strategy', default='sample')
    a = parser.parse_args()
    from tabtune import TabularPipeline
    X, y = table(a.rows, a.columns, 0)
    Q, truth = table(a.queries, a.columns, 1)
    out, start, cpu = dict(table=mb()), time.perf_counter(), time.process_time()
    pipe = TabularPipeline(model_params=dict(max_support=a.max_support, support_strategy=a.strategy), tuning_params=dict(device='cpu')).fit(X, y)
    out |= dict(fitted=mb(), fit_seconds=round(time.perf_counter() - start, 1), context=pipe.describe()['support_rows'])
    sampler, start = Sampler(), time.perf_counter()
    sampler.start()
    p = pipe.predict_proba(Q)
    sampler.stop.set()
    at = [sampler.seen[i] for i in np.linspace(0, len(sampler.seen) - 1, 11).astype(int)] if sampler.seen else []
    out |= dict(predict_seconds=round(time.perf_counter() - start, 1), cpu_seconds=round(time.process_time() - cpu, 1), predicting=at,
                peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, accuracy=round(float((pipe.classes_[p.argmax(1)] == truth).mean()), 4))
    print(json.dumps(out))

if __name__ == '__main__': main()
