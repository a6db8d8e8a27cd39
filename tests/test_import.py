"What an import costs and brings, and that everything imported directly is declared."
import ast, json, subprocess, sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tabtune

NAMES = ['TabularPipeline', 'TabularLeaderboard', 'MitraClassifier', 'load_checkpoint', 'recommend']
STAGES = {'the package': 'import tabtune'} | {name: f'from tabtune import {name}' for name in NAMES} | {
    'a prediction': 'import numpy as np\nX = np.arange(40.).reshape(20, 2)\nMitraClassifier("small").fit(X, X[:, 0] > 20).predict(X)'}

@pytest.fixture(scope='module')
def loaded_after():
    "Stage -> the top-level modules that an interpreter has loaded after it, and after the stages before it."
    report = 'print(json.dumps(sorted({m.split(".")[0] for m in sys.modules})))'
    code = '\n'.join(['import json, sys', *(f'{stage}\n{report}' for stage in STAGES.values())])
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {stage: {*json.loads(line)} for stage, line in zip(STAGES, done.stdout.splitlines(), strict=True)}

def test_the_package_alone_loads_nothing_heavy(loaded_after):
    assert not loaded_after['the package'] & {'torch', 'numpy', 'pandas', 'sklearn', 'matplotlib', 'ipywidgets', 'fastcore'}

@pytest.mark.parametrize('name', NAMES)
def test_a_public_name_loads_no_plots_no_widgets_no_adapters(loaded_after, name):
    assert 'torch' in loaded_after[name]
    assert not loaded_after[name] & {'matplotlib', 'ipywidgets', 'peft', 'transformers', 'skops', 'accelerate', 'IPython'}

def test_a_prediction_loads_no_plots(loaded_after):
    assert not loaded_after['a prediction'] & {'matplotlib', 'ipywidgets', 'peft', 'transformers', 'skops'}

def test_every_public_name_is_there():
    for name in tabtune.__all__: assert getattr(tabtune, name).__module__.startswith('tabtune.'), name
    assert {*tabtune.__all__, 'dashboard', 'metrics', 'priors'} <= {*dir(tabtune)}
    with pytest.raises(AttributeError, match="no attribute 'TabularPipelin'"): tabtune.TabularPipelin

@pytest.mark.parametrize('door, name', [('dashboard', 'PipelineBuilder'), ('metrics', 'classification_metrics'), ('priors', 'sample_tables')], ids=lambda v: v)
def test_short_doors(door, name): assert name in getattr(tabtune, door).__all__ and hasattr(getattr(tabtune, door), name)

def imports_of(path):
    "Top-level names that a module imports, anywhere in it."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): yield from (a.name.split('.')[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level: yield node.module.split('.')[0]

def test_direct_imports_are_declared(root):
    config = ConfigParser(delimiters=['='], interpolation=None)
    config.read(root/'settings.ini', encoding='utf-8')
    declared = {canonicalize_name(Requirement(r).name) for k, v in config['DEFAULT'].items() if k.endswith('requirements') and k != 'dev_requirements' for r in v.split()}
    known, missing = packages_distributions(), {}
    for path in sorted((root/'tabtune').rglob('*.py')):
        for name in {*imports_of(path)} - set(sys.stdlib_module_names) - {'tabtune'}:
            dists = {canonicalize_name(d) for d in known.get(name, [name])}
            if not dists & declared: missing.setdefault(name, []).append(path.relative_to(root).as_posix())
    assert missing == {}

LATE = {
    'joblib': 'import joblib\np = joblib.load(r"{file}")',
    'direct import': 'from tabtune.estimators.pipeline import TabularPipeline\np = TabularPipeline()',
    'estimator': 'from tabtune.estimators.regressor import MitraRegressor\np = MitraRegressor()',
    'model': 'from tabtune import load_checkpoint\np = load_checkpoint("small")'}

@pytest.mark.parametrize('way', LATE)
def test_explanations_are_found_in_a_process_that_never_imported_them(way, tmp_path, fresh):
    import joblib
    from tabtune import TabularPipeline
    joblib.dump(TabularPipeline(), tmp_path/'p.joblib')
    names = ['get_attention_weights'] if way == 'model' else ['get_attention_weights', 'feature_importance', 'similar_rows', 'embed']
    code = LATE[way].format(file=tmp_path/'p.joblib') + f'\nprint(all(hasattr(p, n) for n in {names}), hasattr(p, "no_such_method"))'
    done = fresh(code)
    assert done.stdout.split() == ['True', 'False'], done.stderr


@pytest.mark.parametrize('namespace', ["vars(tabtune)", "{**vars(tabtune), 'seed': 0}"], ids=['own', 'copied'])
def test_an_expression_is_evaluated_in_the_namespace_of_the_package(namespace, fresh):
    """Benchmarks name a model as 'tabtune:MitraClassifier(random_state=0)'; names that are imported late are found there too."""
    code = f"import tabtune; m = eval('MitraClassifier(random_state=3)', {namespace}); print(m.random_state, eval('len([1])', {namespace}))"
    assert fresh(code).stdout.split() == ['3', '1']
    with pytest.raises(NameError): eval('MitraKlassifier()', vars(__import__('tabtune')))
