"A pytest plugin for tools/check.py: writes the tests that were collected to the file that TABTUNE_COLLECTED names."
import json, os
from pathlib import Path

def made_up(callspec):
    "The parts of a parametrised test's id that no person chose: argument name and number, a lambda, bytes."
    for name, value in callspec.params.items():
        part = f'{name}{callspec.indices[name]}'
        if f'-{part}-' in f'-{callspec.id}-' and not (isinstance(value, str) and value == part): yield part
        if isinstance(value, bytes) and value and ascii(value)[2:-1] in callspec.id: yield f'the bytes of {name}'
    if '<lambda>' in callspec.id: yield '<lambda>'

def pytest_collection_finish(session):
    "Write the node id of each test, with the parts of its id that were made up."
    found = [(item.nodeid, [*made_up(item.callspec)] if hasattr(item, 'callspec') else []) for item in session.items]
    Path(os.environ['TABTUNE_COLLECTED']).write_text(json.dumps(found), encoding='utf-8')
