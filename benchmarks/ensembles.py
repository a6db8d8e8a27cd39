"""What more estimators bring, and what they cost: log loss and seconds on synthetic tables kept aside.

    python benchmarks/ensembles.py [--pretrained medium] [--tables 3] [--sizes 1 2 4 8] [--out benchmarks/ensembles.csv]
"""
import argparse, time, warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tabtune.classifier import MitraClassifier
from tabtune.pretrain import validation_set

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--pretrained', default='medium')
    ap.add_argument('--tables', type=int, default=3, help='per prior and size')
    ap.add_argument('--sizes', type=int, nargs='+', default=[1, 2, 4, 8])
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    rows = []
    for prior, ep in validation_set(seed=20_000, tables_each=a.tables):  # other tables than those of the training's validation
        for i in range(len(ep)):
            keep = ep.y_query[i] >= 0
            X, y, Q, z = (t.numpy() for t in (ep.x_support[i], ep.y_support[i], ep.x_query[i][keep], ep.y_query[i][keep]))
            for n in a.sizes:
                start = time.process_time()
                clf = MitraClassifier(a.pretrained, n_estimators=n).fit(X, y)
                p = clf.predict_proba(Q)
                seconds, seen = time.process_time() - start, np.isin(z, clf.classes_)
                at = np.searchsorted(clf.classes_, z[seen])
                rows.append(dict(prior=prior, rows=len(X), n_estimators=n, loss=-np.log(p[seen, at].clip(1e-6)).mean(), seconds=seconds))
    d = pd.DataFrame(rows)
    base = d[d.n_estimators == a.sizes[0]].loss.to_numpy()
    table = d.groupby('n_estimators').agg(loss=('loss', 'mean'), seconds=('seconds', 'median'), tables=('loss', 'size'))
    gain = {n: base - d[d.n_estimators == n].loss.to_numpy() for n in a.sizes}
    table['gain'] = [gain[n].mean() for n in table.index]
    table['gain_error'] = [gain[n].std(ddof=1) / len(base) ** .5 for n in table.index]
    table.round(4).to_csv(a.out)
    print(table.round(4))

if __name__ == '__main__': main()
