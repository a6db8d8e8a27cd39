"""How many cells a training step digests in a second, and what each way of computing it brings: ratios of one run.

    python benchmarks/train.py [--sizes 64x2 128x4] [--batches 5] [--threads 1] [--compile] [--out benchmarks/train.csv]

A batch is what `tabtune-pretrain` sees (12,000 cells at the start). The ways take turns, after four batches to warm up;
those that draw equally far ahead see the same batches. Times are those of the processor, so that other work on the machine
matters less. A step is the drawing of the tables, forward, backward and the optimiser.
"""
import argparse, time
from pathlib import Path

import pandas as pd
import torch

from tabtune.model import mitra
from tabtune.core.config import MitraConfig
from tabtune.training.episodes import PriorEpisodes
from tabtune.model.fused import library
from tabtune.model.mitra import Mitra, neighbour_init
from tabtune.training.loop import episode_loss

def compiled(model):
    for block in model.layers: block.forward = torch.compile(block.forward, dynamic=True)

WAYS = {  # name -> (variant, bfloat16 in linear layers, tables drawn for so many batches at once, change, the kernel?)
    'float32, no experts': (dict(experts='none'), False, 1, None, False),
    'bfloat16 in linear layers': (dict(experts='none'), True, 1, None, False),
    'and tables for four batches drawn at once': (dict(experts='none'), True, 4, None, False),
    'and compiled blocks': (dict(experts='none'), True, 4, compiled, False),
    'and the kernel': (dict(experts='none'), True, 4, None, True),
    'with experts, 256 landmarks': ({}, True, 4, None, False),
    'with experts and the kernel': ({}, True, 4, None, True),
}

def stepper(d_model, num_layers, variant, bf16, ahead, change, kernel):
    "A function that does one step and says (seconds, cells)."
    torch.manual_seed(0)
    model = neighbour_init(Mitra(MitraConfig(d_model=d_model, num_layers=num_layers, dropout=0.0, **variant))).train()
    if hasattr(model.experts, 'max_landmarks'): model.experts.max_landmarks = 256
    if change: change(model)
    opt, stream = torch.optim.AdamW(model.parameters(), lr=1e-3), PriorEpisodes(0, ahead=ahead, cells=12_000)
    def step():
        mitra.library = library if kernel else lambda: None
        start = time.process_time()
        ep = next(stream)
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16): loss = episode_loss(model, ep)
        loss.backward(); opt.step(); opt.zero_grad()
        return time.process_time() - start, ep.cells
    return step

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--sizes', nargs='+', default=['64x2', '128x4'])
    ap.add_argument('--batches', type=int, default=5, help='times four')
    ap.add_argument('--threads', type=int, default=1)
    ap.add_argument('--compile', action='store_true', help='also compiled blocks (minutes of compiling)')
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    if library() is None: print('no kernel on this machine: its rows measure the way without it')
    rows = []
    for size in a.sizes:
        ways = {k: stepper(*map(int, size.split('x')), *w) for k, w in WAYS.items() if a.compile or w[3] is None}
        for step in ways.values(): [step() for _ in range(4)]
        for i in range(4 * a.batches):
            for name, step in ways.items():
                seconds, cells = step()
                rows.append(dict(size=size, way=name, turn=i // 4, seconds=seconds, cells=cells))
    turns = pd.DataFrame(rows).groupby(['size', 'way', 'turn'], sort=False).sum()  # four batches: one drawing of tables
    turns['per_second'] = turns.cells / turns.seconds
    table = turns.groupby(['size', 'way'], sort=False).per_second.median().round(-2).to_frame('cells_per_second')
    first = table.groupby('size', sort=False).cells_per_second.transform('first')
    table['ratio'] = (table.cells_per_second / first).round(2)
    table.to_csv(a.out)
    print(table)

if __name__ == '__main__': main()
