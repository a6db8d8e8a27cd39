"""Score a checkpoint on held-out synthetic tables and on a suite of real ones, and write the table into its card.

    python benchmarks/score.py runs/pretrain --suite SUITE [--seeds 0 1 2] [--n_estimators 1] [--tuned base-ft peft] [--card]

`--tuned` adds what tuning with `tuning_params='auto'` makes of it (minutes). The suite is a folder with `splits.py`, `scoring.py` and `baselines.csv`. It is for looking, never for training.
"""
import argparse, json, sys, time, warnings
from pathlib import Path

import numpy as np
import pandas as pd

from tabtune.model.checkpoints import find_checkpoint, load_checkpoint, read_card
from tabtune.estimators.classifier import MitraClassifier
from tabtune.estimators.metrics import calibration_metrics
from tabtune.training.pretrain import validation_loss, validation_set
from tabtune.core.files import write_atomic

SIGN = dict(auc=1, accuracy=1, logloss=-1)
NUMBER = dict(r2=1, rmse=-1)  # for a checkpoint that predicts numbers
TIE = 0.002  # smaller differences of seed means are ties

def synthetic_tables(checkpoint) -> pd.Series:
    "Loss on held-out tables, by prior, of the priors in the checkpoint's own card: one that was added later changes nothing."
    model = load_checkpoint(checkpoint)
    return validation_loss(model, validation_set(task=model.config.task, priors=read_card(checkpoint).get('prior')))

def real_tables(checkpoint, suite: Path, seeds, n_estimators) -> pd.DataFrame:
    "One row per data set and seed."
    sys.path.insert(0, str(suite))
    import splits
    from scoring import classification_scores
    rows = []
    for name in splits.names('classification'):
        for seed in seeds:
            d, t = splits.split(name, seed), time.perf_counter()
            clf = MitraClassifier(checkpoint, n_estimators=n_estimators, random_state=seed).fit(d.X_train, d.y_train)
            proba = clf.predict_proba(d.X_test)
            rows.append(dict(dataset=name, seed=seed, **classification_scores(d.y_test, proba, clf.classes_),
                             ece=calibration_metrics(d.y_test, proba, clf.classes_)['ece'], seconds=time.perf_counter() - t))
            print(f"{name:14} seed {seed}  AUC {rows[-1]['auc']:.4f}  log loss {rows[-1]['logloss']:.4f}", flush=True)
    return pd.DataFrame(rows)

def real_numbers(checkpoint, suite: Path, seeds, n_estimators) -> pd.DataFrame:
    "The same for data sets with a number to predict; `coverage` is that of intervals that promise 0.9."
    sys.path.insert(0, str(suite))
    import splits
    from tabtune.estimators.metrics import regression_metrics
    from tabtune.estimators.regressor import MitraRegressor
    rows = []
    for name in splits.names('regression'):
        for seed in seeds:
            d, t = splits.split(name, seed), time.perf_counter()
            reg = MitraRegressor(checkpoint, n_estimators=n_estimators, random_state=seed).fit(d.X_train, d.y_train)
            m, y = regression_metrics(d.y_test, reg.predict(d.X_test)), np.asarray(d.y_test)
            low, high = reg.predict_interval(d.X_test, 0.9).T
            rows.append(dict(dataset=name, seed=seed, r2=m['r2'], rmse=m['rmse'], coverage=((low <= y) & (y <= high)).mean(), seconds=time.perf_counter() - t))
            print(f"{name:14} seed {seed}  R2 {rows[-1]['r2']:.4f}  coverage {rows[-1]['coverage']:.3f}", flush=True)
    return pd.DataFrame(rows)

def against(scores: pd.DataFrame, baselines: pd.DataFrame, sign: dict) -> dict:
    "Mean rank among the baselines, and win / tie / loss against each."
    out = dict(rank={}, win_tie_loss={})
    for metric, up in sign.items():
        table = baselines.groupby(['dataset', 'model'])[metric].mean().unstack()
        table['mitra'] = scores.groupby('dataset')[metric].mean()
        table = table.dropna(subset='mitra') * up
        out['rank'][metric] = round(table.rank(axis=1, ascending=False)['mitra'].mean(), 2)
        for other in table.columns.drop('mitra'):
            d = table['mitra'] - table[other]
            out['win_tie_loss'].setdefault(other, {})[metric] = f'{(d >= TIE).sum()}/{(d.abs() < TIE).sum()}/{(d <= -TIE).sum()}'
    return out

def tuned(checkpoint, suite: Path, strategies, seeds) -> dict:
    "By strategy: means over the data sets untuned and tuned, by data set too, and how often the tuned model was kept."
    from tuning import compare, summary
    out = {}
    for strategy in strategies:
        mean = summary(compare(suite, checkpoint, strategy, 'auto', seeds))
        numbers = mean.drop(columns=['kept', 'gain'])
        out[strategy] = dict(settings="tuning_params='auto'", **numbers.mean().round(4).to_dict(), worst_gain=round(mean.gain.min(), 4) + 0.0,
                             by_dataset=numbers.round(4).join(mean.kept).T.to_dict())
    return out

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('checkpoint', help='bundled name, directory or hub id')
    ap.add_argument('--suite', type=Path, required=True)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    ap.add_argument('--n_estimators', type=int, default=1)
    ap.add_argument('--tuned', nargs='*', default=[], choices=['base-ft', 'peft'], help="also tune, with tuning_params='auto'")
    ap.add_argument('--card', action='store_true', help="write the result into the checkpoint's card.json")
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    synthetic, number = synthetic_tables(a.checkpoint), load_checkpoint(a.checkpoint).config.task == 'regression'
    scores = (real_numbers if number else real_tables)(a.checkpoint, a.suite, a.seeds, a.n_estimators)
    sign, shown = (NUMBER, [*NUMBER, 'coverage']) if number else (SIGN, [*SIGN, 'ece'])
    means = scores.groupby('dataset').mean(numeric_only=True)
    result = dict(command=f"python benchmarks/score.py CHECKPOINT --suite SUITE --seeds {' '.join(map(str, a.seeds))} --n_estimators {a.n_estimators}"
                          + (f" --tuned {' '.join(a.tuned)}" if a.tuned else ''),
                  datasets=len(means), mean=means[shown].mean().round(4).to_dict(), by_dataset=means[shown].round(4).T.to_dict(),
                  synthetic=synthetic.round(4).to_dict(), **against(scores, pd.read_csv(a.suite/'baselines.csv'), sign))
    if a.tuned: result['tuned'] = tuned(a.checkpoint, a.suite, a.tuned, a.seeds)
    print(json.dumps({k: v for k, v in result.items() if k != 'by_dataset'}, indent=1))
    if a.card:
        dir = find_checkpoint(a.checkpoint)
        write_atomic(dir/'card.json', lambda p: p.write_text(json.dumps(read_card(dir) | dict(evaluation=result), indent=1) + '\n'))

if __name__ == '__main__': main()
