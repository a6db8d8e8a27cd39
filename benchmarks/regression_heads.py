"""Which head predicts the distribution of a number best: bins over the range of the targets, similar rows' targets refined by bins, or by distributions.

    python benchmarks/regression_heads.py [--model medium-regression] [--batches 250] [--seeds 0 1] [--out benchmarks/regression_heads.csv]

Three heads are trained anew on the same tokens: the body of a trained model is frozen, and each batch of synthetic tables goes
through it once. (So heads are compared, not whole models; the body was trained with the third head.)
Scores on the held-out synthetic tables, in the units of the scaled targets: R² of the mean, its error (RMSE), and the pinball loss
over nine quantiles, which evaluates the whole distribution.
"""
import argparse
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from tabtune.model.checkpoints import load_checkpoint
from tabtune.training.episodes import PriorEpisodes
from tabtune.model.attention import TargetHead
from tabtune.training.pretrain import validation_set
from tabtune.data.targets import LogisticMixture, bin_edges, mixture_distribution

LEVELS = torch.arange(1, 10) / 10

class Tokens:
    "What a frozen body knows of an episode: label tokens of support and queries, and what its experts say."
    def __init__(self, model, ep):
        with torch.no_grad():
            keep = {}
            model.final_layer.memory = lambda h, y, cache: keep.update(support=h)
            self.cache = model.encode_support(ep.x_support, ep.y_support)
            model.final_layer.forward = lambda h, memory, cache: keep.update(query=h)
            model.experts.add_to_output = lambda out, h, evidence: keep.update(evidence=evidence)
            model.predict_logits(self.cache, ep.x_query)
            for m, name in ((model.final_layer, 'memory'), (model.final_layer, 'forward'), (model.experts, 'add_to_output')): delattr(m, name)
        self.ep, self.model, self.support, self.query, self.evidence = ep, model, keep['support'], keep['query'], keep['evidence']

class Similar(nn.Module):
    "Similar rows' targets and the experts give a place and a spread; a few logistic distributions around it."
    def __init__(self, config):
        super().__init__()
        self.head = TargetHead(config)

    def out(self, t): return t.model.experts.add_to_output(self.head(t.query, self.head.memory(t.support, t.ep.y_support, t.cache), t.cache), t.query, t.evidence)
    def forward(self, t): return mixture_distribution(self.out(t))

class SimilarBins(Similar):
    "The same place and spread, and bins around it."
    def __init__(self, config, k=60):
        super().__init__(config)
        self.bins = nn.Linear(config.d_model, k)
        self.bins.bias.data.copy_(-torch.linspace(-6, 6, k).abs())

    def forward(self, t):
        loc, spread = self.out(t)[..., -2:].split(1, -1)
        k, width = self.bins.out_features, spread.clamp(-5, 3).exp()
        middle = torch.linspace(-6, 6, k) * width + loc
        return LogisticMixture(self.bins(t.query).log_softmax(-1), middle, (6 / k * width).expand_as(middle))

class Bins(nn.Module):
    "Bins from half a range below the support's targets to half a range above."
    def __init__(self, config, k=200):
        super().__init__()
        self.bins = nn.Linear(config.d_model, k)

    def forward(self, t):
        low, high = t.ep.y_support.amin(1), t.ep.y_support.amax(1)
        width = (high - low).clamp_min(1e-3)[:, None, None]
        edges = bin_edges(self.bins.out_features)
        middle = ((edges[1:] + edges[:-1]) / 2) * width + low[:, None, None]
        return LogisticMixture(self.bins(t.query).log_softmax(-1), middle.expand(-1, t.query.shape[1], -1), (width / self.bins.out_features).expand(-1, t.query.shape[1], self.bins.out_features))

HEADS = {'bins over the range': Bins, 'similar rows, refined by bins': SimilarBins, 'similar rows, refined by distributions': Similar}

def scores(head, tokens) -> dict:
    "Means over the tables."
    rows = []
    for t in tokens:
        with torch.no_grad(): m, y = head(t), t.ep.y_query
        ends = [torch.full((len(y),), v) for v in (-12., 12.)]
        gap = y[..., None] - torch.stack([m.quantile(float(s), *ends) for s in LEVELS], -1)
        mean = m.mean().clamp(-8, 8)
        r2 = 1 - (mean - y).square().mean(1) / y.var(1, correction=0).clamp_min(1e-6)
        rows.append(dict(r2=r2.clamp_min(-1).mean().item(), rmse=(mean - y).square().mean().sqrt().item(),
                         pinball=torch.maximum(LEVELS * gap, (LEVELS - 1) * gap).mean().item()))
    return pd.DataFrame(rows).mean().round(4).to_dict()

def one(name: str, seed: int, batches: int) -> list:
    "Train the heads side by side, and score them."
    torch.manual_seed(seed)
    model, stream = load_checkpoint(name).eval(), PriorEpisodes(seed + 1, task='regression', cells=8_000, late=0.5)
    heads = {k: make(model.config) for k, make in HEADS.items()}
    opts = {k: torch.optim.AdamW(h.parameters(), lr=3e-3, weight_decay=0.01) for k, h in heads.items()}
    for step in range(batches):
        stream.progress = step / batches
        t = Tokens(model, next(stream))
        for k, opt in opts.items():
            for g in opt.param_groups: g['lr'] = 3e-3 * min(1, (step + 1) / 30) * (1 - step / batches)
            opt.zero_grad()
            heads[k](t).nll(t.ep.y_query).mean().backward()
            nn.utils.clip_grad_norm_(heads[k].parameters(), 1.0)
            opt.step()
    tokens = [Tokens(model, ep) for _, ep in validation_set(task='regression')]
    return [dict(head=k, seed=seed, **scores(h.eval(), tokens), batches=batches) for k, h in heads.items()]

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--model', default='medium-regression')
    ap.add_argument('--batches', type=int, default=250)
    ap.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(1)
    table = pd.DataFrame([row for seed in a.seeds for row in one(a.model, seed, a.batches)])
    table.to_csv(a.out, index=False)
    print(table.to_string(index=False))

if __name__ == '__main__': main()
