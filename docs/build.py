"""Write the pages that Sphinx reads, docs/_build/src: notebooks as readers should see them, and a page for each module."""
import shutil, sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))
from clean import notebooks
from readme import visible

SRC = ROOT/'docs'/'_build'/'src'

def copy_notebooks():
    "Copy nbs/, without directives and hidden cells; the names of the pages, apart from the index (README.md takes its place)."
    pages = []
    shutil.copytree(ROOT/'nbs', SRC/'nbs', ignore=shutil.ignore_patterns('*.ipynb', '.*', '_*'))
    for path in notebooks(ROOT):
        page = path.relative_to(ROOT)
        if page.name == 'index.ipynb': continue
        nbformat.write(visible(nbformat.read(path, as_version=4)), SRC/page)
        pages.append(page.with_suffix('').as_posix())
    return pages

def write_api():
    "A page for each exported module; the names of the pages."
    (SRC/'api').mkdir()
    names = [p.stem for p in sorted((ROOT/'tabtune').glob('[a-z]*.py'))]
    for name in names:
        (SRC/'api'/f'{name}.md').write_text(f'# tabtune.{name}\n\n```{{eval-rst}}\n.. automodule:: tabtune.{name}\n```\n')
    return [f'api/{name}' for name in names]

def toctree(caption, pages):
    "A table of contents in the side bar."
    return '\n'.join(['', '```{toctree}', ':hidden:', f':caption: {caption}', ':maxdepth: 1', '', *pages, '```', '']) if pages else ''

def main():
    shutil.rmtree(SRC, ignore_errors=True)
    SRC.mkdir(parents=True)
    pages, api = copy_notebooks(), write_api()
    for name in ('CONTRIBUTING.md', 'CHANGELOG.md', 'LICENSE'): shutil.copy(ROOT/name, SRC)
    tutorials = [p for p in pages if p.startswith('nbs/tutorials/')]
    index = (ROOT/'README.md').read_text(encoding='utf-8')
    index += toctree('Tutorials', tutorials) + toctree('How it is built', [p for p in pages if p not in tutorials])
    index += toctree('Reference', api) + toctree('The project', ['CONTRIBUTING', 'CHANGELOG'])
    (SRC/'index.md').write_text(index, encoding='utf-8')
    print(f'docs: {len(pages)} notebooks, {len(api)} modules')

if __name__ == '__main__': main()
