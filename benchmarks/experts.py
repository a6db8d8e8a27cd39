"""What the shortcuts of the experts' solutions save: `KernelExperts.fit` as it is, and by landmarks, triangular solves and four Cholesky factors throughout.

    python benchmarks/experts.py

One thread, processor time, both alternately, medians of nine after two to warm up. Prints a table and the largest difference of the evidence.
"""
import statistics, time

import torch

from tabtune.core.config import MitraConfig
from tabtune.model import experts

SHAPES = [(1, 150, 8, 512), (1, 500, 10, 512), (1, 1000, 20, 512), (14, 90, 6, 256), (60, 20, 6, 256), (2, 400, 20, 256)]  # tables, rows, columns, landmarks

def solve_without_shortcuts(expert, numbers, targets, row_mask, weights, marks):
    "`experts.solve` without its two shortcuts."
    own = expert.kernel(marks.numbers, marks.numbers, weights) * marks.exists[:, None] * marks.exists[..., None]
    root = torch.linalg.cholesky(own + torch.diag_embed(experts._jitter(own.diagonal(dim1=1, dim2=2), marks.exists) + 1 - marks.exists))
    across = (expert.kernel(numbers, marks.numbers, weights) * marks.exists[:, None] * row_mask[..., None]).transpose(1, 2)
    loo, coef = experts.ridge(torch.linalg.solve_triangular(root, across, upper=False).transpose(1, 2), targets * row_mask[..., None])
    return loo, marks.numbers, torch.linalg.solve_triangular(root.transpose(1, 2), coef, upper=True) * marks.exists[..., None]

def timed(f):
    start = time.process_time()
    f()
    return 1000 * (time.process_time() - start)

def example(tables, rows, columns):
    "Numbers of the cells, and classes."
    v = torch.randn(tables, rows, columns, generator=torch.Generator().manual_seed(0))
    numbers = torch.stack([v.asinh(), 2 * v.argsort(1).argsort(1) / rows - 1, torch.zeros_like(v)], -1)
    return numbers, ((v[..., 0] + v[..., 1] ** 2) > 0.5).long()

def main():
    torch.set_num_threads(1)
    solve = experts.solve
    print('| tables x rows x columns | without shortcuts | `fit` | ratio | difference of the evidence |\n|---|---|---|---|---|')
    for b, s, f, limit in SHAPES:
        x, y = example(b, s, f)
        model, times, evidence = experts.KernelExperts(MitraConfig()), {solve_without_shortcuts: [], solve: []}, []
        model.max_landmarks = limit
        for i in range(11):
            for experts.solve in times:
                times[experts.solve].append(timed(lambda: model.fit(x, y)))
                if i == 0: evidence.append(model.evidence(x, model.fit(x, y)))
        without, short = (statistics.median(t[2:]) for t in times.values())
        difference = (evidence[0] - evidence[1]).abs().max()
        print(f'| {b} x {s} x {f} | {without:.1f} ms | {short:.1f} ms | {without / short:.2f} | {difference:.0e} of {evidence[0].abs().max():.0f} |', flush=True)
    experts.solve = solve

if __name__ == '__main__': main()
