"""A small prediction server under load: rate, latency, wrong answers, memory, and what a killed worker costs.

    pip install fastapi uvicorn
    OMP_NUM_THREADS=1 python benchmarks/serve.py [--requests 20000] [--rates student=200 model=50] [--workers 2] [--out benchmarks/serve.json]

The server is `benchmarks/serve_app.py`, the app at the end of the tutorial "Into production", run by uvicorn with several workers.
A client in a process of its own asks for one row at a time, at a fixed rate: a request is sent when it is due, whether the one before was answered
or not, so that a slow server shows as waiting time and not as a lower rate. Every answer is compared with that of the pipeline in memory.

 1. `model`: the pipeline itself, a twentieth of the requests; `processor_ms` is what the workers use for one request
 2. `student`: the distilled student, all requests; memory of the workers before, at half, and at the end
 3. a worker is killed amid requests at the student's rate: which requests are lost, and how long until the next answer
"""
import argparse, asyncio, json, os, platform, signal, socket, sys, tempfile, time
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil

HERE = Path(__file__).resolve().parent

def prepare(folder):
    "Fit a pipeline and a student on the bundled table; files for the server, and rows with their right answers."
    from tabtune import TabularPipeline, read_table
    df = read_table(files('tabtune')/'examples'/'titanic.csv.gz')
    X, y = df.drop(columns='survived'), df['survived']
    pipe = TabularPipeline().fit(X[:900], y[:900])
    student = pipe.distill(report=False)
    pipe.save(folder/'model.tabtune'); student.save(folder/'model.student')
    new = X[900:].reset_index(drop=True)
    rows = json.loads(new.to_json(orient='records'))
    return rows, dict(model=pipe.predict_proba(new), student=student.predict_proba(new))

class Server:
    "uvicorn with some workers, in processes of their own."
    def __init__(self, folder, workers):
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); self.port = s.getsockname()[1]
        env = os.environ | dict(TABTUNE_SERVE=str(folder), OMP_NUM_THREADS='1')
        command = [sys.executable, '-m', 'uvicorn', 'serve_app:app', '--host', '127.0.0.1', '--port', str(self.port), '--workers', str(workers),
                   '--log-level', 'warning', '--no-access-log']
        self.process = psutil.Popen(command, cwd=HERE, env=env)

    def workers(self):
        "The processes that answer, without those that have ended."
        alive = [p for p in self.process.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
        return [p for p in alive if 'spawn_main' in ' '.join(p.cmdline())] or [self.process]

    def memory(self) -> float:
        "MiB of all workers."
        return sum(p.memory_info().rss for p in self.workers()) / 2 ** 20

    def processor_seconds(self) -> float:
        "What all workers have used of a processor."
        return sum(sum(p.cpu_times()[:2]) for p in self.workers())

    def stop(self):
        for p in [*self.process.children(recursive=True), self.process]:
            if p.is_running(): p.terminate()
        self.process.wait(20)

async def ask(port, path, row, timeout=30):
    "One request over a connection of its own: its probabilities, or the error's name."
    body = json.dumps(row).encode()
    head = f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n'
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection('127.0.0.1', port)
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
        status, content = answer.split(b'\r\n', 1)[0].split()[1], answer.split(b'\r\n\r\n', 1)[1]
        return list(json.loads(content)['probabilities'].values()) if status == b'200' else f'status {status.decode()}'
    except (OSError, TimeoutError, IndexError, ValueError) as e: return type(e).__name__

async def load(port, path, rows, right, n, rate, halfway=None):
    "Send `n` requests at `rate` a second; what came of them."
    answers, waits, start = [None] * n, np.full(n, np.nan), time.perf_counter()
    async def one(i):
        due = start + i / rate
        answers[i] = await ask(port, path, rows[i % len(rows)])
        waits[i] = time.perf_counter() - due
    tasks = []
    for i in range(n):
        await asyncio.sleep(max(0., start + i / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(i)))
        if halfway and i == n // 2: halfway()
    await asyncio.gather(*tasks)
    seconds = time.perf_counter() - start
    lost = [(i, a) for i, a in enumerate(answers) if isinstance(a, str)]
    wrong = sum(not isinstance(a, str) and np.abs(np.array(a) - right[i % len(rows)]).max() > 1e-5 for i, a in enumerate(answers))
    ms = np.quantile(1000 * waits, [0.5, 0.99, 1])
    return dict(requests=n, asked_per_second=rate, answered_per_second=round((n - len(lost)) / seconds, 1), wrong=int(wrong), lost=len(lost),
                errors=sorted({e for _, e in lost}), median_ms=round(ms[0], 2), p99_ms=round(ms[1], 2), longest_ms=round(ms[2], 2))

async def until_ready(port, row, seconds=120):
    "Wait for the first answers, and warm all workers."
    end = time.perf_counter() + seconds
    while isinstance(await ask(port, '/student', row), str):
        if time.perf_counter() > end: raise SystemExit('the server did not start')
        await asyncio.sleep(0.5)
    await asyncio.gather(*[ask(port, path, row) for path in ('/student', '/model') for _ in range(40)])

async def measure(server, rows, right, rates, n, workers):
    "All three parts."
    await until_ready(server.port, rows[0])
    async def part(name, n, **more):
        before = server.processor_seconds()
        found = await load(server.port, f'/{name}', rows, right[name], n, rates[name], **more)
        return found | dict(processor_ms=round(1000 * (server.processor_seconds() - before) / n, 2))
    out = dict(model=await part('model', max(20, n // 20)))
    memory = [server.memory()]
    out['student'] = await part('student', n, halfway=lambda: memory.append(server.memory()))
    out['student']['memory_mib'] = [round(m, 1) for m in [*memory, server.memory()]]
    def kill(): out['killed_worker'] = server.workers()[0].pid; os.kill(out['killed_worker'], signal.SIGKILL)
    after = await load(server.port, '/student', rows, right['student'], max(100, n // 10), rates['student'], kill)
    end = time.perf_counter() + 60
    while len(server.workers()) < workers and time.perf_counter() < end: await asyncio.sleep(0.5)
    return out | dict(killed=after | dict(workers_at_the_end=len(server.workers())))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--requests', type=int, default=20_000)
    parser.add_argument('--rates', nargs='*', default=['student=200', 'model=50'], help='requests a second')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--out', help='a JSON file')
    a = parser.parse_args()
    try: import fastapi, uvicorn  # noqa: F401
    except ImportError as e: raise SystemExit(f'{e.name} is missing: pip install fastapi uvicorn')
    rates = dict(student=200., model=50.) | {k: float(v) for k, v in (r.split('=') for r in a.rates)}
    with tempfile.TemporaryDirectory() as folder:
        rows, right = prepare(Path(folder))
        server = Server(folder, a.workers)
        try: found = asyncio.run(measure(server, rows, right, rates, a.requests, a.workers))
        finally: server.stop()
    model = next((l.split(':', 1)[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), '') if Path('/proc/cpuinfo').exists() else ''
    out = dict(command=' '.join(['python', 'benchmarks/serve.py', *sys.argv[1:]]), processor=model or platform.processor(), cores=os.cpu_count(), workers=a.workers, **found)
    print(json.dumps(out, indent=1))
    if a.out: Path(a.out).write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')
    bad = [f'{name}: {r["wrong"]} wrong, {r["lost"]} lost' for name, r in out.items() if isinstance(r, dict) and (r['wrong'] or r['lost'] and name != 'killed')]
    if bad: raise SystemExit('; '.join(bad))

if __name__ == '__main__': main()
