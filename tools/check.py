"""The house rules that a machine can check. Nothing in the working tree is changed.

1. Each module in tabtune/ is what its notebook exports.
2. The tables of chapters in nbs/index.ipynb are what the chapters give, and README.md is what nbs/index.ipynb gives.
3. Notebooks are clean: no outputs, no execution counts, no widget state.
4. A module imports only from the packages before its own and from smaller numbers of its own package, also inside functions;
   no two chapters of a package have the same number; no exported cell has more than 60 lines.
5. A name in a module's `__all__` is one that users meet: in a tutorial, the documentation, a test, a benchmark.
6. No module uses a private name, one that begins with an underscore, of another module: neither by an import nor as an attribute.
7. Links in notebooks lead somewhere, and the index lists every chapter.
8. Two processes collect the same tests in the same order (pytest-xdist needs that), and each parametrised test has an id that
   a person chose.
"""
import ast, json, os, re, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from chapters import PACKAGES, indexed, library_notebooks, place
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
    found = re.search(r'File to edit: (?:\.\./)+(\S+\.ipynb)', text)
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

def index_problems(root):
    "The tables of chapters in nbs/index.ipynb, where they aren't what the chapters say of themselves."
    if indexed(root) != (root/'nbs'/'index.ipynb').read_text(encoding='utf-8'):
        yield 'nbs/index.ipynb: its tables differ from the chapters in nbs/. Mend: make export'

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

def imported(source):
    "What a cell imports from tabtune, at its top or inside a function, by name or through importlib: dotted names without `tabtune.`"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level: names = [f'{node.module}.{a.name}' for a in node.names]
        elif isinstance(node, ast.Call): names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                                                  and 'import' in ast.unparse(node.func)]
        else: continue
        yield from (n.removeprefix('tabtune.') for n in names if n.startswith('tabtune.'))

def module_of(name, known):
    "The module that an imported dotted `name` leads to; None for an attribute of the package itself, such as `__version__`."
    found = [m for m in known if name == m or name.startswith(f'{m}.')]
    return found[0] if found else None if name.startswith('__') else name

def import_problems(root):
    "Imports that run back up, and exported cells that are too long to read."
    known = library_notebooks(root)
    for module, (path, cells) in known.items():
        where = path.relative_to(root).as_posix()
        for name in sorted({module_of(n, known) for cell in cells for n in imported(cell)} - {None, module}):
            if name not in known: yield f'{where}: imports tabtune.{name} from the top of the package. Mend: name the module that defines it'
            elif place(known[name][0], root) > place(path, root):
                yield (f'{where}: imports tabtune.{name}, which stands above it ({known[name][0].relative_to(root/"nbs").as_posix()}). '
                       f'Mend: import only from packages before it ({", ".join(PACKAGES)}) and from smaller numbers of its own')
        for cell in cells:
            lines = [line for line in cell.splitlines() if line.strip() and not line.lstrip().startswith('#|')]
            if len(lines) > LONGEST: yield f'{where}: {len(lines)} lines in the cell "{lines[0][:50]}". Mend: split it, at most {LONGEST}'

def number_problems(root):
    "Chapters of one package with the same number, so that their names decide which may import from the other."
    numbers = {}
    for path, _ in library_notebooks(root).values():
        number = path.name.split('_')[0]
        first = numbers.setdefault((path.parent, number), path)
        if first != path: yield (f'{path.relative_to(root).as_posix()}: has the number {number}, as {first.name} has. '
                                 f'Mend: a number of its own, such as {number}a')

def own_names(tree):
    "Names that a module defines: functions, classes, variables, attributes that are set."
    return {getattr(n, 'name', None) or getattr(n, 'id', None) or n.attr for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))
            or isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Store)}

def is_private(name): return name.startswith('_') and not name.startswith('__')

def private_uses(tree):
    "Private names that a module imports from tabtune, or takes from any object but its own `self` and `cls`."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('tabtune'): yield from (a.name for a in node.names if is_private(a.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) not in ('self', 'cls'): yield node.attr

def private_problems(root):
    "Private names of one module that another one uses."
    trees = {m: ast.parse('\n\n'.join(cells)) for m, (_, cells) in library_notebooks(root).items()}
    names = {m: own_names(tree) for m, tree in trees.items()}
    for module, (path, _) in library_notebooks(root).items():
        for name in sorted({*private_uses(trees[module])} - names[module]):
            homes = sorted(m for m in names if name in names[m])
            if homes: yield (f'{path.relative_to(root).as_posix()}: uses {name}, which is private to {" and ".join(homes)}. '
                             'Mend: a name without underscore and a docstring there, or move the code to where it belongs')

USERS = ('nbs/*.ipynb', 'nbs/tutorials/*.ipynb', 'docs/pages/*.md', 'docs/*.py', 'tests/**/*.py', 'benchmarks/*.py', 'benchmarks/*.md', '*.md')

def public_names(path):
    "What a module lists in its `__all__`."
    lists = [n.value for n in ast.parse(path.read_text(encoding='utf-8')).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == '__all__']
    return [e.value for l in lists if isinstance(l, ast.List) for e in l.elts if isinstance(e, ast.Constant)]

def public_problems(root):
    "Names in `__all__` that no user meets: nothing but the library's own chapters uses them."
    texts = {p: p.read_text(encoding='utf-8') for pattern in USERS for p in root.glob(pattern)
             if p.name not in ('CHANGELOG.md', 'README.md')}  # README.md is nbs/index.ipynb once more
    words = {p: {*re.findall(r'\w+', text)} for p, text in texts.items()}
    for module, (path, _) in library_notebooks(root).items():
        file = root/'tabtune'/f'{module.replace(".", "/")}.py'
        if not file.exists(): continue
        met = set().union(*(w for p, w in words.items() if p != path))
        for name in public_names(file):
            if name not in met: yield (f'{path.relative_to(root).as_posix()}: no tutorial, page, test or benchmark has the public name {name}. Mend: an underscore '
                                       'if only this module uses it, `#| exporti` if other modules do; or show it to users')

TARGET = re.compile(r'(?:\]\(|src=")(?![a-z]+:|[/#])([^)"#\s]+)')  # of a link or a picture, relative to its notebook

def link_problems(root):
    "Links and pictures in notebooks that lead nowhere, and chapters that the index does not list."
    listed = set()
    for path in notebooks(root):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        for target in TARGET.findall('\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')):
            to = (path.parent/target).resolve()
            if path == root/'nbs'/'index.ipynb': listed.add(to)
            if not to.exists(): yield f'{path.relative_to(root).as_posix()}: nothing at {target}. Mend: correct the link'
    for path, _ in library_notebooks(root).values():
        if path.resolve() not in listed: yield f'{path.relative_to(root).as_posix()}: not in nbs/index.ipynb. Mend: make export; without a table of chapters, link it'

APART = 1.5  # seconds between the starts of two collections: a clock that counts seconds differs

def start_collecting(root, place, seed):
    "Collect the tests of `root` in a process of its own with its own TMPDIR (the new folder `place`) and hash seed."
    place.mkdir()
    env = os.environ | dict(TMPDIR=str(place), PYTHONHASHSEED=str(seed), TABTUNE_COLLECTED=str(place/'tests.json'),
                            PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]))
    command = [sys.executable, '-m', 'pytest', 'tests', '--collect-only', '-q', '-p', 'collected', '-p', 'no:cacheprovider']
    with open(place/'output.txt', 'w') as out: return subprocess.Popen(command, cwd=root, env=env, stdout=out, stderr=subprocess.STDOUT)

def collect_twice(root):
    """What two processes that start `APART` seconds apart collect: for each a list of (test, parts of its id that pytest made up),
    or a text that says why the collection failed."""
    with tempfile.TemporaryDirectory() as tmp:
        places = [Path(tmp)/'first', Path(tmp)/'second']
        first = start_collecting(root, places[0], 1)
        time.sleep(APART)
        codes = [process.wait() for process in (first, start_collecting(root, places[1], 2))]
        return [json.loads((p/'tests.json').read_text()) if code == 0 else (p/'output.txt').read_text()[-1000:] for p, code in zip(places, codes)]

def collection_problems(root):
    "Tests whose ids or order depend on the clock, the hash seed or a path, and ids that pytest made up."
    if not (root/'tests').is_dir(): return
    runs = collect_twice(root)
    failed = next((r for r in runs if isinstance(r, str)), None)
    if failed is not None: yield f'tests: could not be collected. Mend: make `pytest tests --collect-only` work:\n{failed}'; return
    names = [[name for name, _ in r] for r in runs]
    for name in sorted({*names[0]} ^ {*names[1]}):
        yield f'{name}: collected by one process of two. Mend: an id that depends on no clock, hash seed or path: pytest.param(..., id=...)'
    shared = [[n for n in ns if n in {*names[0]} & {*names[1]}] for ns in names]
    moved = next((a for a, b in zip(*shared) if a != b), None)
    if moved: yield f'{moved}: two processes collect it at different places. Mend: parametrize over a list or a dict, or sort the set'
    for name, parts in runs[0]:
        if parts: yield f"{name}: pytest made up {', '.join(parts)}. Mend: give the case a name: pytest.param(..., id=...), or parametrize over a dict's keys"

def problems(root):
    "All that is wrong in `root`, one line each."
    root = Path(root)
    with ThreadPoolExecutor(1) as pool:  # the tests are collected by other processes while this one reads the notebooks
        collection = pool.submit(lambda: [*collection_problems(root)])
        return [*module_problems(root), *index_problems(root), *readme_problems(root), *notebook_problems(root), *import_problems(root),
                *number_problems(root), *public_problems(root), *private_problems(root), *link_problems(root), *collection.result()]

if __name__ == '__main__':
    found = problems(ROOT)
    print('\n'.join(found) or 'modules, README.md and notebooks are in step')
    sys.exit(bool(found))
