"""What the shorter ways of the experts' solutions save: `KernelExperts.fit` as it is, and by landmarks, triangular solves and four Cholesky factors throughout.

    python benchmarks/experts.py

One thread, processor time, both in turn, medians of nine after two to warm up. Prints a table and the largest difference of the evidence.
"""
import statistics, time

import torch

from tabtune.model import experts as experts
from tabtune.core.config import MitraConfig

SHAPES = [(1, 150, 8, 512), (1, 500, 10, 512), (1, 1000, 20, 512), (14, 90, 6, 256), (60, 20, 6, 256), (2, 400, 20, 256)]  # tables, rows, columns, landmarks

def long_way(kernel, numbers, targets, row, w, limit=experts.LANDMARKS, span=None):
    "`experts.solve` without its two shorter ways."
    (_, there, marks), targets = span or experts.spanning(numbers, row, limit), targets * row[..., None]
    own = kernel(marks, marks, w) * there[:, None] * there[..., None]
    root = torch.linalg.cholesky(own + torch.diag_embed(experts._jitter(own.diagonal(dim1=1, dim2=2), there) + 1 - there))
    across = (kernel(numbers, marks, w) * there[:, None] * row[..., None]).transpose(1, 2)
    left, coef = experts.ridge(torch.linalg.solve_triangular(root, across, upper=False).transpose(1, 2), targets)
    return left, marks, torch.linalg.solve_triangular(root.transpose(1, 2), coef, upper=True) * there[..., None]

def timed(f):
    start = time.process_time()
    f()
    return 1000 * (time.process_time() - start)

def main():
    torch.set_num_threads(1)
    short_way = experts.solve
    print('| tables x rows x columns | long way | `fit` | ratio | difference of the evidence |\n|---|---|---|---|---|')
    for b, s, f, limit in SHAPES:
        g = torch.Generator().manual_seed(0)
        v = torch.randn(b, s, f, generator=g)
        x = torch.stack([v.asinh(), 2 * v.argsort(1).argsort(1) / s - 1, torch.zeros_like(v)], -1)
        y = ((v[..., 0] + v[..., 1] ** 2) > 0.5).long()
        model, times, said = experts.KernelExperts(MitraConfig()), {long_way: [], short_way: []}, []
        model.limit = limit
        for i in range(11):
            for way in times:
                experts.solve = way
                times[way].append(timed(lambda: model.fit(x, y)))
                if i == 0: said.append(model.evidence(x, model.fit(x, y)))
        long, short = (statistics.median(t[2:]) for t in times.values())
        print(f'| {b} x {s} x {f} | {long:.1f} ms | {short:.1f} ms | {long / short:.2f} | {(said[0] - said[1]).abs().max():.0e} of {said[0].abs().max():.0f} |', flush=True)
    experts.solve = short_way

if __name__ == '__main__': main()
