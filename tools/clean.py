"""Bring notebooks into the form in which they are committed: nbdev_clean's, without outputs, counts or widget state.

    python tools/clean.py [NOTEBOOK ...]      (default: all under nbs/)
"""
import json, sys
from pathlib import Path

from execnb.nbio import nb2str
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parent.parent

def notebooks(root):
    "All notebooks under `root`/nbs, apart from folders and files that begin with . or _"
    nbs = Path(root)/'nbs'
    return [p for p in sorted(nbs.rglob('*.ipynb')) if not any(part[0] in '._' for part in p.relative_to(nbs).parts)]

def cleaned(text):
    "The notebook `text`, as it should be in git."
    nb = json.loads(text)
    clean_nb(nb, clear_all=True)
    nb['metadata'].pop('widgets', None)
    return nb2str(nb)

def main(paths):
    for path in paths or notebooks(ROOT):
        old = Path(path).read_text(encoding='utf-8')
        new = cleaned(old)
        if new != old:
            Path(path).write_text(new, encoding='utf-8')
            print(f'cleaned {path}')

if __name__ == '__main__': main(sys.argv[1:])
