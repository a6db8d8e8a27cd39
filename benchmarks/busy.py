"""How much longer a tuning run takes beside busy loops, in the main thread and in a background thread.

    python benchmarks/busy.py [--loops 5] [--rows 1500] [--columns 10] [--steps 20] [--runs 2]

Idle and busy runs alternate; the last line gives the ratio of the medians for either thread. It wants an otherwise idle machine, and the
number of threads that PyTorch takes by itself (no OMP_NUM_THREADS).
"""
import argparse, statistics, subprocess, sys, threading, time, warnings

import numpy as np

def seconds(x, y, steps, background) -> float:
    "The wait for a fit with tuning."
    from tabtune import TabularPipeline
    params = dict(device='cpu', epochs=1, steps_per_epoch=steps, keep='last', show_progress=False)
    fit = lambda: TabularPipeline(tuning_strategy='base-ft', tuning_params=params).fit(x, y)
    start = time.perf_counter()
    if background:
        worker = threading.Thread(target=fit); worker.start(); worker.join()
    else: fit()
    return time.perf_counter() - start

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in dict(loops=5, rows=1500, columns=10, steps=20, runs=2).items(): ap.add_argument(f'--{name}', type=int, default=default)
    a = ap.parse_args()
    warnings.simplefilter('ignore')
    r = np.random.default_rng(0)
    x = r.normal(size=(a.rows, a.columns)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    seconds(x, y, 1, False)  # the first call of a process loads libraries
    waits = {(busy, background): [] for busy in (False, True) for background in (False, True)}
    for _ in range(a.runs):
        for (busy, background), found in waits.items():
            loops = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(a.loops if busy else 0)]
            try: found.append(seconds(x, y, a.steps, background))
            finally:
                for p in loops: p.kill(); p.wait()
            print(f"{'busy' if busy else 'idle'}, {'background' if background else 'main'} thread: {found[-1]:.1f} s", flush=True)
    for background in (False, True):
        idle, busy = (statistics.median(waits[b, background]) for b in (False, True))
        print(f"{'background' if background else 'main'} thread: {idle:.1f} s idle, {busy:.1f} s beside {a.loops} busy loops: {busy / idle:.1f} times")

if __name__ == '__main__': main()
