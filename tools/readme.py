"""Write README.md from nbs/index.ipynb."""
import posixpath, re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r'^\s*#\s*\|.*\n?', re.M)
HIDE = re.compile(r'^\s*#\s*\|\s*hide\s*$', re.M)
LINK = re.compile(r'(\]\(|src=")(?![a-z]+:|[/#])([^)"\s]+)')

def visible(nb):
    "Drop the cells marked `#| hide` and the lines `#| ...`, in place, as a reader should see the notebook `nb`."
    cells = [c for c in nb.cells if not (c.cell_type == 'code' and HIDE.search(c.source))]
    for c in cells:
        if c.cell_type == 'code': c.source = DIRECTIVE.sub('', c.source).strip('\n')
    nb.cells = [c for c in cells if c.source.strip()]
    nb.metadata['language_info'] = dict(name='python', pygments_lexer='ipython3')
    return nb

def from_root(text, folder='nbs'):
    "Rewrite links relative to `folder` so that they hold one level up."
    return LINK.sub(lambda m: m[1] + posixpath.normpath(posixpath.join(folder, m[2])), text)

def readme(root):
    "The text of README.md that `root`/nbs/index.ipynb gives."
    import nbformat  # takes seconds: only where it is used
    from nbconvert import MarkdownExporter
    nb = visible(nbformat.read(Path(root)/'nbs'/'index.ipynb', as_version=4))
    for c in nb.cells:
        if c.cell_type == 'markdown': c.source = from_root(c.source)
    text, _ = MarkdownExporter().from_notebook_node(nb)
    note = '<!-- Made from nbs/index.ipynb by `make readme`; edit that notebook, not this file. -->\n\n'
    return note + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'

if __name__ == '__main__':
    (ROOT/'README.md').write_text(readme(ROOT), encoding='utf-8')
    print('wrote README.md')
