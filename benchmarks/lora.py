"""Is LoRA the cheaper one? Time of a step, peak memory and size of what is saved, against training all weights.

    python benchmarks/lora.py [--models medium large public] [--rows 512] [--columns 12] [--steps 5] [--out benchmarks/lora.csv]
    python benchmarks/lora.py --folds 4 [--tables order ratio] [--rows 600] [--seeds 0 1] [--out benchmarks/lora_folds.csv]

`public` has the layout of the public checkpoints (width 512, 12 blocks, random weights) and episodes of a quarter of `--rows`. A step is forward,
backward and the optimiser, of one episode with as many queries as support rows, with the settings that `recommend` gives the adapters. Steps of
both strategies alternate in one process, so that other work on the machine slows both; the times are processor times, and the ratio is that of
the medians. Peak memory is that of a process of its own for each, in all and beyond what it took before the model was copied for training.

`--folds` trains an ensemble of so many adapters on synthetic tables of `benchmarks/tuning.py` (no experts beside, `keep='tuned'`), and scores 2,000 new
rows by the untuned model, by each adapter alone and by all together. The first adapter is the one that a run without folds trains (up to five folds).
"""
import argparse, copy, json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

STRATEGIES = ('base-ft', 'peft')

def base_model(name: str):
    "A bundled model, or random weights in the public layout."
    from tabtune import Mitra, MitraConfig
    from tabtune.model.checkpoints import load_checkpoint
    if name != 'public': return load_checkpoint(name)
    torch.manual_seed(0)
    return Mitra(MitraConfig(d_model=512, num_heads=4, num_layers=12, d_ff=2048, dropout=0.0, cell='quantile', column='none', order='rows_first',
                             row_scale='none', head='linear', experts='none'))

class Run:
    "A model that one strategy trains on one episode."
    def __init__(self, base, strategy, rows, columns):
        from tabtune.training.episodes import TableEpisodes
        from tabtune.training.loop import LoopSettings, Trainer
        from tabtune.training.recommend import RuleInputs, apply_rules
        from tabtune.training.strategies import find_strategy
        r = np.random.default_rng(0)
        x, y = r.normal(size=(2 * rows, columns)).astype(np.float32), np.arange(2 * rows) % 2
        self.strategy = find_strategy(strategy)
        settings = apply_rules(RuleInputs(10_000, columns, strategy=strategy, model=base.config), timed=False).tuning_params
        self.model = self.strategy.prepare(copy.deepcopy(base), self.strategy.config(settings))
        self.trainer = Trainer(self.model.train(), TableEpisodes(x, y, rows, rows, 1), LoopSettings(n_steps=1000, learning_rate=1e-5))

    def step(self) -> float:
        "Processor seconds of a step."
        with self.strategy.training_context(self.model):
            start = time.process_time()
            self.trainer.step()
            return time.process_time() - start

def peak() -> float: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

def memory(name, strategy, rows, columns) -> dict:
    "Peak memory of a process that takes two steps."
    import tabtune.model.lora  # the same libraries for both
    base = base_model(name)
    before, run = peak(), Run(base, strategy, rows, columns)
    for _ in range(2): run.step()
    return dict(peak_mib=round(peak()), beyond_mib=round(peak() - before))

def file_sizes(name) -> tuple:  # bytes of the weights, and of the adapters
    "What is saved of each."
    from tabtune.model.checkpoints import save_checkpoint
    from tabtune.model.lora import save_adapter
    base = base_model(name)
    adapted = Run(base, 'peft', 32, 3).model
    with tempfile.TemporaryDirectory() as d:
        save_checkpoint(base, f'{d}/base'); save_adapter(adapted, f'{d}/adapter')
        size = lambda folder: sum(f.stat().st_size for f in Path(folder).rglob('*.safetensors'))
        return size(f'{d}/base'), size(f'{d}/adapter')

def compare(name, rows, columns, steps) -> dict:
    "One model: ratios of LoRA to training all weights."
    from tabtune.model.mitra import parameter_counts
    inner = [sys.executable, __file__, '--inner', name, '--rows', str(rows), '--columns', str(columns)]
    used = {s: json.loads(subprocess.run([*inner, '--strategy', s], capture_output=True, text=True, check=True).stdout.splitlines()[-1]) for s in STRATEGIES}
    base = base_model(name)
    runs = {s: Run(base, s, rows, columns) for s in STRATEGIES}
    for run in runs.values(): run.step()
    times = {s: [] for s in STRATEGIES}
    for i in range(steps):
        for s in STRATEGIES[::1 if i % 2 else -1]: times[s].append(runs[s].step())
    seconds, (weights, adapters) = {s: statistics.median(t) for s, t in times.items()}, file_sizes(name)
    ratio = lambda key: round(used['peft'][key] / used['base-ft'][key], 3)
    return dict(model=name, rows=rows, columns=columns, seconds=round(seconds['base-ft'], 3), seconds_peft=round(seconds['peft'], 3),
                time=round(seconds['peft'] / seconds['base-ft'], 3), peak_mib=used['base-ft']['peak_mib'], peak_mib_peft=used['peft']['peak_mib'],
                memory=ratio('peak_mib'), memory_beyond=ratio('beyond_mib'), file=round(adapters / weights, 4),
                trained=round(parameter_counts(runs['peft'].model)['share'], 4))

FOLDS = dict(keep='tuned', epochs=6, support_size=200, query_size=150, batch_size=1, gradient_accumulation_steps=1, show_progress=False)

def one_ensemble(name, rows, seed, folds) -> dict:
    "Log losses of 2,000 new rows, and processor seconds of the fit and of these predictions."
    from sklearn.metrics import log_loss
    from tabtune import TabularPipeline
    from tuning import structured
    x, y = structured(name, rows + 2000, seed, False)
    start = time.process_time()
    pipe = TabularPipeline(tuning_strategy='peft', tuning_params=FOLDS | dict(n_folds=folds), model_params=dict(experts=None, seed=seed)).fit(x[:rows], y[:rows])
    fit, names = time.process_time() - start, [f'fold{i}' for i in range(1, folds + 1)]
    def scored(adapters):
        pipe.use_adapter(adapters)
        start = time.process_time()
        return log_loss(y[rows:], pipe.predict_proba(x[rows:])), time.process_time() - start
    (untuned, _), (together, all_seconds), *alone = map(scored, (None, names, *names))  # the kernel experts are solved by the first
    return dict(table=name, rows=rows, seed=seed, folds=folds, loss_untuned=untuned, loss_first=alone[0][0], loss_mean_of_each=np.mean([a[0] for a in alone]), loss_ensemble=together,
                fit_seconds=round(fit, 1), predict_seconds_one=round(statistics.median(a[1] for a in alone), 2), predict_seconds_all=round(all_seconds, 2))

def ensembles(a):
    rows = []
    for seed in a.seeds:
        for name in a.tables:
            rows.append(one_ensemble(name, a.rows, seed, a.folds)); print(rows[-1], flush=True)
            if a.out: pd.DataFrame(rows).to_csv(a.out, index=False, float_format='%.5g')
    print(pd.DataFrame(rows).to_string())

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--models', nargs='+', default=['medium', 'large', 'public']); ap.add_argument('--rows', type=int)
    ap.add_argument('--columns', type=int, default=12); ap.add_argument('--steps', type=int, default=5); ap.add_argument('--out', type=Path)
    ap.add_argument('--inner', help=argparse.SUPPRESS); ap.add_argument('--strategy', help=argparse.SUPPRESS)
    ap.add_argument('--folds', type=int); ap.add_argument('--tables', nargs='+', default=['order', 'ratio']); ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    a = ap.parse_args()
    a.rows = a.rows or (600 if a.folds else 512)
    if a.folds: return ensembles(a)
    if a.inner: return print(json.dumps(memory(a.inner, a.strategy, a.rows, a.columns)))
    table = pd.DataFrame([compare(m, a.rows // (4 if m == 'public' else 1), a.columns, a.steps) for m in a.models])
    print(f'{torch.get_num_threads()} thread(s), {os.cpu_count()} processors'); print(table.T.to_string(header=False))
    if a.out: table.to_csv(a.out, index=False)

if __name__ == '__main__': main()
