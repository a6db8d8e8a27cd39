"""Small fair comparisons of what goes into pre-training: the same processor seconds, the same seeds, one change at a time.

    python benchmarks/ablations.py --seconds 20 --seeds 0 1 [--only experts head] [--out benchmarks/ablations.csv]

Each line of the table is one run of a 32 x 2 model: its change, its seed, steps and cells within the budget, and the loss on
the held-out synthetic tables, by prior. Lines that are there already are not run again. The time is that of this process,
so that other work on the machine does not matter.
"""
import argparse, tempfile, time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from tabtune.model import attention
from tabtune.training import pretrain
from tabtune.training import priors
from tabtune.core.config import MitraConfig
from tabtune.training.priors import default_mixture
from tabtune.training.loop import OPTIMIZERS, Callback, LoopSettings

class Budget(LoopSettings):
    "Progress by processor time; the shape of the schedule is `shape`."
    seconds, shape, start = 60.0, 'cosine', None

    def progress(self, state):
        if self.start is None: self.start = time.process_time()
        return min(1.0, (time.process_time() - self.start) / self.seconds)

    def next_rate(self, state):
        warm = min(1.0, (state.step + 1) / self.warmup_steps)
        if self.shape == 'cosine': return super().next_rate(state)
        decay = 1.0 if self.shape == 'constant' else min(1.0, (1 - state.progress) / 0.3)
        return self.learning_rate * warm * max(0.01, decay)

class Average(Callback):
    "Exponential average of the weights, copied into the model at the end."
    def __init__(self, model, keep=0.99): self.model, self.keep, self.mean = model, keep, None

    def on_step(self, state):
        now = self.model.state_dict()
        if self.mean is None: self.mean = {k: v.clone() for k, v in now.items()}
        for k, v in self.mean.items():
            if v.is_floating_point(): v.lerp_(now[k], 1 - self.keep)

    def on_end(self, state): self.model.load_state_dict(self.mean)

class Both:
    "Muon for the matrices inside the blocks, AdamW for all else."
    def __init__(self, groups, lr):
        flat = [(p, g['weight_decay']) for g in groups for p in g['params']]
        chosen = lambda matrices: [p for p, decay in flat if (decay > 0 and p.ndim == 2) == matrices]
        self.optimizers = [torch.optim.Muon(chosen(True), lr=lr, adjust_lr_fn='match_rms_adamw'), torch.optim.AdamW(chosen(False), lr=lr, betas=(0.9, 0.99))]
        self.param_groups = [g for p in self.optimizers for g in p.param_groups]
    def step(self): [p.step() for p in self.optimizers]
    def zero_grad(self): [p.zero_grad() for p in self.optimizers]

OPTIMIZERS['muon'] = Both

class BothHeads(attention.RetrievalHead):
    "The votes of similar rows, and a linear map of the label token."
    def __init__(self, config):
        super().__init__(config)
        self.direct = torch.nn.Linear(config.d_model, config.n_classes)
        torch.nn.init.zeros_(self.direct.weight), torch.nn.init.zeros_(self.direct.bias)
    def forward(self, h_BQD, memory, cache): return super().forward(h_BQD, memory, cache) + self.direct(h_BQD)

def by_size(rng, score, c_B, labels=priors.labels_from_scores):
    "Labels with codes in the order of the classes' sizes: 0 is the largest."
    y = labels(rng, score, c_B)
    return torch.nn.functional.one_hot(y, score.shape[-1]).sum(1).argsort(-1, descending=True).argsort(-1).gather(1, y)

def third_wrong(rng, y_BN, c_B):
    "Three labels in ten at random."
    return torch.where(rng.bernoulli(0.3, *y_BN.shape), (rng.uniform(0, 1, *y_BN.shape) * c_B[:, None]).long(), y_BN)

VARIANTS = {  # name -> (question, what differs from the base)
    'base': ('', {}),
    'experts none': ('closed-form experts', dict(experts='none')),
    'experts none, value and rank': ('what enters a cell (without experts)', dict(experts='none', cell='value_rank')),
    'experts none, quantile': ('what enters a cell (without experts)', dict(experts='none', cell='quantile')),
    'value and rank': ('what enters a cell', dict(cell='value_rank')),
    'column none': ('column identity', dict(column='none')),
    'column class_means': ('column identity', dict(column='class_means')),
    'experts none, column none': ('column identity (without experts)', dict(experts='none', column='none')),
    'experts none, column class_means': ('column identity (without experts)', dict(experts='none', column='class_means')),
    'rows first': ('order of the halves', dict(order='rows_first')),
    'linear head': ('head', dict(head='linear')),
    'experts none, linear head': ('head (without experts)', dict(experts='none', head='linear')),
    'both heads': ('head', dict(patch=(attention.HEADS, dict(retrieval=BothHeads)))),
    'random start': ('initialisation', dict(init=False)),
    'no log n': ('scale of attention', dict(row_scale='none')),
    'muon': ('optimiser', dict(optimizer='muon')),
    'stable, then decay': ('schedule', dict(shape='stable')),
    'constant, averaged': ('schedule', dict(shape='constant', average=True)),
    'cosine, averaged': ('schedule', dict(average=True)),
    'causal only': ('mixture of priors', dict(mixture=dict(causal=1))),
    'equal mixture': ('mixture of priors', dict(mixture={k: 0.25 for k in default_mixture()})),
    'no wrong labels': ('noise of the priors', dict(patch=(vars(priors), dict(add_label_noise=lambda rng, y_BN, c_B: y_BN)))),
    'three labels in ten at random': ('noise of the priors', dict(patch=(vars(priors), dict(add_label_noise=third_wrong)))),
    'classes named by their size': ('class shuffles', dict(patch=(vars(priors), dict(labels_from_scores=by_size)))),
    'large tables at once': ('sizes of tables', dict(sizes=dict(late=0.8))),
    'small tables to the end': ('sizes of tables', dict(sizes=dict(max_support=160, max_features=14))),
    'two classes to half': ('many classes early or late', dict(few_classes=True)),
}

def one(name: str, seed: int, seconds: float) -> dict:
    "Train one variant, and score it."
    change = dict(VARIANTS[name][1])
    get = lambda key, default=None: change.pop(key, default)
    init, average, shape, few = get('init', True), get('average', False), get('shape', 'cosine'), get('few_classes', False)
    mixture, sizes, optimizer, (place, parts) = get('mixture'), get('sizes', {}), get('optimizer', 'adamw'), get('patch', ({}, {}))
    config = MitraConfig(**dict(d_model=32, num_layers=2, dropout=0.0) | change)
    settings = Budget(n_steps=10 ** 9, learning_rate=3e-3, warmup_steps=20, optimizer=optimizer, bf16=True)
    settings.seconds, settings.shape = seconds, shape
    with tempfile.TemporaryDirectory() as out:
        make = pretrain.neighbour_init
        if not init: pretrain.neighbour_init = lambda m: m
        with patch.dict(attention.HEADS, parts if place is attention.HEADS else {}):
            run = pretrain.Pretraining(config, out, settings, seed, mixture, save_every=1e9, quiet=True, cells=12_000, **sizes)
        pretrain.neighbour_init = make
        model, run.trainer.callbacks = run.trainer.raw_model, []
        if average: run.trainer.callbacks.append(Average(model))
        if few:
            class Few(Callback):
                def on_step(self, state): run.trainer.episodes.max_classes = 2 if state.progress < 0.5 else 10
            run.trainer.callbacks.append(Few())
        with patch.dict(place, parts): state = run.trainer.run()  # the held-out tables are not affected
        by_prior = pretrain.validation_loss(model.eval(), run.validation)
    return dict(question=VARIANTS[name][0], variant=name, seed=seed, loss=round(float(by_prior.mean()), 4), steps=state.step,
                cells=state.cells, **by_prior.round(4))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--seconds', type=float, default=20)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    ap.add_argument('--only', nargs='+', help='variants, by name')
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(1)
    done = pd.read_csv(a.out) if a.out.exists() else pd.DataFrame(columns=['variant', 'seed'])
    for name in a.only or VARIANTS:
        for seed in a.seeds:
            if ((done.variant == name) & (done.seed == seed)).any(): continue
            row = one(name, seed, a.seconds) | dict(seconds=a.seconds)
            done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
            done.to_csv(a.out, index=False)
            print(f"{name:34} seed {seed}  loss {row['loss']:.4f}  {row['cells'] / 1e6:.1f} M cells", flush=True)

if __name__ == '__main__': main()
