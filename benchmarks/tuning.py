"""How long tuning takes, what memory it needs, and whether it helps.

    python benchmarks/tuning.py speed [--rows 100000] [--columns 20] [--model medium] [--strategies base-ft peft] [--params '{"epochs": 3}']
    python benchmarks/tuning.py recipes [--tables order cats ...] [--recipes 512:1:2e-3:80 ...] [--regression] [--out benchmarks/tuning_recipes.csv]
    python benchmarks/tuning.py tables [--tables order cats ...] [--rows 2000] [--seeds 0 1] [--strategy base-ft] [--params auto] [--out benchmarks/tuning_tables.csv]
    python benchmarks/tuning.py files a.csv b.csv --targets y z [--rows 2000] [--seed 0] [--strategy base-ft] [--params auto] [--out FILE.csv]
    python benchmarks/tuning.py suite SUITE [--model medium-regression] [--strategy base-ft] [--params auto] [--seeds 0 1 2] [--sets NAME ...]
                                                         [--out tuning.csv]

`speed` tunes on a random table with the default settings, each strategy in a process of its own, so that peak memory is its own.
`recipes` tunes on synthetic tables with known rules, once for each recipe (support = query rows : episodes of a batch : rate : steps, for warm-up and
half a cosine), and scores 2,000 new rows from 1,000 support rows; nothing is chosen in between, so a loss can rise as well as fall.
`tables` fits synthetic tables with known rules untuned and tuned, as a user would, and scores 2,000 new rows.
`files` does the same with tables of yours: `--rows` training rows and at most 2,000 others; the score is log loss, or 1 - R².
`suite` fits every data set of the model's task untuned and tuned, and prints both, their difference, and which was kept; `--out`
adds each fit to a file as it comes. It is for looking, never for choosing. `show tuning.csv ...` prints the summary of such files.
"""
import argparse, json, resource, subprocess, sys, time, warnings
from pathlib import Path

import numpy as np
import pandas as pd

def one_speed(strategy, rows, columns, model, params):
    "Seconds and peak memory of one fit, in this process."
    import tabtune.model.lora  # both strategies with the same libraries in memory
    from tabtune import TabularPipeline
    r = np.random.default_rng(0)
    X = pd.DataFrame(r.normal(size=(rows, columns)).astype(np.float32), columns=[f'c{i}' for i in range(columns)])
    y = (X.c0 + X.c1 * X.c2 + r.normal(size=rows) > 0).astype(int)
    pipe = TabularPipeline(tuning_strategy=strategy, tuning_params=params | dict(show_progress=False), model_params=dict(pretrained=model))
    start, cpu = time.perf_counter(), time.process_time()
    pipe.fit(X, y)
    report = pipe.describe()
    keep = ('steps', 'episodes', 'seconds', 'trained', 'parameters', 'kept', 'gain', 'micro_batches')
    return dict(strategy=strategy, fit_seconds=round(time.perf_counter() - start, 1), cpu_seconds=round(time.process_time() - cpu, 1), peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20, 2),
                **{k: report.get(k) for k in keep})

def speed(a):
    if a.inner: return print(json.dumps(one_speed(a.inner, a.rows, a.columns, a.model, json.loads(a.params))))
    rows = []
    for strategy in a.strategies:
        done = subprocess.run([sys.executable, *sys.argv, '--inner', strategy], capture_output=True, text=True)
        if done.returncode: sys.exit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1])); print(rows[-1], flush=True)
    table = pd.DataFrame(rows).set_index('strategy')
    print(table.T.to_string())
    if {'base-ft', 'peft'} <= set(table.index):
        t, c, m = table.seconds, table.cpu_seconds, table.peak_gb
        print(f"peft / base-ft: training {t['peft'] / t['base-ft']:.2f}, processor time {c['peft'] / c['base-ft']:.2f}, memory {m['peft'] - m['base-ft']:+.2f} GB")

def rule(name, n, r):
    "A table of n rows, and what decides its labels: rules that the priors do not have."
    N = lambda *size: r.normal(size=size)
    if name == 'sines': x = N(n, 8); return x, np.sin(4 * x[:, 0]) + np.sin(4 * x[:, 1])
    if name == 'order': x = N(n, 12); return x, (np.argmax(x[:, :6], 1) % 2) - .5  # which of six columns is largest
    if name == 'proto': c, x = N(24, 8), N(n, 8); return x, (((x[:, None] - c) ** 2).sum(-1).argmin(1) % 2) - .5  # the nearest of 24 points
    if name == 'tree':
        x = N(n, 15); leaves = [x[:, j] > 0 for j in (2, 3, 5, 6)]
        return x, np.where(x[:, 0] > 0, np.where(x[:, 1] > .3, *leaves[:2]), np.where(x[:, 4] > -.3, *leaves[2:])) - .5
    if name == 'cats':  # categories whose codes mean nothing
        m = [N(12) for _ in range(6)]; c = r.integers(0, 12, size=(n, 6)); x = np.c_[c.astype(float), N(n, 3)]
        return x, sum(m[i][c[:, i]] for i in range(6)) / 2 + x[:, 6] + .5 * N(n)
    if name == 'pairs': x = N(n, 12); return x, x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] + x[:, 4] * x[:, 5] + .3 * N(n)
    if name == 'equal': x = np.c_[r.integers(0, 6, size=(n, 2)).astype(float), N(n, 6)]; return x, np.abs(x[:, 0] - x[:, 1]) < 1.5  # near codes
    if name == 'wide':  # 200 noisy copies of five hidden numbers
        z = N(n, 5); x = z[:, np.arange(200) % 5] + 1.5 * N(n, 200); return x, z[:, 0] * z[:, 1] + z[:, 2]
    if name == 'ratio': x = np.exp(1.5 * N(n, 9)); return x, np.log(x[:, 0] * x[:, 1] / (x[:, 2] * x[:, 3])) + .3 * N(n)  # far from the prior's cells
    if name == 'angle': x = N(n, 7); return x, np.sin(3 * np.arctan2(x[:, 0], x[:, 1]))  # six sectors of a plane
    if name == 'forms':  # 26 classes of two forms each, small integers
        c, spread, k = r.uniform(2, 13, size=(26, 2, 16)), .9 * N(26, 2, 16, 4), (r.integers(0, 26, n), r.integers(0, 2, n))
        return np.clip(np.round(.45 * c[k] + 4 + np.einsum('nij,nj->ni', spread[k], N(n, 4)) + .8 * N(n, 16)), 0, 15), k[0]
    raise SystemExit(f'no table {name}')

def structured(name, n, seed, regression):
    "Such a table: float32 cells, and labels of which 3 % are wrong, or numbers with a tenth of their spread as noise."
    x, f = rule(name, n, np.random.default_rng([seed, sum(map(ord, name))]))
    if f.dtype == np.int64 and not regression: return x.astype(np.float32), f
    r = np.random.default_rng(seed)
    if regression: return x.astype(np.float32), f + .1 * f.std() * r.normal(size=n)
    return x.astype(np.float32), ((f > (0 if len(np.unique(f)) == 2 else np.median(f))) ^ (r.random(n) < .03)).astype(np.int64)

def one_recipe(name, recipe, rows=2000, seed=0, regression=False):
    "Tune on a table by a recipe; losses before and after."
    import math, torch
    from tabtune.model.checkpoints import load_checkpoint
    from tabtune.training.comparison import TUNING_TASKS
    from tabtune.training.loop import LOSSES, LoopSettings, Trainer
    size, batch, rate, steps = recipe
    model = load_checkpoint('medium-regression' if regression else 'medium'); task = TUNING_TASKS[model.config.task]
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout): m.p = 0.0
    x, y = structured(name, rows + 2000, seed, regression)
    train, new = np.arange(rows), np.arange(rows, rows + 2000)
    episodes = task.held_out(x, y, train, new, 1000, 0, model)
    stream, (before, m_before) = task.stream(model, x, y, size, size, batch, seed, 'meta-learning', train), task.scores(model, episodes)
    start = time.process_time()
    Trainer(model, stream, LoopSettings(n_steps=steps, learning_rate=rate, warmup_steps=round(.1 * steps)), loss=LOSSES[model.config.task]).run()
    seconds = time.process_time() - start
    after, m_after = task.scores(model, episodes)
    return dict(task=model.config.task, table=name, rows=rows, seed=seed, support=size, batch=batch, rate=rate, steps=steps, loss_before=before.mean(), loss_after=after.mean(),
                measure_before=m_before, measure_after=m_after, cpu_seconds=round(seconds, 1))

def recipes(a):
    for name in a.tables:
        for text in a.recipes:
            size, batch, rate, steps = text.split(':')
            row = one_recipe(name, (int(size), int(batch), float(rate), int(steps)), a.rows, a.seed, a.regression); print(row, flush=True)
            if a.out: pd.DataFrame([row]).to_csv(a.out, mode='a', index=False, header=not a.out.exists(), float_format='%.5g')

TABLES = ['order', 'cats', 'sines', 'pairs', 'tree', 'proto', 'equal', 'wide', 'ratio', 'angle', 'forms']

def untuned_and_tuned(X, y, strategy, params, task='classification', **model):
    "'before' and a pipeline fitted without tuning, then 'after' and a tuned one, each fitted when it is asked for."
    from tabtune import TabularPipeline
    fitted = lambda how, params: TabularPipeline(task_type=task, tuning_strategy=how, tuning_params=params, model_params=model).fit(X, y)
    return ((when, fitted(how, given)) for when, how, given in (('before', 'inference', None), ('after', strategy, params)))

def one_table(name, rows, seed, strategy, params) -> dict:
    "Fit a table untuned and tuned, and score 2,000 new rows."
    from sklearn.metrics import log_loss, roc_auc_score
    x, y = structured(name, rows + 2000, seed, False)
    out, fits = dict(table=name, rows=rows, seed=seed, strategy=strategy), untuned_and_tuned(x[:rows], y[:rows], strategy, params, seed=seed)
    cpu = time.process_time()
    for when, pipe in fits:
        p = pipe.predict_proba(x[rows:])
        cpu, start = time.process_time(), cpu
        out |= {f'loss_{when}': log_loss(y[rows:], p), f'auc_{when}': roc_auc_score(y[rows:], p if p.shape[1] > 2 else p[:, 1], multi_class='ovr')}
    report = pipe.describe()
    return out | {k: report.get(k) for k in ('kept', 'gain', 'gain_error', 'compared_rows', 'repeats', 'best_step', 'steps')} | dict(cpu_seconds=round(cpu - start, 1))

def tables(a):
    rows = []
    for seed in a.seeds:
        for name in a.tables:
            rows.append(one_table(name, a.rows, seed, a.strategy, a.params if a.params == 'auto' else json.loads(a.params) | dict(show_progress=False)))
            if a.out: pd.DataFrame(rows[-1:]).to_csv(a.out, mode='a', index=False, header=not a.out.exists(), float_format='%.5g')
            print(rows[-1], flush=True)
    t = pd.DataFrame(rows)
    print(t.to_string(), f"\nmean log loss {t.loss_before.mean():.4f} -> {t.loss_after.mean():.4f} ({t.loss_after.mean() / t.loss_before.mean() - 1:+.1%}), mean of the ratios "
          f"{(t.loss_after / t.loss_before).mean() - 1:+.1%}; kept {(t.kept == 'tuned').mean():.0%}; worst AUC {(t.auc_after - t.auc_before).min():+.4f}, worst log loss {(t.loss_after - t.loss_before).max():+.4f}")

def one_file(path, target, a, params) -> dict:
    "Fit a table of a file untuned and tuned, and score at most 2,000 other rows: log loss, or 1 - R2."
    from rows import read_file
    from sklearn.metrics import log_loss, r2_score
    from tabtune.data.frames import guess_task
    X, y = read_file(path, target)
    numbers = guess_task(y) == 'regression'
    at = np.random.default_rng(a.seed).permutation(len(X))
    train, test = at[:a.rows], at[a.rows:a.rows + 2000]
    out = dict(table=Path(path).stem, rows=len(train), seed=a.seed)
    fits = untuned_and_tuned(X.iloc[train], y.iloc[train], a.strategy, params, 'regression' if numbers else 'classification', seed=a.seed)
    cpu = time.process_time()
    for when, pipe in fits:
        p = (pipe.predict if numbers else pipe.predict_proba)(X.iloc[test])
        out[when] = 1 - r2_score(y.iloc[test], p) if numbers else log_loss(y.iloc[test], p, labels=pipe.classes_)
        cpu, start = time.process_time(), cpu
        out[f'cpu_{when}'] = round(cpu - start, 1)
    return out | {k: pipe.describe().get(k) for k in ('kept', 'repeats')}

def files(a):
    params = a.params if a.params == 'auto' else json.loads(a.params) | dict(show_progress=False)
    t = pd.DataFrame([one_file(f, target, a, params) for f, target in zip(a.files, a.targets, strict=True)])
    print(t.to_string(), f'\nmean of the ratios {(t.after / t.before).mean() - 1:+.1%}; kept {(t.kept == "tuned").mean():.0%}')
    if a.out: t.to_csv(a.out, index=False, float_format='%.5g')

SCORES = dict(classification=('auc', 'logloss'), regression=('r2', 'rmse'))  # the first: more is better; the second: less

def scores_of(pipe, d) -> dict:
    "Scores of a fitted pipeline on a split's test rows."
    from scoring import classification_scores, regression_scores
    if pipe.task_type == 'regression': return regression_scores(d.y_test, pipe.predict(d.X_test))
    return classification_scores(d.y_test, pipe.predict_proba(d.X_test), pipe.classes_)

def compare(suite: Path, model='medium', strategy='base-ft', params='auto', seeds=(0, 1, 2), sets=None, out=None) -> pd.DataFrame:
    "One row per data set and seed: scores untuned (before) and tuned (after), which was kept, seconds."
    from tabtune.model.checkpoints import find_checkpoint, read_config
    sys.path.insert(0, str(suite))
    import splits
    task, rows = read_config(find_checkpoint(model)).task, []
    for name in sets or splits.names(task):
        for seed in seeds:
            d, row, start = splits.split(name, seed), dict(dataset=name, seed=seed), time.perf_counter()
            for when, pipe in untuned_and_tuned(d.X_train, d.y_train, strategy, params, task, pretrained=model, seed=seed):
                row |= {f'{k}_{when}': float(v) for k, v in scores_of(pipe, d).items() if k in SCORES[task]}
            report = pipe.describe()
            rows.append(row | {k: report.get(k) for k in ('kept', 'gain', 'gain_error', 'compared_rows', 'repeats', 'interpolation', 'best_step', 'steps')}
                        | dict(seconds=round(time.perf_counter() - start, 1)))
            if out: pd.DataFrame([dict(strategy=strategy) | rows[-1]]).to_csv(out, mode='a', index=False, header=not out.exists(), float_format='%.6g')
            print(f'{name:16} seed {seed}  ' + '  '.join(f"{k} {row[k + '_before']:.4f} -> {row[k + '_after']:.4f}" for k in SCORES[task])
                  + f"  {rows[-1]['kept']}  {rows[-1]['seconds']} s", flush=True)
    return pd.DataFrame(rows)

def summary(table: pd.DataFrame) -> pd.DataFrame:
    "Means over seeds by data set, and how often the tuned model was kept."
    up = next(k for k, _ in SCORES.values() if f'{k}_before' in table)
    mean = table.groupby('dataset')[[c for c in table if c.endswith(('_before', '_after'))]].mean()
    mean['kept'] = table.groupby('dataset').kept.apply(lambda k: f"{(k == 'tuned').sum()}/{len(k)}")
    mean['gain'] = mean[f'{up}_after'] - mean[f'{up}_before']
    return mean

def say(table: pd.DataFrame):
    "Print the summary."
    mean = summary(table)
    print(mean.round(4).to_string())
    print('; '.join(f"mean {c[:-7]} {mean[c].mean():.4f} -> {mean[c[:-7] + '_after'].mean():.4f}" for c in mean if c.endswith('_before'))
          + f"; worst set {mean.gain.min():+.4f}; tuned model kept in {(table.kept == 'tuned').mean():.0%} of the fits")

def suite(a):
    params = a.params if a.params == 'auto' else json.loads(a.params) | dict(show_progress=False)
    say(compare(a.suite, a.model, a.strategy, params, a.seeds, a.sets, a.out))

def show(a):
    "Summaries of files that `suite --out` wrote, one for each strategy."
    for strategy, table in pd.concat(pd.read_csv(f, comment='#') for f in a.files).groupby('strategy'): print(f'{strategy}, {len(table)} fits'); say(table)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(required=True)
    s = sub.add_parser('speed'); s.set_defaults(run=speed)
    s.add_argument('--rows', type=int, default=100_000); s.add_argument('--columns', type=int, default=20)
    s.add_argument('--strategies', nargs='+', default=['base-ft', 'peft']); s.add_argument('--inner', help=argparse.SUPPRESS)
    s.add_argument('--params', default='{}', help='tuning_params as JSON'); s.add_argument('--model', default='medium')
    s = sub.add_parser('recipes'); s.set_defaults(run=recipes)
    s.add_argument('--tables', nargs='+', default=['order', 'cats', 'sines', 'pairs', 'tree', 'proto']); s.add_argument('--recipes', nargs='+', default=['512:1:2e-3:80'])
    s.add_argument('--rows', type=int, default=2000); s.add_argument('--seed', type=int, default=0); s.add_argument('--regression', action='store_true')
    s.add_argument('--out', type=Path, help='a CSV file to add each run to')
    s = sub.add_parser('tables'); s.set_defaults(run=tables)
    s.add_argument('--tables', nargs='+', default=TABLES); s.add_argument('--rows', type=int, default=2000); s.add_argument('--seeds', type=int, nargs='+', default=[0])
    s.add_argument('--strategy', default='base-ft'); s.add_argument('--params', default='auto', help='tuning_params as JSON, or auto'); s.add_argument('--out', type=Path)
    s = sub.add_parser('files'); s.set_defaults(run=files)
    s.add_argument('files', nargs='+'); s.add_argument('--targets', nargs='+', required=True, help='the target of each file')
    s.add_argument('--rows', type=int, default=2000); s.add_argument('--seed', type=int, default=0); s.add_argument('--strategy', default='base-ft')
    s.add_argument('--params', default='auto', help='tuning_params as JSON, or auto'); s.add_argument('--out', type=Path)
    s = sub.add_parser('suite'); s.set_defaults(run=suite)
    s.add_argument('suite', type=Path); s.add_argument('--strategy', default='base-ft'); s.add_argument('--params', default='{}', help="tuning_params as JSON, or auto")
    s.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2]); s.add_argument('--sets', nargs='+'); s.add_argument('--model', default='medium')
    s.add_argument('--out', type=Path, help='a CSV file to add each fit to')
    s = sub.add_parser('show'); s.set_defaults(run=show); s.add_argument('files', nargs='+', type=Path)
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    a.run(a)

if __name__ == '__main__': main()
