"""Run notebooks from top to bottom, each in a kernel of its own, as a reader would. The files stay as they are; copies
with what came out are kept in build/notebooks, from where the documentation takes its pictures.

    python tools/run.py [NOTEBOOK ...]      (default: all under nbs/)
"""
import os, re, sys, time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from clean import notebooks

ROOT = Path(__file__).resolve().parent.parent

def skipped(source, has_cuda):
    "Is this a cell that can't run here: not meant to be run, or only with a GPU?"
    flags = re.findall(r'^\s*#\s*\|\s*(.+?)\s*$', source, re.M)
    return 'eval: false' in flags or ('cuda' in flags and not has_cuda)

KEPT = ROOT/'build'/'notebooks'

def keep(nb, path):
    "Write what was run to where the documentation looks for it."
    to = KEPT/path.relative_to(ROOT/'nbs') if path.is_relative_to(ROOT/'nbs') else KEPT/path.name
    to.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, to)

def run(path, has_cuda):
    "Run one notebook; the text of the error, or None."
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if c.cell_type == 'code' and not skipped(c.source, has_cuda)]
    client = NotebookClient(nb, timeout=1800, kernel_name='python3', extra_arguments=['--log-level=ERROR'],
                            resources=dict(metadata=dict(path=str(path.parent))))
    try: client.execute()
    except (CellExecutionError, DeadKernelError) as e: return str(e)
    finally: keep(nb, path)

def main(args):
    import torch
    os.environ['IN_TEST'] = '1'  # so that a library notebook's last cell exports nothing
    has_cuda, failed = torch.cuda.is_available(), []
    for path in [Path(a).resolve() for a in args] or notebooks(ROOT):
        start = time.time()
        error = run(path, has_cuda)
        print(f"{'FAILED' if error else 'ok':6} {time.time() - start:6.1f} s  {os.path.relpath(path)}", flush=True)
        if error: failed.append(path); print(error, flush=True)
    if failed: sys.exit(f'{len(failed)} notebook(s) failed')

if __name__ == '__main__': main(sys.argv[1:])
