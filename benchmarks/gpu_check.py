"""What a GPU is asked in ten minutes: `make gpu-check`.

    python benchmarks/gpu_check.py [--device cuda] [--out benchmarks/results.json] [--only parity tuning memory out_of_memory speed] [--rows 1000]

parity         predictions of both tasks and all bundled sizes, on the GPU and on the CPU: largest difference
tuning         `base-ft` and `peft` on the GPU: seconds per step, loss before and after, the tuned model's parity with its copy on the CPU
memory         the memory curve that the dashboard draws: the columns of `history_`, and what the view reads of them
out_of_memory  a step that finds too little memory goes on in smaller parts (memory runs out for real where it can be bounded, else the error is simulated),
               and a model's gradients are the same afterwards
speed          `benchmarks/speed.py` and `benchmarks/tuning.py speed`: the GPU's rows (into the files that they write)

Each part runs in a process of its own, so that one that fails or is killed costs itself alone. `results.json` has the machine, what each part
found, how long it took, and `passed`. The exit status is 1 if a part failed. `--device cpu` rehearses everything on a machine without a GPU.
"""
import argparse, json, os, platform, subprocess, sys, time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent

def table(rows, columns=10, seed=0):
    "A table with a class and a number."
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns))
    signal = X[:, 0] + X[:, 1] * X[:, 2]
    return X, (signal + rng.logistic(size=rows) > 0).astype(int), signal + rng.normal(size=rows)

def parity(device, rows):
    "Largest differences between the device and the CPU: probabilities, and numbers in standard deviations of the target."
    from tabtune import MitraClassifier, MitraRegressor
    from tabtune.model.checkpoints import bundled
    X, label, number = table(rows + 200)
    out = {}
    for name in bundled():
        make, y = (MitraRegressor, number) if 'regression' in name else (MitraClassifier, label)
        answers = []
        for d in ('cpu', device):
            est = make(name, device=d, experts=None).fit(X[:rows], y[:rows])
            answers.append(est.predict_proba(X[rows:]) if y is label else est.predict(X[rows:]) / number.std())
        out[name] = float(np.abs(answers[0] - answers[1]).max())
    return dict(passed=max(out.values()) < 5e-3, largest_difference=out)

def tuning(device, rows):
    "Both strategies on the device; the tuned model answers on the CPU as it does there."
    import copy, torch
    from tabtune import TabularPipeline
    X, label, _ = table(rows + 200)
    out, ok = {}, True
    for strategy in ('base-ft', 'peft'):
        steps = dict(epochs=2, steps_per_epoch=10, batch_size=4, support_size=256, query_size=128, device=device, show_progress=False)
        start = time.perf_counter()
        pipe = TabularPipeline(tuning_strategy=strategy, tuning_params=steps).fit(X[:rows], label[:rows])
        seconds, h = time.perf_counter() - start, pipe.history_
        est = pipe.estimator_
        there, here = est.predict_proba(X[rows:]), copy.deepcopy(est)
        here.device_ = torch.device('cpu'); here.set_model(here.model_)
        gap = float(np.abs(there - here.predict_proba(X[rows:])).max())
        finite = bool(np.isfinite(h.loss.dropna()).all())
        ok &= finite and gap < 5e-3 and est.device_.type == device
        out[strategy] = dict(seconds=round(seconds, 2), steps=int(h.step.max()), loss_untuned=pipe.tuning_report_.get('loss_untuned'),
                             loss_tuned=pipe.tuning_report_.get('loss_tuned'), kept=pipe.tuning_report_.get('kept'), cpu_difference=gap)
    return dict(passed=ok, **out)

def memory(device, rows):
    "The columns that the dashboard's memory curve is drawn from; on a GPU they must be there, rise above zero, and stay below the card's size."
    import torch
    from tabtune import TabularPipeline
    X, label, _ = table(rows)
    steps = dict(epochs=2, steps_per_epoch=5, batch_size=2, device=device, show_progress=False)
    h = TabularPipeline(tuning_strategy='base-ft', tuning_params=steps).fit(X, label).history_
    wanted = ['cuda_mib', 'cuda_reserved_mib', 'cuda_peak_mib'] if device == 'cuda' else ['rss_mib']
    curve = {c: [round(float(v), 1) for v in h[c].dropna()] for c in wanted if c in h}
    size = torch.cuda.get_device_properties(0).total_memory / 2 ** 20 if device == 'cuda' else float('inf')
    ok = list(curve) == wanted and all(0 < max(v, default=0) < size for v in curve.values())
    if device == 'cuda' and ok: ok = max(curve['cuda_mib']) <= max(curve['cuda_peak_mib']) <= size
    return dict(passed=bool(ok), curve=curve)

CELLS = dict(cuda=400_000, cpu=6_000)  # of the batch that memory is short for

def out_of_memory(device, rows):
    "A step that finds too little memory: in smaller parts, with the gradients of the whole."
    import torch
    from tabtune.model.checkpoints import load_checkpoint
    from tabtune.training.episodes import PriorEpisodes
    from tabtune.training.loop import LoopSettings, Trainer, episode_loss
    def trainer(loss=episode_loss):
        return Trainer(load_checkpoint('small').train(), PriorEpisodes(0, cells=CELLS[device]), LoopSettings(device=device, n_steps=1), loss=loss)
    ep = next(PriorEpisodes(0, cells=CELLS[device]))
    def gradients(t):
        while t._try_backward([ep.to(t.accelerator.device)]) is None: t.optimizer.zero_grad()
        return torch.cat([p.grad.flatten().cpu() for p in t.raw_model.parameters() if p.grad is not None])
    whole = trainer()
    want, bounded, small = gradients(whole), None, None
    if device == 'cuda':  # for real: the process may use a little less than the whole batch took
        peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
        del whole; torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(max(0.7 * peak / total, 1e-4))
        small = trainer()
        try: got = gradients(small)
        finally: torch.cuda.set_per_process_memory_fraction(1.)
        bounded = round(0.7 * peak / 2 ** 20)
    if small is None or small.micro_batches == 1:  # memory that is told to have run out, by the error that CUDA raises
        limit = ep.y_query.numel() // 3
        def short_of_memory(model, part):
            if part.y_query.numel() > limit: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB')
            return episode_loss(model, part)
        small, bounded = trainer(short_of_memory), None
        got = gradients(small)
    gap = float((got - want).abs().max() / want.abs().max())
    return dict(passed=small.micro_batches > 1 and gap < 1e-2, parts=small.micro_batches, memory_bound_mib=bounded, gradient_difference=gap)

def speed(device, rows):
    "The benchmarks' own rows for this device."
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE.parent), os.environ.get('PYTHONPATH', '')]))
    commands = [[sys.executable, str(HERE/'speed.py'), '--device', device, '--rows', str(rows)]]
    if device == 'cuda': commands.append([sys.executable, str(HERE/'tuning.py'), 'speed', '--strategies', 'base-ft', 'peft'])
    else: commands[0] += ['--names', 'small', '--help']  # a rehearsal writes no figures of a CPU over those that are there
    done = [subprocess.run(c, env=env, capture_output=True, text=True) for c in commands]
    return dict(passed=all(d.returncode == 0 for d in done), output=[(d.stdout + d.stderr)[-1500:] for d in done])

PARTS = dict(parity=parity, tuning=tuning, memory=memory, out_of_memory=out_of_memory, speed=speed)
LIMIT = 300  # seconds for each part

def machine(device) -> dict:
    "What it was measured on."
    import torch
    gpu = dict(gpu=torch.cuda.get_device_name(), gpu_mib=torch.cuda.get_device_properties(0).total_memory // 2 ** 20, cuda=torch.version.cuda) \
        if device == 'cuda' and torch.cuda.is_available() else {}
    return dict(processor=platform.processor() or platform.machine(), cores=os.cpu_count(), python=platform.python_version(), torch=torch.__version__, **gpu)

def run_part(name, device, rows, limit=LIMIT) -> dict:
    "One part, in a process of its own."
    start = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), '--part', name, '--device', device, '--rows', str(rows)]
    try: done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired: found = dict(passed=False, error=f'not done in {limit} s')
    else:
        lines = [l for l in done.stdout.splitlines() if l.startswith('{')]
        found = json.loads(lines[-1]) if done.returncode == 0 and lines else dict(passed=False, error=(done.stderr or done.stdout)[-1500:], status=done.returncode)
    return found | dict(seconds=round(time.perf_counter() - start, 1))

def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'])
    parser.add_argument('--out', default=str(HERE/'results.json'))
    parser.add_argument('--only', nargs='*', choices=list(PARTS), help='parts; left out: all')
    parser.add_argument('--rows', type=int, default=1000)
    parser.add_argument('--part', choices=list(PARTS), help=argparse.SUPPRESS)
    a = parser.parse_args(argv)
    import torch
    if a.device == 'cuda' and not torch.cuda.is_available():
        print('gpu-check: PyTorch sees no CUDA device here. With a GPU: pip install the torch build for it, then try again; '
              'without: python benchmarks/gpu_check.py --device cpu rehearses the checks', file=sys.stderr)
        return 2
    if a.part:
        print(json.dumps(PARTS[a.part](a.device, a.rows)))
        return 0
    out = dict(command='python benchmarks/gpu_check.py ' + ' '.join(sys.argv[1:] if argv is None else argv), device=a.device, machine=machine(a.device), parts={})
    for name in a.only or PARTS:
        out['parts'][name] = found = run_part(name, a.device, a.rows)
        print(f"{name}: {'passed' if found['passed'] else 'FAILED'} in {found['seconds']} s {'' if found['passed'] else found.get('error', found)}", flush=True)
    out['passed'] = all(p['passed'] for p in out['parts'].values())
    Path(a.out).write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')
    print(f'gpu-check: {a.out}')
    return 0 if out['passed'] else 1

if __name__ == '__main__': sys.exit(main())
