"""What more members bring, and what they cost: log loss and seconds on synthetic tables kept aside.

    python benchmarks/ensembles.py [--pretrained medium] [--tables 3] [--sizes 1 2 4 8] [--transforms none rank asinh] [--out benchmarks/ensembles.csv]

The members of an ensemble differ in the codes of the classes and in which columns are mirrored. `--transforms` also tries a
transform of the values in every second member: ranks within the support, or an asinh-compressed distance from the median.
"""
import argparse, time, warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tabtune.estimators import base
from tabtune import MitraClassifier
from tabtune.training.pretrain import validation_set

def rank(support, x):
    "Mid-ranks within the support, -1 to 1."
    out = np.full(x.shape, np.nan)
    for j, column in enumerate(np.asarray(support).T):
        s, present = np.sort(column[~np.isnan(column)]), ~np.isnan(x[:, j])
        below, upto = (np.searchsorted(s, x[present, j], side=side) for side in ('left', 'right'))
        out[present, j] = (below + upto) / max(1, len(s)) - 1
    return out

def asinh(support, x):
    "Distance from the median in units of the median distance, compressed by asinh."
    middle = np.nanmedian(support, 0)
    width = np.nanmedian(np.abs(support - middle), 0)
    return np.arcsinh(3 * (x - middle) / np.where(width > 0, width, 1))

TRANSFORMS = dict(none=None, rank=rank, asinh=asinh)

def transforming_member(transform):
    "A `Member` class whose odd members get transformed values."
    class Transforming(base.Member):
        def __init__(self, i, rows, *args): super().__init__(i, rows, *args); self.transform = transform if i % 2 else None
        def x(self, X):
            x = X[:, self.columns].astype(np.float64)
            if self.transform: x = self.transform(Transforming.table[self.rows][:, self.columns].astype(np.float64), x)
            return (x * self.sign).astype(np.float32)
    return Transforming

def predict_queries(pretrained, n, transform, X, y, Q):
    "Classes, probabilities and seconds."
    plain, start = base.Member, time.process_time()
    if transform: base.Member = transforming_member(transform)
    try:
        clf = MitraClassifier(pretrained, n_estimators=n).fit(X, y)
        base.Member.table = clf.x_support_
        return clf.classes_, clf.predict_proba(Q), time.process_time() - start
    finally: base.Member = plain

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--pretrained', default='medium')
    ap.add_argument('--tables', type=int, default=3, help='per prior and size')
    ap.add_argument('--sizes', type=int, nargs='+', default=[1, 2, 4, 8])
    ap.add_argument('--transforms', nargs='+', default=['none'], choices=TRANSFORMS)
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    rows = []
    for prior, ep in validation_set(seed=20_000, tables_each=a.tables):  # other tables than those of the training's validation
        for i in range(len(ep)):
            keep = ep.y_query[i] >= 0
            X, y, Q, z = (t.numpy() for t in (ep.x_support[i], ep.y_support[i], ep.x_query[i][keep], ep.y_query[i][keep]))
            for transform in a.transforms:
                for n in a.sizes:
                    classes, p, seconds = predict_queries(a.pretrained, n, TRANSFORMS[transform], X, y, Q)
                    known = np.isin(z, classes)
                    loss = -np.log(p[known, np.searchsorted(classes, z[known])].clip(1e-6)).mean()
                    rows.append(dict(transform=transform, n_estimators=n, loss=loss, seconds=seconds))
    d = pd.DataFrame(rows)
    first = d[(d['transform'] == a.transforms[0]) & (d.n_estimators == a.sizes[0])].loss.to_numpy()
    gains = {key: first - part.loss.to_numpy() for key, part in d.groupby(['transform', 'n_estimators'])}
    table = d.groupby(['transform', 'n_estimators'], sort=False).agg(loss=('loss', 'mean'), seconds=('seconds', 'median'), tables=('loss', 'size'))
    table['gain'] = [gains[key].mean() for key in table.index]
    table['gain_error'] = [gains[key].std(ddof=1) / len(first) ** .5 for key in table.index]
    table.round(4).to_csv(a.out)
    print(table.round(4))

if __name__ == '__main__': main()
