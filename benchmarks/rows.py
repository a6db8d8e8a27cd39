"""Does every further row help? Score against rows of the table, with the default settings and without experts beside Mitra.

    python benchmarks/rows.py [--sizes 1000 3000 10000 30000] [--kinds steps levels skewed] [--plot rows.png]
    python benchmarks/rows.py --files adult.csv wages.csv --targets income wage --csv mine.csv
    python benchmarks/rows.py --checkpoints OLD NEW --kinds steps levels --sizes 1000 10000 100000 --settings experts=None --csv mine.csv

One thread; each line in a process of its own. Without --files the tables are drawn from a generator, see `long_table`; of a file 2,000 rows at
random are held out, and sizes beyond the rest are left out. A smaller table is the beginning of a larger one. Scores are AUC (more than two
classes: one against the rest) and log loss, or R² and its share of the variance that is left. `fit` and `predict` are seconds of processor time.
"""
import argparse, time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

KINDS = ('steps', 'levels', 'skewed')
SETTINGS = {'default': {}, 'experts=None': dict(experts=None)}
N_QUERIES = 2000

def _steps(rng, x, n_trees=40, depth=5):
    "A sum of random trees over some columns: detail that only many rows show."
    total = np.zeros(len(x))
    for _ in range(n_trees):
        code = np.zeros(len(x), dtype=int)
        for _ in range(depth): code = 2 * code + (x[:, rng.integers(x.shape[1])] > rng.normal() * .7)
        total += rng.normal(size=2 ** depth)[code]
    return total / np.sqrt(n_trees)

def long_table(kind, n, seed=0):
    """A table of n rows: (X, y). Its rule depends on the seed alone, so that the first rows are the same at every size.

    `steps`: ten numbers, a smooth part and a sum of random trees. `levels`: numbers, and columns of 20, 100 and 400 levels that each have an
    effect. `skewed`: a wage, exp of a smooth function with noise."""
    rule, x = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]).normal(size=(n, 10))
    noise = np.random.default_rng([seed, 2])
    X = pd.DataFrame(x, columns=[f'n{i}' for i in range(10)])
    smooth = np.sin(1.5 * x[:, 0]) + x[:, 1] * x[:, 2] + .5 * x[:, 3]
    if kind == 'levels':
        X, total = X.iloc[:, :5].copy(), .7 * smooth
        for levels in (20, 100, 400):
            code = np.random.default_rng([seed, levels]).integers(levels, size=n)
            X[f'level_of_{levels}'], total = [f'v{c}' for c in code], total + rule.normal(size=levels)[code]
    else: total = smooth + _steps(rule, x[:, 2:8])
    if kind == 'skewed': return X, np.exp(.6 * total + .5 * noise.normal(size=n))
    return X, np.where(1.5 * total + noise.logistic(size=n) > 0, 'yes', 'no')

def read_file(path, target):
    "A table from a csv file; its last column is the target unless one is named."
    from tabtune.data.reading_files import read_table
    df = read_table(path)
    y = df.pop(target or df.columns[-1])
    return df, y

def data(source, size, seed):
    "Training rows and held-out ones, or None where a file has too few."
    if isinstance(source, str):
        X, y = long_table(source, size + N_QUERIES, seed)
        return X.iloc[N_QUERIES:], y[N_QUERIES:], X.iloc[:N_QUERIES], y[:N_QUERIES]
    X, y = read_file(*source)
    order = np.random.default_rng(seed).permutation(len(X))
    if len(X) < size + N_QUERIES: return None
    new, old = order[:N_QUERIES], order[N_QUERIES:N_QUERIES + size]
    return X.iloc[old], y.iloc[old], X.iloc[new], y.iloc[new]

def scores(est, X, y):
    "AUC and log loss, or R² and the share of the variance that is left."
    from tabtune.metrics import classification_metrics, regression_metrics
    if not hasattr(est, 'classes_'):
        r2 = regression_metrics(y, est.predict(X))['r2']
        return dict(score=round(r2, 4), loss=round(1 - r2, 4))
    m = classification_metrics(y, est.predict_proba(X), est.classes_)
    return dict(score=round(m['roc_auc_score'], 4), loss=round(m['log_loss'], 4))

def measure(args):
    "One line, in a process of its own."
    source, size, setting, seed, device, checkpoint = args
    import torch
    from tabtune import MitraClassifier, MitraRegressor
    torch.set_num_threads(1)
    if (rows := data(source, size, seed)) is None: return None
    X, y, Q, truth = rows
    numbers = pd.api.types.is_float_dtype(np.asarray(y)) or len(np.unique(np.asarray(y))) > 200
    start = time.process_time()
    weights = dict(pretrained=checkpoint) if checkpoint else {}
    est = (MitraRegressor if numbers else MitraClassifier)(device=device, **weights, **SETTINGS[setting]).fit(X, y)
    fit, start = time.process_time() - start, time.process_time()
    found = scores(est, Q, truth)
    blend = est.blend_
    weights = '' if blend is None else ' '.join(f'{n}:{w:.2f}' for n, w in zip(['mitra', *blend.experts], blend.weights))
    named = dict(checkpoint=Path(checkpoint).name) if checkpoint else {}
    return dict(**named, table=source if isinstance(source, str) else Path(source[0]).stem, rows=size, setting=setting, seed=seed, **found, weights=weights,
                fit=round(fit, 1), predict=round(time.process_time() - start, 1))

def plot(lines, path):
    "One panel for each table: score against rows."
    import matplotlib.pyplot as plt
    tables, curves = list(dict.fromkeys(lines.table)), [c for c in ('setting', 'checkpoint') if c in lines]
    fig, axs = plt.subplots(1, len(tables), figsize=(3.6 * len(tables), 2.8), squeeze=False)
    for name, ax in zip(tables, axs[0]):
        for setting, part in lines[lines.table == name].groupby(curves, sort=False):
            mean = part.groupby('rows').score.mean()
            ax.semilogx(mean.index, mean, 'o-', label=' '.join(setting))
        ax.set(title=name, xlabel='rows'); ax.legend(fontsize=8)
    fig.tight_layout(); fig.savefig(path, dpi=120)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', default=[1000, 3000, 10_000, 30_000])
    parser.add_argument('--kinds', nargs='*', default=list(KINDS), choices=KINDS)
    parser.add_argument('--files', nargs='*', default=[], help='csv files, instead of the generator')
    parser.add_argument('--targets', nargs='*', default=[], help='their columns to predict; the last one where none is named')
    parser.add_argument('--settings', nargs='+', default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--checkpoints', nargs='+', default=[None], help='to compare: bundled names or directories; else the default weights')
    parser.add_argument('--plot', help='a picture of the curves')
    parser.add_argument('--csv', default=Path(__file__).with_name('rows.csv'))
    a, lines = parser.parse_args(), []
    sources = list(zip(a.files, [*a.targets, *[None] * len(a.files)])) if a.files else a.kinds
    todo = [(s, n, setting, seed, a.device, c) for n in sorted(a.sizes) for s in sources for setting in a.settings for seed in range(a.seeds) for c in a.checkpoints]
    with get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for line in pool.imap(measure, todo, chunksize=1):
            if line is None: continue
            lines.append(line)
            print(line, flush=True)
            pd.DataFrame(lines).to_csv(a.csv, index=False)
    table = pd.DataFrame(lines)
    print(table.pivot_table(index=[c for c in ('table', 'setting', 'checkpoint') if c in table], columns='rows', values='score', sort=False).to_string())
    if a.plot: plot(table, a.plot)

if __name__ == '__main__': main()
