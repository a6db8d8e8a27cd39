"""The house rules that a machine can check. Nothing in the working tree is changed.

1. Each module in tabtune/ is what its notebook exports.
2. README.md is what nbs/index.ipynb gives.
3. Notebooks are clean: no outputs, no execution counts, no widget state.
4. A room imports only from rooms with a smaller number, and no exported cell has more than 60 lines.
"""
import json, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from clean import cleaned, notebooks
from readme import readme

ROOT = Path(__file__).resolve().parent.parent

def export_copy(root, dst):
    "Export the notebooks of `root` into the folder `dst`."
    dst.mkdir()
    shutil.copy(root/'settings.ini', dst)
    for nb in notebooks(root):
        to = dst/nb.relative_to(root)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(nb, to)
    (dst/'tabtune').mkdir()
    shutil.copy(root/'tabtune'/'__init__.py', dst/'tabtune')  # the one module written by hand
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}  # nbdev exports nothing where this is set
    subprocess.run([Path(sys.executable).with_name('nbdev_export')], cwd=dst, env=env, check=True)

def modules(root):
    "Path relative to `root` -> text, for each module of the package."
    return {p.relative_to(root).as_posix(): p.read_text(encoding='utf-8') for p in sorted((root/'tabtune').rglob('*.py'))}

def origin(text):
    "The file that a module's `text` says it was made from."
    found = re.search(r'File to edit: \.\./(\S+\.ipynb)', text)
    return found[1] if found else 'nbs/ and settings.ini'

def module_problems(root):
    "Modules that differ from their notebooks, are missing, or have no notebook."
    with tempfile.TemporaryDirectory() as tmp:
        export_copy(root, Path(tmp)/'copy')
        want, have = modules(Path(tmp)/'copy'), modules(root)
    for name in sorted(want | have):
        if name not in have: yield f'{name}: not exported yet from {origin(want[name])}. Mend: make export'
        elif name not in want: yield f'{name}: has no notebook. Mend: move its code into one under nbs/, then git rm {name}'
        elif want[name] != have[name]:
            yield (f'{name}: differs from {origin(want[name])}. Mend: make export '
                   '(an edit made in the module goes into the notebook first, or it is lost)')

def readme_problems(root):
    "README.md, where it isn't what the index notebook gives."
    path = root/'README.md'
    if not path.exists() or path.read_text(encoding='utf-8') != readme(root):
        yield 'README.md: differs from nbs/index.ipynb. Mend: edit the notebook, then make readme'

def dirt(nb):
    "What a notebook holds that doesn't belong in git, in words."
    code = [c for c in nb['cells'] if c['cell_type'] == 'code']
    if any(c.get('outputs') for c in code): yield 'outputs'
    if any(c.get('execution_count') is not None for c in code): yield 'execution counts'
    if 'widgets' in nb['metadata']: yield 'widget state'

def notebook_problems(root):
    "Notebooks that aren't clean."
    for path in notebooks(root):
        text = path.read_text(encoding='utf-8')
        name = path.relative_to(root).as_posix()
        found = ', '.join(dirt(json.loads(text)))
        if found: yield f'{name}: has {found}. Mend: python tools/clean.py {name}'
        elif cleaned(text) != text: yield f"{name}: isn't in nbdev_clean's form. Mend: python tools/clean.py {name}"

LONGEST = 60  # lines of an exported cell
UPWARDS = {('tuning', 'dashboard')}  # a live view is looked for when a notebook trains, and training does without it

def rooms(root):
    "Name of each library module -> (its notebook, the sources of its exported cells)."
    out = {}
    for path in sorted((root/'nbs').glob('[0-9]*.ipynb')):
        code = [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
        names = [m[1] for s in code if (m := re.search(r'^\s*#\s*\|\s*default_exp\s+(\S+)', s, re.M))]
        if names: out[names[0]] = path, [s for s in code if re.search(r'^\s*#\s*\|\s*exporti?\b', s, re.M)]
    return out

def imported(source):
    "Modules of the package that a cell imports, at its top or inside a function."
    found = re.findall(r'(?m)^\s*(?:from|import)\s+tabtune\.(\w+)', source) + re.findall(r"""import_module\(['"]tabtune\.(\w+)""", source)
    lists = re.findall(r'(?m)^\s*from\s+tabtune\s+import\s+([\w, ]+)', source)
    return {*found, *(name.split()[0] for names in lists for name in names.split(',') if name.strip())}

def room_problems(root):
    "Imports upwards, and exported cells that are too long to read."
    known = rooms(root)
    number = {name: int(path.name[:2]) for name, (path, _) in known.items()}
    for name, (path, cells) in known.items():
        where = path.relative_to(root).as_posix()
        for other in sorted(set().union(*map(imported, cells)) & set(known)):
            if number[other] >= number[name] and (name, other) not in UPWARDS:
                yield f'{where}: imports tabtune.{other}, which is {known[other][0].name}. Mend: a room imports only from smaller numbers'
        for cell in cells:
            lines = [line for line in cell.splitlines() if line.strip() and not line.lstrip().startswith('#|')]
            if len(lines) > LONGEST: yield f'{where}: {len(lines)} lines in the cell "{lines[0][:50]}". Mend: split it, at most {LONGEST}'

def problems(root):
    "All that is wrong in `root`, one line each."
    root = Path(root)
    return [*module_problems(root), *readme_problems(root), *notebook_problems(root), *room_problems(root)]

if __name__ == '__main__':
    found = problems(ROOT)
    print('\n'.join(found) or 'modules, README.md and notebooks are in step')
    sys.exit(bool(found))
