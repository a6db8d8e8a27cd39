"""What each part of the second generation of priors brings, evaluated on tables of generators that it does not contain.

    python benchmarks/priors.py --steps 120 --seeds 0 1 [--only old all] [--out benchmarks/priors.csv]

Each run continues the bundled `small` for the same steps of the same cells, on tables of one mixture. It is then evaluated through
`MitraClassifier`, so with the table encoder, on scikit-learn's generators, Friedman's functions, Breiman's waveforms, the digits
of a faulty display, the MONK rules, and levels of categories: 300 rows to learn from, 400 to predict. Runs that are in the table
already are not run again. `--evaluate NAME_OR_DIRECTORY ...` only evaluates checkpoints, and prints the log loss by generator.
"""
import argparse, tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn import datasets
from sklearn.metrics import log_loss, roc_auc_score

from tabtune import MitraClassifier
from tabtune.core.config import MitraConfig
from tabtune.model.checkpoints import load_checkpoint
from tabtune.training.loop import LoopSettings
from tabtune.training.pretrain import Pretraining
from tabtune.training.priors import default_mixture, second_mixture, second_traits

N, TRAIN = 700, 300

def _cut(y, k): return np.searchsorted(np.quantile(y, np.arange(1, k) / k), y)

def _wide(x, y, rng, more):
    "The same with columns of noise."
    return np.c_[x, rng.normal(size=(len(x), more))], y

def _waveform(rng):
    h = np.array([np.maximum(6 - abs(np.arange(21) - c), 0) for c in (6, 14, 10)])
    y, u = rng.integers(3, size=N), rng.uniform(size=(N, 1))
    a, b = np.array([(0, 1), (0, 2), (1, 2)])[y].T
    return u * h[a] + (1 - u) * h[b] + rng.normal(size=(N, 21)), y

def _display(rng):
    on = np.array([list(s) for s in '1110111 0010010 1011101 1011011 0111010 1101011 1101111 1010010 1111111 1111011'.split()], dtype=int)
    y = rng.integers(10, size=N)
    return pd.DataFrame(on[y] ^ (rng.uniform(size=(N, 7)) < .1)).astype(str).add_prefix('led'), y

def _monk(rng, rule):
    x = np.stack([rng.integers(1, k + 1, size=N) for k in (3, 3, 2, 3, 4, 2)], 1)
    y = [(x[:, 0] == x[:, 1]) | (x[:, 4] == 1), (x == 1).sum(1) == 2, ((x[:, 4] == 3) & (x[:, 3] == 1)) | ((x[:, 4] != 4) & (x[:, 1] != 3))][rule]
    return pd.DataFrame(x, columns=list('abcdef')).map(lambda v: f'v{v}'), (y ^ (rng.uniform(size=N) < .03)).astype(int)

def _levels(rng, k, power):
    p = np.arange(1, k + 1.) ** -power
    code, x = rng.choice(k, size=(N, 2), p=p / p.sum()), rng.normal(size=(N, 4))
    score = rng.gumbel(size=k)[code[:, 0]] + .6 * rng.normal(size=k)[code[:, 1]] + x[:, 0] - .7 * abs(x[:, 1])
    y = (score - np.median(score) + rng.logistic(size=N) * .7 > 0).astype(int)
    names = rng.permutation([f'level {i:04}' for i in range(k)])
    return pd.DataFrame(x, columns=list('wxyz')).assign(first=names[code[:, 0]], second=names[code[:, 1]]), y

def _parity(rng):
    x = rng.integers(2, size=(N, 6))
    return x + .3 * rng.normal(size=x.shape), x[:, 0] ^ x[:, 3]

def _sk(make, *args, k=None, **kw):
    def draw(rng):
        x, y = make(*args, random_state=int(rng.integers(2 ** 31)), **kw)
        return x, y if k is None else _cut(y, k)
    return draw

C = datasets.make_classification
GENERATORS = {  # name -> (kind, function of a numpy generator)
    'blobs in cubes, 2': ('smooth', _sk(C, N, 20, n_informative=4, flip_y=.05)),
    'blobs in cubes, 5': ('smooth', _sk(C, N, 12, n_informative=6, n_classes=5, flip_y=.02)),
    'blobs in cubes, rare': ('smooth', _sk(C, N, 15, n_informative=5, weights=[.95], flip_y=.01)),
    'blobs in cubes, 50 columns': ('smooth', _sk(C, N, 50, n_informative=5, n_redundant=5, flip_y=.1)),
    'gaussian quantiles': ('smooth', _sk(datasets.make_gaussian_quantiles, n_samples=N, n_features=5, n_classes=4)),
    'hastie': ('smooth', _sk(datasets.make_hastie_10_2, N)),
    'moons': ('smooth', lambda rng: _wide(*_sk(datasets.make_moons, N, noise=.35)(rng), rng, 4)),
    'circles': ('smooth', lambda rng: _wide(*_sk(datasets.make_circles, N, noise=.15, factor=.6)(rng), rng, 4)),
    'friedman 1': ('smooth', _sk(datasets.make_friedman1, N, 12, noise=1., k=3)),
    'friedman 2': ('smooth', _sk(datasets.make_friedman2, N, noise=80., k=2)),
    'friedman 3': ('smooth', _sk(datasets.make_friedman3, N, noise=.1, k=3)),
    'waveform': ('smooth', _waveform), 'display': ('rules', _display), 'parity': ('rules', _parity),
    'monk 1': ('rules', lambda rng: _monk(rng, 0)), 'monk 2': ('rules', lambda rng: _monk(rng, 1)), 'monk 3': ('rules', lambda rng: _monk(rng, 2)),
    '12 levels': ('levels', lambda rng: _levels(rng, 12, 0.)), '60 levels': ('levels', lambda rng: _levels(rng, 60, .5)),
    '300 levels': ('levels', lambda rng: _levels(rng, 300, 1.))}

def evaluate(checkpoint, seeds=(0, 1)) -> pd.DataFrame:
    "Log loss and AUC of a checkpoint on each generator."
    rows = []
    for name, (kind, draw) in GENERATORS.items():
        for seed in seeds:
            x, y = draw(np.random.default_rng([seed, *name.encode()]))
            x, y = pd.DataFrame(x), np.unique(y, return_inverse=True)[1]
            clf = MitraClassifier(str(checkpoint), random_state=0).fit(x[:TRAIN], y[:TRAIN])
            p, test = clf.predict_proba(x[TRAIN:]), y[TRAIN:]
            auc = roc_auc_score(test, p[:, 1] if p.shape[1] == 2 else p, multi_class='ovr')
            rows.append(dict(kind=kind, generator=name, table=seed, logloss=log_loss(test, p, labels=clf.classes_), auc=auc))
    return pd.DataFrame(rows)

PARTS = ['categories', 'graph', 'rules']
OLD, NEW = default_mixture(), second_mixture()
part = lambda *names: dict(mixture=OLD | {n: NEW[n] * 1.5 for n in names})
VARIANTS = {'start': None, 'old': dict(mixture=OLD), **{f'+ {n}': part(n) for n in PARTS}, '+ all three': part(*PARTS),
            'all': dict(mixture=NEW, traits=second_traits(), many_classes=.03)}

def one(name: str, seed: int, steps: int) -> pd.DataFrame:
    "Continue `small` on one mixture, and evaluate it."
    if VARIANTS[name] is None: return evaluate('small')
    config = load_checkpoint('small').config
    with tempfile.TemporaryDirectory() as out:
        settings = LoopSettings(n_steps=steps, learning_rate=1e-3, warmup_steps=20, bf16=True)
        run = Pretraining(MitraConfig(**vars(config) | dict(dropout=0.)), out, settings, seed, quiet=True, init='small', cells=12_000, min_support=32,
                          late=.8, save_every=1e9, **VARIANTS[name])
        run.trainer.callbacks = []
        run.trainer.run()
        run.save()
        return evaluate(out)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--steps', type=int, default=120)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    ap.add_argument('--only', nargs='+', help='variants, by name')
    ap.add_argument('--evaluate', nargs='+', help='checkpoints to evaluate instead')
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(1)
    if a.evaluate:
        found = {c: evaluate(c).groupby(['kind', 'generator']).logloss.mean() for c in a.evaluate}
        print(pd.DataFrame(found).round(4).to_string(), pd.DataFrame(found).groupby('kind').mean().round(4), pd.DataFrame(found).mean().round(4), sep='\n')
        return
    done = pd.read_csv(a.out) if a.out.exists() else pd.DataFrame(columns=['variant', 'seed'])
    for seed in a.seeds:
        for name in a.only or VARIANTS:
            if ((done.variant == name) & (done.seed == seed)).any(): continue
            row = one(name, seed, a.steps).assign(variant=name, seed=seed, steps=a.steps).round(4)
            done = pd.concat([done, row], ignore_index=True)
            done.to_csv(a.out, index=False)
            print(f'{name:14} seed {seed}', row.groupby('kind').logloss.mean().round(4).to_dict(), round(row.logloss.mean(), 4), flush=True)

if __name__ == '__main__': main()
