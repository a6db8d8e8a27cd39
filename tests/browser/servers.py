"Servers for the browser tests."
import os, socket, subprocess, time, urllib.error, urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT/'build'/'screenshots'

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def environment(home):
    "An environment that knows nothing of the user's own Jupyter."
    own = {k: str(home/k.lower()) for k in ('JUPYTER_CONFIG_DIR', 'JUPYTER_RUNTIME_DIR', 'IPYTHONDIR')}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    return os.environ | own | dict(PYTHONPATH=path, PYDEVD_DISABLE_FILE_VALIDATION='1', IN_TEST='1')

@contextmanager
def server(command, url, home):
    "A server that answers at `url` while the block lasts."
    with open(home/'server.log', 'w') as log:
        p = subprocess.Popen(command, env=environment(home), cwd=home, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(3000):
            if p.poll() is not None: raise RuntimeError((home/'server.log').read_text()[-2000:])
            try: urllib.request.urlopen(url, timeout=2); break
            except urllib.error.HTTPError: break  # it answers
            except OSError: time.sleep(0.1)
        yield
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired: p.kill()
