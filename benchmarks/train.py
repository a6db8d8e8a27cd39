"""How many cells a training step digests in a second, and what each way of computing it brings: ratios of one run.

    python benchmarks/train.py [--sizes 64x2 128x4] [--batches 5] [--threads 1] [--compile] [--out benchmarks/train.csv]

A batch is what `tabtune pretrain` sees (12,000 cells at the start). The ways take turns, after four batches to warm up;
those that prefetch equally many batches see the same batches. Times are those of the processor, so that other work on the machine
matters less. A step is the drawing of the tables, forward, backward and the optimiser. The kernel is measured with each set of
instructions that this machine can run; the last rows are predictions of 1,000 rows by 1,000 with 20 columns, in which the kernel
has no part. `ratio` is to the first row of a size, `kernel_ratio` to the same way without the kernel.
"""
import argparse, time
from pathlib import Path

import pandas as pd
import torch

from machine import processor
from tabtune.core.config import MitraConfig
from tabtune.model import kernel
from tabtune.model.mitra import Mitra, neighbour_init
from tabtune.training.episodes import PriorEpisodes
from tabtune.training.loop import episode_loss

def compiled(model):
    for block in model.layers: block.forward = torch.compile(block.forward, dynamic=True)

TABLES, EXPERTS, PREDICTION = 'and tables for four batches drawn at once', 'with experts, 256 landmarks', 'prediction, 1,000 x 20 by 1,000'
WAYS = {  # name -> (variant, bfloat16 in linear layers, tables drawn for so many batches at once, change)
    'float32, no experts': (dict(experts='none'), False, 1, None),
    'bfloat16 in linear layers': (dict(experts='none'), True, 1, None),
    TABLES: (dict(experts='none'), True, 4, None),
    'and compiled blocks': (dict(experts='none'), True, 4, compiled),
    EXPERTS: ({}, True, 4, None),
}

def model_of(size, variant):
    torch.manual_seed(0)
    d_model, num_layers = map(int, size.split('x'))
    model = neighbour_init(Mitra(MitraConfig(d_model=d_model, num_layers=num_layers, dropout=0.0, **variant))).train()
    if hasattr(model.experts, 'max_landmarks'): model.experts.max_landmarks = 256
    return model

def timed(instructions, f):
    "Seconds of the processor that `f()` takes, with these instructions of the kernel (None: without it), and what it returns."
    lib = kernel.open_library(instructions) if instructions else None
    kernel.library = lambda: lib
    start = time.process_time()
    out = f()
    return time.process_time() - start, out

def stepper(size, variant, bf16, prefetch, change, instructions):
    "A function that does one step and returns (seconds, cells)."
    model = model_of(size, variant)
    if change: change(model)
    opt, stream = torch.optim.AdamW(model.parameters(), lr=1e-3), PriorEpisodes(0, prefetch=prefetch, cells=12_000)
    def step():
        ep = next(stream)
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16): loss = episode_loss(model, ep)
        loss.backward(); opt.step(); opt.zero_grad()
        return ep.cells
    return lambda: timed(instructions, step)

def predictor(size, instructions):
    "A function that predicts 1,000 rows by 1,000 and returns (seconds, cells)."
    model, gen = model_of(size, {}).eval(), torch.Generator().manual_seed(0)
    x, xq = (torch.randn(1, 1000, 20, generator=gen) for _ in range(2))
    def predict():
        with torch.inference_mode(): model(x, (x[..., 0] > 0).long(), xq)
        return 2 * x.numel()
    return lambda: timed(instructions, predict)

def ways_of(size, sets, compile):
    "Name -> (a function that does one step, the name of the way without the kernel or None)."
    out = {name: (stepper(size, *way, None), None) for name, way in WAYS.items() if compile or way[3] is None}
    for s in sets:
        for name in (TABLES, EXPERTS): out[f'{name}, kernel ({s})'] = stepper(size, *WAYS[name], s), name
    out[PREDICTION] = predictor(size, None), None
    for s in sets: out[f'{PREDICTION}, kernel ({s})'] = predictor(size, s), PREDICTION
    return out

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--sizes', nargs='+', default=['64x2', '128x4'])
    ap.add_argument('--batches', type=int, default=5, help='times four')
    ap.add_argument('--threads', type=int, default=1)
    ap.add_argument('--compile', action='store_true', help='also compiled blocks (minutes of compiling)')
    ap.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.csv'))
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    sets = [s for s in kernel.INSTRUCTIONS[1:] if (lib := kernel.open_library(s)) and lib.instructions == s]
    if not sets: print('no kernel on this machine')
    rows, without = [], {}
    for size in a.sizes:
        ways = ways_of(size, sets, a.compile)
        without |= {name: plain for name, (_, plain) in ways.items() if plain}
        for step, _ in ways.values(): [step() for _ in range(4)]
        for i in range(4 * a.batches):
            for name, (step, _) in ways.items():
                seconds, cells = step()
                rows.append(dict(size=size, way=name, repeat=i // 4, seconds=seconds, cells=cells))
    repeats = pd.DataFrame(rows).groupby(['size', 'way', 'repeat'], sort=False).sum()  # four batches: one drawing of tables
    repeats['per_second'] = repeats.cells / repeats.seconds
    table = repeats.groupby(['size', 'way'], sort=False).per_second.median().round(-2).to_frame('cells_per_second')
    first = table.groupby('size', sort=False).cells_per_second.transform('first')
    table['ratio'] = (table.cells_per_second / first).round(2)
    table['kernel_ratio'] = [round(v / table.cells_per_second[size, without[way]], 2) if way in without else None
                             for (size, way), v in table.cells_per_second.items()]
    table['processor'] = processor()
    table.to_csv(a.out)
    print(table)

if __name__ == '__main__': main()
