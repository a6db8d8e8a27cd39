"""How a model should answer with a number: bins over the range of the targets, or similar rows' targets refined by a few distributions.

    python benchmarks/answers.py --seconds 75 --seeds 0 1 [--only bins] [--out benchmarks/answers.csv]

Each line is one 32 x 2 model, trained for the same processor seconds on the same synthetic tables, without hints and column identity,
which bins don't have. Scores on the held-out synthetic tables, in the units of the scaled targets: R² of the mean, its error (RMSE), and
the pinball loss over nine quantiles, which judges the whole distribution. Lines that are there already are not run again.
"""
import argparse, tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from ablations import Budget

from tabtune.config import MitraConfig
from tabtune.pretrain import Pretraining
from tabtune.training import answer_of

SHARES = torch.arange(1, 10) / 10
VARIANTS = {  # name -> how the answer is read
    'similar rows, ten distributions': dict(head='retrieval', n_classes=10),
    'similar rows, one distribution': dict(head='retrieval', n_classes=1),
    'bins': dict(head='linear', n_classes=100),
    'many bins': dict(head='linear', n_classes=1000),
    'one number': dict(head='linear', n_classes=1),
}

def unit(ep):
    "An episode whose targets go from 0 to 1 in the support, and the way back."
    low, high = ep.y_support.amin(1, keepdim=True), ep.y_support.amax(1, keepdim=True)
    width = (high - low).clamp_min(1e-6)
    return replace(ep, y_support=(ep.y_support - low) / width, y_query=(ep.y_query - low) / width), (low, width)

class Units:
    "A stream of episodes with targets from 0 to 1."
    def __init__(self, stream): self.stream = stream
    def __getattr__(self, name): return getattr(self.stream, name)
    def __setattr__(self, name, value): object.__setattr__(self if name == 'stream' else self.stream, name, value)
    def __iter__(self): return self
    def __next__(self): return unit(next(self.stream))[0]

def scores(model, episodes) -> dict:
    "Means over the tables."
    rows = []
    for name, ep in episodes:
        asked, (low, width) = unit(ep) if model.config.head == 'linear' else (ep, (0., 1.))
        with torch.inference_mode(): answer = answer_of(model)[1](model(**asked.inputs()).float())
        b = len(ep.y_query)
        q = torch.stack([answer.quantile(float(s), torch.full((b,), -12.), torch.full((b,), 12.)) for s in SHARES], -1)
        mean, q, y = answer.mean() * width + low, q * (width[..., None] if torch.is_tensor(width) else 1) + (low[..., None] if torch.is_tensor(low) else 0), ep.y_query
        r2 = 1 - (mean - y).square().mean(1) / y.var(1, correction=0).clamp_min(1e-6)
        gap = y[..., None] - q
        rows.append(dict(prior=name, r2=r2.clamp_min(-1).mean().item(), rmse=(mean - y).square().mean().sqrt().item(),
                         pinball=torch.maximum(SHARES * gap, (SHARES - 1) * gap).mean().item()))
    return pd.DataFrame(rows).mean(numeric_only=True).round(4).to_dict()

def one(name: str, seed: int, seconds: float) -> dict:
    "Train one variant, and score it."
    config = MitraConfig(d_model=32, num_layers=2, dropout=0.0, task='regression', column='none', hints='none', **VARIANTS[name])
    settings = Budget(n_steps=10 ** 9, learning_rate=3e-3, warmup_steps=100, bf16=True)
    settings.seconds = seconds
    with tempfile.TemporaryDirectory() as out:
        run = Pretraining(config, out, settings, seed, save_every=1e9, quiet=True, cells=12_000)
        if config.head == 'linear': run.trainer.episodes = Units(run.trainer.episodes)
        run.trainer.callbacks = []
        state = run.trainer.run()
        return dict(variant=name, seed=seed, **scores(run.trainer.raw_model.eval(), run.val), steps=state.step, seconds=seconds)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--seconds', type=float, default=75)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    ap.add_argument('--only', nargs='+', help='variants, by name')
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(1)
    done = pd.read_csv(a.out) if a.out.exists() else pd.DataFrame(columns=['variant', 'seed'])
    for seed in a.seeds:
        for name in a.only or VARIANTS:
            if ((done.variant == name) & (done.seed == seed)).any(): continue
            row = one(name, seed, a.seconds)
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(a.out, index=False)
            print(row, flush=True)

if __name__ == '__main__': main()
