"""The chapters of the library in their order, and the tables of them in nbs/index.ipynb.

    python tools/chapters.py      (writes the tables; `make export` does)

Each row is made from the chapter itself: its module, and the line under its title that begins with `>`.
"""
import json, re, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from clean import notebooks

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ('core', 'data', 'model', 'training', 'estimators', 'leaderboard', 'explain', 'widgets')  # each imports only from those before it
ABOUT = dict(core='dimensions, episodes, settings, errors', data='any table in, a matrix out', model='2D attention, experts, checkpoints, adapters',
             training='priors, episodes, the training loop, tuning', estimators='scikit-learn estimators, metrics, saving, `TabularPipeline`',
             leaderboard='models side by side', explain='what a prediction depends on', widgets='forms, plots and live views')
ON_TOP = '**on top**: the command, the demo, and short names of modules'
OPENING = ('The others build the library from the ground up; each is a chapter and a module at once. Notebooks lie in folders by package, '
           'and a package imports only from those above it.')  # what the cell with the tables begins with

def cells(path):
    "The cells of a notebook as pairs of kind and source."
    return [(c['cell_type'], ''.join(c['source'])) for c in json.loads(path.read_text(encoding='utf-8'))['cells']]

def library_notebooks(root):
    "Name of each library module, without `tabtune.` -> (its notebook, the sources of its exported cells)."
    out = {}
    for path in notebooks(root):
        code = [source for kind, source in cells(path) if kind == 'code']
        names = [m[1] for s in code if (m := re.search(r'^\s*#\s*\|\s*default_exp\s+(\S+)', s, re.M))]
        if names: out[names[0]] = path, [s for s in code if re.search(r'^\s*#\s*\|\s*exporti?\b', s, re.M)]
    return out

def place(path, root):
    "Where a notebook stands in the order of imports: its package (those on top come last), then its number."
    package = path.parent.relative_to(root/'nbs').as_posix()
    return (PACKAGES.index(package) if package in PACKAGES else len(PACKAGES), path.name)

def row(module, path, root):
    "A chapter's row: a link, and its `>` line."
    line = next((l[2:] for kind, s in cells(path) if kind == 'markdown' for l in s.splitlines() if l.startswith('> ')), '')
    return f"| [{module}]({path.relative_to(root/'nbs').as_posix()}) | {line.rstrip('.')} |"

def tables(root):
    "A table of chapters for each package, and one for the modules on top."
    found = sorted(((path, module) for module, (path, _) in library_notebooks(root).items()), key=lambda f: place(f[0], root))
    out = [OPENING]
    for i, package in enumerate([*PACKAGES, None]):
        rows = [row(module, path, root) for path, module in found if place(path, root)[0] == i]
        if rows: out.append('\n'.join([f'**{package}**: {ABOUT[package]}' if package else ON_TOP, '', '| chapter | what it is about |', '|---|---|', *rows]))
    return '\n\n'.join(out)

def indexed(root):
    "The text of `root`/nbs/index.ipynb with the tables as the chapters give them."
    nb = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))
    for cell in nb['cells']:
        if ''.join(cell['source']).startswith(OPENING): cell['source'] = tables(root).splitlines(keepends=True)
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n'

if __name__ == '__main__':
    (ROOT/'nbs'/'index.ipynb').write_text(indexed(ROOT), encoding='utf-8')
    print('wrote the tables of chapters in nbs/index.ipynb')
