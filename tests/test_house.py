"The house rules catch what they should. tools/check.py runs them on the project itself, before these tests."
import json, shutil
from pathlib import Path

import pytest

import chapters, check, readme

NB, MODULE = 'nbs/core/00_shapes.ipynb', 'tabtune/core/shapes.py'

INDEX = json.dumps(dict(cells=[dict(cell_type='markdown', id=id, metadata={}, source=[text]) for id, text in dict(
                            a='# Small\n\nAn `Episode`; TabTuneError, InputError, ConfigError and CheckpointError.', b=chapters.OPENING).items()],
                        metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5))

@pytest.fixture
def project(root, tmp_path):
    "A small project in step: one library notebook and the index."
    (tmp_path/'nbs'/'core').mkdir(parents=True)
    for name in ('settings.ini', NB): shutil.copy(root/name, tmp_path/name)
    (tmp_path/'nbs'/'index.ipynb').write_text(INDEX)
    for name in (NB, 'nbs/index.ipynb'): (tmp_path/name).write_text(check.cleaned((tmp_path/name).read_text()))
    (tmp_path/'nbs'/'index.ipynb').write_text(chapters.indexed(tmp_path))
    (tmp_path/'README.md').write_text(readme.readme(tmp_path))
    (tmp_path/'tabtune').mkdir()
    shutil.copy(root/'tabtune/__init__.py', tmp_path/'tabtune')
    check.export_copy(tmp_path, tmp_path/'made')
    shutil.copytree(tmp_path/'made'/'tabtune', tmp_path/'tabtune', dirs_exist_ok=True)
    shutil.rmtree(tmp_path/'made')
    return tmp_path

def edit(path, f):
    "Change a notebook with `f`."
    nb = json.loads(path.read_text())
    f(nb)
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n')

def first_code(nb): return next(c for c in nb['cells'] if c['cell_type'] == 'code')

def only_problem(project):
    found = check.problems(project)
    assert len(found) == 1, found
    return found[0]

def test_project_in_step_has_no_problems(project): assert check.problems(project) == []

def test_hand_edited_module_is_caught_and_left_alone(project):
    path = project/MODULE
    path.write_text(path.read_text() + '\nx = 1\n')
    msg = only_problem(project)
    assert msg.startswith(f'{MODULE}: differs from {NB}') and 'make export' in msg
    assert path.read_text().endswith('x = 1\n')

def test_missing_module_is_caught(project):
    (project/MODULE).unlink()
    assert only_problem(project).startswith(f'{MODULE}: not exported yet from {NB}')

def test_module_without_notebook_is_caught(project):
    (project/'tabtune'/'extra.py').write_text('x = 1\n')
    assert only_problem(project).startswith('tabtune/extra.py: has no notebook')

def test_old_version_is_caught(project):
    path = project/'tabtune'/'__init__.py'
    path.write_text(path.read_text().replace('__version__ = "', '__version__ = "0.0.'))
    assert only_problem(project).startswith('tabtune/__init__.py: differs from nbs/ and settings.ini')

def test_stale_readme_is_caught(project):
    edit(project/'nbs/index.ipynb', lambda nb: nb['cells'][0]['source'].append(' Another line.'))
    assert only_problem(project).startswith('README.md: differs from nbs/index.ipynb')

def test_stale_tables_of_chapters_are_caught(project):
    edit(project/'nbs/index.ipynb', lambda nb: nb['cells'][1].update(source=[chapters.OPENING]))
    found = check.problems(project)
    assert found[0] == 'nbs/index.ipynb: its tables differ from the chapters in nbs/. Mend: make export', found
    (project/'nbs'/'index.ipynb').write_text(chapters.indexed(project))
    assert check.problems(project) == []

@pytest.mark.parametrize('words, change', [
    pytest.param('outputs', lambda nb: first_code(nb).update(outputs=[dict(output_type='stream', name='stdout', text=['hi\n'])]), id='outputs'),
    pytest.param('execution counts', lambda nb: first_code(nb).update(execution_count=3), id='execution counts'),
    pytest.param('widget state', lambda nb: nb['metadata'].update(widgets={}), id='widget state'),
    pytest.param("isn't in nbdev_clean's form", lambda nb: first_code(nb)['metadata'].update(scrolled=True), id='cell metadata'),
])
def test_unclean_notebook_is_caught_and_cleaned(project, words, change):
    edit(project/NB, change)
    msg = only_problem(project)
    assert msg.startswith(f'{NB}: ') and words in msg
    (project/NB).write_text(check.cleaned((project/NB).read_text()))
    assert check.problems(project) == []

def chapter(root, name, *cells):
    "A notebook `nbs/<name>.ipynb` that exports some cells to the module of its folder and name."
    from nbformat.v4 import new_code_cell, new_notebook, writes
    path = root/'nbs'/f'{name}.ipynb'
    path.parent.mkdir(parents=True, exist_ok=True)
    *package, stem = name.split('/')
    cells = [f"#| default_exp {'.'.join([*package, stem[3:]])}", *(f'#| export\n{c}' for c in cells)]
    path.write_text(writes(new_notebook(cells=[new_code_cell(c) for c in cells])))

FORMS = dict(name='from tabtune.{p}.attic import stair', module='from tabtune.{p} import attic', late='def f():\n    import tabtune.{p}.attic as a\n    return a',
             importlib="from importlib import import_module\nhouse = import_module('tabtune.{p}.attic')")

@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('package', ['widgets', 'data'])
def test_an_import_that_runs_back_up_is_caught(tmp_path, form, package):
    cell = FORMS[form].format(p=package)
    chapter(tmp_path, f'{package}/09_attic', 'stair = 1')
    chapter(tmp_path, 'data/03_cellar', cell)
    found = [*check.import_problems(tmp_path)]
    assert len(found) == 1 and found[0].startswith(f'nbs/data/03_cellar.ipynb: imports tabtune.{package}.attic, which stands above it ({package}/09_attic.ipynb)')
    chapter(tmp_path, 'widgets/10_roof', cell)  # downwards is fine, within a package and across
    chapter(tmp_path, '90_chimney', cell)
    assert [*check.import_problems(tmp_path)] == found

@pytest.mark.parametrize('cell', ['from tabtune import Mitra', 'import tabtune.dashboard', 'from tabtune import dashboard'], ids=['name', 'door', 'door by name'])
def test_the_top_of_the_package_is_above_everything(tmp_path, cell):
    chapter(tmp_path, 'widgets/03_cellar', cell)
    assert [p.split(' from the top')[0] for p in check.import_problems(tmp_path)] == [f"nbs/widgets/03_cellar.ipynb: imports tabtune.{cell.split()[-1].removeprefix('tabtune.')}"]
    chapter(tmp_path, 'widgets/03_cellar', 'from tabtune import __version__')
    assert [*check.import_problems(tmp_path)] == []

def test_a_cell_that_is_too_long_is_caught(tmp_path):
    chapter(tmp_path, 'data/30_cellar', '\n'.join(f'x{i} = {i}' for i in range(60)), '\n\n'.join(f'y{i} = {i}' for i in range(61)))
    found = [*check.import_problems(tmp_path)]
    assert len(found) == 1 and found[0].startswith('nbs/data/30_cellar.ipynb: 61 lines in the cell "y0 = 0"')

def test_a_public_name_that_no_user_meets_is_caught(tmp_path):
    chapter(tmp_path, 'core/03_cellar', 'def stair(): pass', 'lamp = 1')
    (tmp_path/'tabtune'/'core').mkdir(parents=True)
    (tmp_path/'tabtune'/'core'/'cellar.py').write_text("__all__ = ['stair', 'lamp']\n")
    chapter(tmp_path, 'core/04_attic', 'from tabtune.core.cellar import lamp, stair')  # another chapter is no user
    (tmp_path/'docs'/'pages').mkdir(parents=True)
    (tmp_path/'docs'/'pages'/'light.md').write_text('Switch the `lamp` on.')
    found = [*check.public_problems(tmp_path)]
    assert len(found) == 1 and found[0].startswith('nbs/core/03_cellar.ipynb: no tutorial, page, test or benchmark has the public name stair.')

def test_two_chapters_with_one_number_are_caught(tmp_path):
    for name in ('core/03_cellar', 'core/03_attic', 'core/03a_stairs', 'data/03_cellar'): chapter(tmp_path, name, 'x = 1')
    assert [*check.number_problems(tmp_path)] == ['nbs/core/03_cellar.ipynb: has the number 03, as 03_attic.ipynb has. Mend: a number of its own, such as 03a']

@pytest.mark.parametrize('cell, caught', {
    'from tabtune.core.cellar import _lamp': True, 'def f(house): return house._lamp': True, 'def f(self): return self.house._lamp': True,
    'def f(self): return self._lamp': False, 'def f(house): return house._meta': False, 'def f(house): return house.__dict__': False,
    'class House: _lamp = 1\ndef f(house): return house._lamp': False}.items(),
    ids=['import', 'attribute', 'attribute of a part', 'self', 'defined outside tabtune', 'dunder', 'defined in the same module'])
def test_a_private_name_of_another_module_is_caught(tmp_path, cell, caught):
    chapter(tmp_path, 'core/03_cellar', '_lamp = 1')
    chapter(tmp_path, 'data/04_attic', cell)
    assert [p.split(' Mend')[0] for p in check.private_problems(tmp_path)] == ['nbs/data/04_attic.ipynb: uses _lamp, which is private to core.cellar.'] * caught

FIGURES = sorted(p.name for p in (Path(__file__).parents[1]/'benchmarks').glob('*.*') if p.suffix in ('.csv', '.json'))

@pytest.mark.parametrize('name', FIGURES)
def test_a_file_of_figures_says_how_it_was_made(root, name):
    row = next((l for l in (root/'benchmarks'/'README.md').read_text().splitlines() if l.startswith(f'| `{name}` |')), None)
    assert row, f'benchmarks/README.md: no line "| `{name}` | command | processor |" in the table of files'
    command, processor = (cell.strip() for cell in row.split('|')[2:4])
    text = (root/'benchmarks'/name).read_text()
    if command.startswith('in its first'): assert text.startswith('# python benchmarks/')
    else: assert (root/command.strip('`').split('python ')[1].split()[0]).is_file(), command
    if processor == 'in the file': assert '"processor": "' in text or 'processor' in text.splitlines()[0]
    else: assert processor

def test_imports_are_among_the_problems(root, monkeypatch):
    for part in ('module', 'index', 'readme', 'notebook', 'number', 'public', 'private', 'link', 'collection'): monkeypatch.setattr(check, f'{part}_problems', lambda root: [])
    assert check.problems(root) == []
    monkeypatch.setattr(chapters, 'PACKAGES', chapters.PACKAGES[::-1])
    assert any(p.startswith('nbs/training/09_tuning.ipynb: imports tabtune.model') for p in check.problems(root))

UNSTEADY = dict(clock='time.time_ns()', path='pathlib.Path(tempfile.mkdtemp()).name', hash="hash('x')")  # ids that are never the same
MADE_UP = {'number': ('[1]', 'x0'), 'lambda': ('lambda: 1', '<lambda>'), 'bytes': ("b'abc'", 'the bytes of x')}  # a value; what pytest calls it
FILES = {f'unsteady_{k}': f"@pytest.mark.parametrize('x', [{v}])\ndef test_x(x): pass" for k, v in UNSTEADY.items()} | {
    f'made_up_{k}': f"@pytest.mark.parametrize('y, x', [(1, {v})])\ndef test_x(x, y): pass" for k, (v, _) in MADE_UP.items()} | {
    'order': "@pytest.mark.parametrize('x', {f'case {i}' for i in range(20)})\ndef test_x(x): pass",
    'fine': "CASES = dict(one=[1], two=[2])\n@pytest.mark.parametrize('x', CASES)\ndef test_x(x): pass\n"
            "@pytest.mark.parametrize('x, y', [pytest.param([1], b'abc', id='a list')])\ndef test_y(x, y): pass\ndef test_z(): pass"}

def collected(root, files):
    "The problems with the ids of some test files."
    (root/'tests').mkdir()
    for name, text in files.items(): (root/'tests'/f'test_{name}.py').write_text(f'import pathlib, tempfile, time, pytest\n{text}')
    return [*check.collection_problems(root)]

@pytest.fixture(scope='module')
def found_in(tmp_path_factory):
    "Function: what is wrong with the ids of one of the `FILES`; all of them are collected at once."
    found = collected(tmp_path_factory.mktemp('ids'), FILES)
    return lambda name: [p for p in found if p.startswith(f'tests/test_{name}.py::')]

@pytest.mark.parametrize('value', UNSTEADY)
def test_an_id_that_is_never_the_same_is_caught(found_in, value):
    assert len([p for p in found_in(f'unsteady_{value}') if 'collected by one process of two' in p]) == 2

def test_an_order_that_the_hash_seed_sets_is_caught(found_in):
    found = found_in('order')
    assert len(found) == 1 and 'at different places' in found[0] and found[0].startswith('tests/test_order.py::test_x[case ')

@pytest.mark.parametrize('value', MADE_UP)
def test_an_id_that_pytest_made_up_is_caught(found_in, value):
    found = found_in(f'made_up_{value}')
    assert len(found) == 1 and f'pytest made up {MADE_UP[value][1]}. Mend: give the case a name' in found[0]

def test_ids_with_names_are_fine(found_in): assert found_in('fine') == []

def test_tests_that_can_not_be_collected_are_a_problem(tmp_path):
    found = collected(tmp_path, dict(it='import no_such_module'))
    assert len(found) == 1 and 'could not be collected' in found[0] and 'no_such_module' in found[0]

def test_a_link_that_leads_nowhere_and_a_chapter_without_a_link_are_caught(tmp_path):
    from nbformat.v4 import new_markdown_cell, new_notebook, writes
    chapter(tmp_path, 'data/03_cellar', 'x = 1')
    chapter(tmp_path, 'data/04_attic', 'y = 1')
    text = '[a](data/03_cellar.ipynb) [b](https://b.org) [c](#c) <img src="none.png"> [d](data/03_cellar.ipynb#part)'
    (tmp_path/'nbs'/'index.ipynb').write_text(writes(new_notebook(cells=[new_markdown_cell(text)])))
    assert [*check.link_problems(tmp_path)] == ['nbs/index.ipynb: nothing at none.png. Mend: correct the link',
                                                'nbs/data/04_attic.ipynb: not in nbs/index.ipynb. Mend: make export; without a table of chapters, link it']

def test_readme_hides_directives_and_moves_links():
    from nbformat.v4 import new_code_cell, new_notebook
    nb = readme.visible(new_notebook(cells=[new_code_cell('#| hide\nimport os'), new_code_cell('#| eval: false\n1 + 1')]))
    assert [c.source for c in nb.cells] == ['1 + 1']
    assert readme.from_root('[a](tutorials/a.ipynb) [b](../B.md) [c](#c) [d](https://d.org)') == \
        '[a](nbs/tutorials/a.ipynb) [b](B.md) [c](#c) [d](https://d.org)'
