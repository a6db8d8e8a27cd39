"""Is the mean of a skewed target a mean? R² of the mean and of the median, and the coverage of 90 % intervals, on seven kinds of targets.

    python benchmarks/skewed.py [--rows 300 2000 20000] [--seeds 100 101 102 103 104] [--kinds ...] [--csv skewed.csv]

One thread. Each table has three to eight normal columns, a smooth function of them (linear, with an interaction, or a sum of waves: the seed
decides), and a target drawn from it as `KINDS` says. The scores are those of 1,500 new rows. It prints a line for each table and a summary.
"""
import argparse
from itertools import product

import numpy as np
import pandas as pd

N_NEW = 1500

def _exponential(g, rng): return np.exp(rng.choice([0.7, 1., 1.5]) * g + rng.choice([0., 0.1, 0.3]) * rng.normal(size=len(g)))
def _log_normal(sigma, slopes): return lambda g, rng: np.exp(rng.choice(slopes) * g + sigma * rng.normal(size=len(g)))
def _pareto(g, rng): return np.exp(rng.choice([0.3, 0.6]) * g) * (1 + rng.pareto(rng.choice([1.5, 2., 3.]), len(g)))

def _counts(g, rng):
    mean, shape = np.exp(rng.choice([0.7, 1.]) * g - rng.choice([0, 1.])), rng.choice([0, 0.5, 2])
    return rng.poisson(mean * rng.gamma(shape, 1 / shape, len(g)) if shape else mean).astype(float)

def _amounts(g, rng):
    some = rng.random(len(g)) < 1 / (1 + np.exp(rng.choice([0, 1., 2.]) - g))
    return np.where(some, np.exp(3 + 0.5 * g + rng.choice([0.5, 1.]) * rng.normal(size=len(g))), 0)

def _wages(g, rng):
    few = rng.random(len(g)) < 0.02
    return 1e4 * np.exp(0.5 * g + 0.4 * rng.normal(size=len(g))) * np.where(few, 1 + 5 * rng.pareto(rng.choice([1.5, 2., 3.]), len(g)), 1)

KINDS = {'exponential': _exponential, 'log-normal 1': _log_normal(1., [0.4, 0.7, 1.]), 'log-normal 1.5': _log_normal(1.5, [0.4, 0.8, 1.]),
         'Pareto': _pareto, 'counts': _counts, 'amounts with zeros': _amounts, 'wages': _wages}

def skewed_table(kind, n, seed):
    "X (n, F) and y (n,) of one kind."
    rng = np.random.default_rng([seed, n, list(KINDS).index(kind)])
    f = int(rng.choice([3, 5, 8]))
    x = rng.normal(size=(n, f))
    if seed % 3 == 0: g = x @ rng.normal(size=f)
    elif seed % 3 == 1: g = np.sin(x[:, 0] + x[:, 1]) + x[:, 2] + 0.5 * x[:, min(3, f - 1)] * (x[:, 1] > 0)
    else: g = np.cos(x @ rng.normal(size=(f, 3)) + rng.uniform(0, 6, 3)).sum(1) + 0.5 * x[:, 0]
    return x, KINDS[kind]((g - g.mean()) / g.std(), rng)

def measure(kind, n, seed, model) -> dict:
    "The scores of one table."
    from sklearn.metrics import r2_score
    from tabtune import MitraRegressor
    x, y = skewed_table(kind, n + N_NEW, seed)
    out = MitraRegressor(model).fit(x[:n], y[:n]).predict(x[n:], output='full', coverage=0.9)
    low, high = out['interval'].T
    inside = ((low <= y[n:]) & (y[n:] <= high)).mean()
    return dict(kind=kind, rows=n, seed=seed, mean=r2_score(y[n:], out['mean']), median=r2_score(y[n:], out['median']), coverage=inside)

def summary(scores: pd.DataFrame) -> pd.DataFrame:
    "By kind and rows: R² on the average, the lowest of the mean, its smallest gain over the median, and the coverage."
    grouped = scores.assign(gain=scores['mean'] - scores['median']).groupby(['rows', 'kind'], sort=False)
    return grouped.agg(mean=('mean', 'mean'), median=('median', 'mean'), lowest=('mean', 'min'), smallest_gain=('gain', 'min'), coverage=('coverage', 'mean'))

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, nargs='+', default=[300, 2000, 20000]); parser.add_argument('--seeds', type=int, nargs='+', default=range(100, 105))
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=list(KINDS)); parser.add_argument('--csv')
    args = parser.parse_args()
    import torch
    from tabtune import load_checkpoint
    torch.set_num_threads(1)
    model, lines = load_checkpoint('medium-regression'), []
    for n, seed, kind in product(args.rows, args.seeds, args.kinds):
        lines.append(measure(kind, n, seed, model))
        print(lines[-1], flush=True)
        if args.csv: pd.DataFrame(lines).round(4).to_csv(args.csv, index=False)
    print(summary(pd.DataFrame(lines)).round(3).to_string())
