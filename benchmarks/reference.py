"""Mitra here against AutoGluon's own implementation (`Tab2D`, version 1.6.3) with the same random weights: time, and how far the predictions differ.
Writes benchmarks/reference.json (reference_cuda.json on a GPU), which the documentation shows.

    pip install --no-deps autogluon.tabular==1.6.3 einops einx omegaconf antlr4-python3-runtime==4.9.3 loguru frozendict
    python benchmarks/reference.py [--sizes ours public] [--repeats 3] [--device cuda]

One thread and processor time on a CPU; the clock on a GPU. All ways in turn, medians. `cold` is 500 + 500 rows of 10 columns; `warm` is a later call
that asks about a context of 1,000 rows, which the reference reads again each time. bfloat16 is `torch.autocast` around the call.
"""
import argparse, contextlib, importlib, importlib.util, json, statistics, sys, time, types
from importlib import metadata
from pathlib import Path

import torch

from machine import made_by
from tabtune.core.config import config_from_json
from tabtune.model.mitra import Mitra

SIZES = dict(ours=(64, 2, 4), public=(512, 12, 4))  # width, blocks, heads
INSTALL = __doc__.split('\n\n')[1].strip().splitlines()[0]

def tab2d():
    "AutoGluon's class, without the packages that the rest of AutoGluon needs; None if it is not installed."
    found = importlib.util.find_spec('autogluon')
    if found is None: return None
    root = Path(next(iter(found.submodule_search_locations)))
    for name in ('autogluon', 'autogluon.tabular', 'autogluon.tabular.models'):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(root.joinpath(*name.split('.')[1:]))]
    try: return importlib.import_module('autogluon.tabular.models.mitra._internal.models.tab2d').Tab2D
    except ImportError as e: print(e, file=sys.stderr)

def both(Reference, size, device):
    "The reference and ours, with the same weights."
    dim, n_layers, heads = SIZES[size]
    torch.manual_seed(0)
    theirs = Reference(dim, 10, n_layers, heads, 'CLASSIFICATION', False, '', device).to(device).eval()
    ours = Mitra(config_from_json(dict(dim=dim, dim_output=10, n_layers=n_layers, n_heads=heads, task='CLASSIFICATION'))).to(device).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours

def ask(theirs, x, y, q):
    "The reference's logits."
    rows = lambda n: torch.zeros(1, n, dtype=torch.bool, device=x.device)
    return theirs(x[None], y[None], q[None], rows(x.shape[1]), rows(len(x)), rows(len(q)))

def timed(f, device):
    "Seconds, and the result."
    clock = time.process_time if device == 'cpu' else time.perf_counter
    if device != 'cpu': torch.cuda.synchronize()
    start = clock()
    out = f()
    if device != 'cpu': torch.cuda.synchronize()
    return clock() - start, out

def in_turn(ways, repeats, device):
    "Median seconds of each way, and its last result."
    times, results = {name: [] for name in ways}, {}
    for _ in range(repeats):
        for name, f in ways.items():
            seconds, results[name] = timed(f, device)
            times[name].append(seconds)
    return {name: statistics.median(t) for name, t in times.items()}, results

def row(what, size, ways, repeats, device):
    "One line of the result: seconds, ratios to the reference, and the largest difference of a probability."
    seconds, results = in_turn(ways, repeats, device)
    p = {k: v.float().softmax(-1) for k, v in results.items()}
    out = dict(what=what, size=size, repeats=repeats, seconds=seconds, ratio={k: seconds['reference'] / seconds[k] for k in ways},
               difference={k: (p[k] - p['reference']).abs().max().item() for k in ways})
    print(what, size, *(f'{k}: {seconds[k]:.3f} s, {out["ratio"][k]:.2f} times as fast, apart {out["difference"][k]:.0e};' for k in ways), flush=True)
    return out

def measure(Reference, size, repeats, device):
    "Cold and warm calls at one size."
    theirs, ours = both(Reference, size, device)
    x, y, q = torch.randn(1000, 10, device=device), torch.randint(0, 10, (1000,), device=device), torch.randn(1000, 10, device=device)
    half = lambda: torch.autocast(device.split(':')[0], dtype=torch.bfloat16)
    def cold(context):
        with context(): return ours(x[None, :500], y[None, :500], q[None, :500])
    def warm(cache, n, context):
        with context(): return ours.predict_logits(cache, q[None, :n])
    with torch.inference_mode():
        for _ in range(2): ours(x[None, :50], y[None, :50], q[None, :50])
        yield row('cold, 500 + 500 rows', size, dict(reference=lambda: ask(theirs, x[:500], y[:500], q[:500]), float32=lambda: cold(contextlib.nullcontext),
                                                     bfloat16=lambda: cold(half)), repeats, device)
        cache = ours.encode_support(x[None], y[None])
        with half(): cache16 = ours.encode_support(x[None], y[None])
        for n in (1, 100, 1000):
            ways = dict(reference=lambda: ask(theirs, x, y, q[:n]), float32=lambda: warm(cache, n, contextlib.nullcontext), bfloat16=lambda: warm(cache16, n, half))
            yield row(f'warm, {n:,} queries', size, ways, repeats, device)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', nargs='*', default=list(SIZES), choices=list(SIZES))
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    a = parser.parse_args()
    Reference = tab2d()
    if Reference is None: return print(f'skipped: the reference is not installed. Install it with\n    {INSTALL}')
    torch.set_num_threads(1)
    path = Path(__file__).with_name('reference.json' if a.device == 'cpu' else 'reference_cuda.json')
    kept = [r for r in json.loads(path.read_text())['results'] if r['size'] not in a.sizes] if path.exists() else []
    for r in (r for size in a.sizes for r in measure(Reference, size, a.repeats, a.device)):
        kept.append(r)
        out = dict(device=a.device, **made_by(), torch=metadata.version('torch'), autogluon=metadata.version('autogluon.tabular'), results=kept)
        path.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
