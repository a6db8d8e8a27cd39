"""Is LoRA the cheaper one? Time of a step, peak memory and size of what is saved, against training all weights.

    python benchmarks/lora.py [--models medium large public] [--rows 512] [--columns 12] [--steps 5] [--out benchmarks/lora.csv]

`public` has the layout of the public checkpoints (width 512, 12 blocks, random weights) and episodes of a quarter of `--rows`. A step is forward,
backward and the optimiser, of one episode with as many queries as support rows, with the settings that `recommend` gives the adapters. Steps of
both strategies alternate in one process, so that other work on the machine slows both; the times are processor times, and the ratio is that of
the medians. Peak memory is that of a process of its own for each, in all and beyond what it took before the model was copied for training.
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

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--models', nargs='+', default=['medium', 'large', 'public']); ap.add_argument('--rows', type=int, default=512)
    ap.add_argument('--columns', type=int, default=12); ap.add_argument('--steps', type=int, default=5); ap.add_argument('--out', type=Path)
    ap.add_argument('--inner', help=argparse.SUPPRESS); ap.add_argument('--strategy', help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.inner: return print(json.dumps(memory(a.inner, a.strategy, a.rows, a.columns)))
    table = pd.DataFrame([compare(m, a.rows // (4 if m == 'public' else 1), a.columns, a.steps) for m in a.models])
    print(f'{torch.get_num_threads()} thread(s), {os.cpu_count()} processors'); print(table.T.to_string(header=False))
    if a.out: table.to_csv(a.out, index=False)

if __name__ == '__main__': main()
