"""What a checkpoint makes of its kernel experts: loss on held-out synthetic tables with all of them, without each, with each alone and with none.

    python benchmarks/kernel_experts.py medium medium-regression [--tables 2] [--card]

Tables of 100 to 500 rows of all priors, 64 queries each, none of them seen in training. Loss is log loss, or nats of the target's density.
`--card` writes the figures into the checkpoint's card.json.
"""
import argparse, json
from contextlib import ExitStack
from unittest.mock import patch

import pandas as pd
import torch

from tabtune.core.files import write_atomic
from tabtune.model import experts, target_experts
from tabtune.model.checkpoints import find_checkpoint, load_checkpoint, read_card
from tabtune.training.pretrain import validation_loss, validation_set

NAMES = [*experts.KERNEL_EXPERTS]
SUBSETS = {'all': NAMES, **{f'without {n}': [m for m in NAMES if m != n] for n in NAMES}, **{f'only {n}': [n] for n in NAMES}, 'none': []}

def with_only(kept):
    "Solutions in which the other experts predict the class frequencies, or the mean."
    solve_all, at, patches = experts.solve_all, [float(n in kept) for n in NAMES], ExitStack()
    def solve(*args, **kwargs):
        loo, marks, coef = solve_all(*args, **kwargs)
        return [p * k for p, k in zip(loo, at)], marks, [c * k for c, k in zip(coef, at)]
    for module in (experts, target_experts): patches.enter_context(patch.object(module, 'solve_all', solve))
    return patches

def losses(checkpoint, tables_each) -> pd.Series:
    "Mean loss by subset of the experts."
    model, out = load_checkpoint(checkpoint), {}
    episodes = validation_set(tables_each=tables_each, task=model.config.task)
    for name, kept in SUBSETS.items():
        with with_only(kept): out[name] = validation_loss(model, episodes).mean()
    return pd.Series(out).round(4)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('checkpoints', nargs='+', help='bundled names or directories')
    ap.add_argument('--tables', type=int, default=2, help='of each prior and size')
    ap.add_argument('--card', action='store_true', help="write the result into the checkpoint's card.json")
    a = ap.parse_args()
    torch.set_num_threads(1)
    found = {c: losses(c, a.tables) for c in a.checkpoints}
    print(pd.DataFrame(found).to_string())
    for checkpoint in found if a.card else ():
        path = find_checkpoint(checkpoint)/'card.json'
        result = dict(command=f'python benchmarks/kernel_experts.py CHECKPOINT --tables {a.tables}', loss=found[checkpoint].to_dict())
        write_atomic(path, lambda p: p.write_text(json.dumps(read_card(checkpoint) | dict(kernel_experts=result), indent=1) + '\n'))

if __name__ == '__main__': main()
