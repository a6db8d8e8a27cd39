"""Do nearest neighbours in the embedding beat those among the raw columns? Fifteen neighbours each, on a suite of real tables.

    python benchmarks/embeddings.py SUITE [--seeds 0] [--rows 500] [--csv benchmarks/embeddings.csv]

The suite is a folder with `splits.py` (see score.py); it is for looking, never for training. Raw columns are scaled, words
are one column per level, holes are filled and marked.
"""
import argparse, sys, warnings
from pathlib import Path

import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from tabtune import MitraClassifier
from tabtune.estimators.metrics import classification_metrics
from tabtune.estimators.registry import make_model

def scores(model, X, y, X_test, y_test, who) -> dict:
    "AUC and log loss of a classifier, its probabilities kept away from 0."
    p = model.fit(X, y).predict_proba(X_test) + .01
    m = classification_metrics(y_test, p / p.sum(1, keepdims=True), model.classes_)
    return {f'auc_{who}': m['roc_auc_score'], f'logloss_{who}': m['log_loss']}

def contest(split, n_rows: int, checkpoint: str) -> dict:
    "Both kinds of neighbours on one split of one table."
    X, y, X_test, y_test = (t.iloc[:n_rows] for t in (split.X_train, split.y_train, split.X_test, split.y_test))
    clf = MitraClassifier(checkpoint, random_state=split.seed).fit(X, y)
    raw = scores(make_model('KNeighbors', 'classification', dict(n_neighbors=15)), X, y, X_test, y_test, 'raw')
    return raw | scores(KNeighborsClassifier(15), clf.embed_support(), y, clf.embed(X_test), y_test, 'embedding')

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('suite', type=Path)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0])
    ap.add_argument('--rows', type=int, default=500, help='training and test rows at most')
    ap.add_argument('--checkpoint', default='medium')
    ap.add_argument('--csv')
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    sys.path.insert(0, str(a.suite))
    import splits
    rows = []
    for name in splits.names('classification'):
        for seed in a.seeds:
            rows.append(dict(dataset=name, seed=seed) | contest(splits.split(name, seed), a.rows, a.checkpoint))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    t = pd.DataFrame(rows)
    if a.csv: t.round(4).to_csv(a.csv, index=False)
    mean = t.groupby('dataset').mean(numeric_only=True).drop(columns='seed')
    print(mean.mean().round(4).to_dict(), 'embedding better:',
          {m: f'{(sign * (mean[f"{m}_embedding"] - mean[f"{m}_raw"]) > 0).sum()} of {len(mean)}' for m, sign in dict(auc=1, logloss=-1).items()})

if __name__ == '__main__': main()
