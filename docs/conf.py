"Sphinx settings. The pages in docs/_build/src are made by docs/build.py; `make docs` runs both."
import inspect, re, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Sphinx has an environment of its own; the library and what it imports come from the project's, last on the path.
sys.path += [str(ROOT), *map(str, ROOT.glob('.venv/lib/python*/site-packages'))]

config = ConfigParser(delimiters=['='], interpolation=None)
config.read(ROOT/'settings.ini', encoding='utf-8')
settings = config['DEFAULT']

project, author, release = settings['title'], settings['author'], settings['version']
copyright = settings['author']
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
html_title = f'{project} {release}'
html_static_path, html_css_files = ['static'], ['wide.css']
nb_execution_mode = 'off'
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 4
autodoc_default_options = {'members': True, 'member-order': 'bysource'}
autodoc_typehints = 'none'
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True  # a property that "Attributes" names as well is described once

def as_rst(text):
    "Our docstrings are plain text with `code` in it; make that reStructuredText."
    parts = re.split(r'(`+[^`]+`+)', text)
    code = [f"``{p.strip('`')}``" for p in parts[1::2]]
    plain = [re.sub(r'([*|]|_\b)', r'\\\1', p) for p in parts[::2]]
    return ''.join(p for pair in zip(plain, code + ['']) for p in pair)

def parameters(obj):
    "A `:param:` line for each parameter of `obj` that has a comment beside it."
    from fastcore.docments import docments
    return [f":param {k}: {as_rst(' '.join(v.split()))}" for k, v in docments(obj, returns=False).items() if v]

def on_docstring(app, what, name, obj, options, lines):
    "Sphinx calls this for each docstring, and takes back `lines`."
    if any(l.startswith('---') for l in lines): return  # numpydoc: it is reStructuredText already
    lines[:] = [as_rst(l) for l in lines]
    if inspect.isfunction(obj) or (inspect.isclass(obj) and inspect.isfunction(vars(obj).get('__init__'))):
        lines += ['', *parameters(obj)]

def on_member(app, what, name, obj, skip, options):
    "Leave out what scikit-learn adds to every estimator, and functions that became methods: they stand with their class."
    if what == 'module' and inspect.isfunction(obj) and next(iter(inspect.signature(obj).parameters), '') == 'self': return True
    return True if re.fullmatch(r'set_\w+_request|get_metadata_routing|set_output', name) else None

def setup(app):
    app.connect('autodoc-process-docstring', on_docstring, priority=400)  # before napoleon
    app.connect('autodoc-skip-member', on_member)
