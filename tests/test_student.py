"A student imitates its pipeline, for all kinds of tables; its file, its fast path, ONNX."
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import is_classifier, is_regressor

from tabtune import Student, TabularPipeline
from tabtune.core.shapes import CheckpointError, ConfigError, InputError
from tabtune.estimators.student import fit_student

def table(n, seed=0):
    "Numbers with gaps, levels, a date, a flag; with a class and a number."
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(dict(a=rng.normal(size=n), b=np.exp(rng.normal(size=n)), town=rng.choice(['Oslo', 'Rome', 'Lima'], n), flag=rng.random(n) < 0.3,
                           day=pd.Timestamp('2024-01-01') + pd.to_timedelta(rng.integers(0, 300, n), unit='D')))
    signal = df.a + (df.town == 'Rome') - df.flag + np.log(df.b) / 2
    df.loc[rng.random(n) < 0.1, 'b'] = None
    return df, signal.to_numpy()

CASES = {f'{kind}_{task}': (kind, task) for kind in ('mlp', 'trees') for task in ('two', 'four', 'numbers')}

@pytest.fixture(scope='module')
def made():
    "Pipelines by task, and their students by case."
    X, signal = table(700)
    noisy = signal + np.random.default_rng(1).normal(size=700) / 2
    targets = dict(two=np.where(noisy > 0, 'yes', 'no'), four=np.digitize(noisy, [-1, 0, 1]), numbers=10 * noisy)
    pipes = {t: TabularPipeline(task_type='regression' if t == 'numbers' else 'classification', model_params={} if t == 'numbers' else dict(pretrained='small')).fit(X[:250], y[:250]) for t, y in targets.items()}
    return X[250:], {t: y[250:] for t, y in targets.items()}, pipes, {c: pipes[t].distill(student=k, n_rows=2500, report=c == 'mlp_two') for c, (k, t) in CASES.items()}

@pytest.mark.parametrize('case', CASES)
def test_a_student_answers_like_its_pipeline(made, case):
    X, truths, pipes, students = made
    pipe, s, y = pipes[CASES[case][1]], students[case], truths[CASES[case][1]]
    if CASES[case][1] == 'numbers':
        assert np.corrcoef(s.predict(X), pipe.predict(X))[0, 1] > 0.95 and s.evaluate(X, y)['r2'] > pipe.evaluate(X, y)['r2'] - 0.05
        assert is_regressor(s) and not is_classifier(s) and not hasattr(s, 'classes_')
    else:
        assert (s.predict(X) == pipe.predict(X)).mean() > 0.8 and s.evaluate(X, y)['log_loss'] < pipe.evaluate(X, y)['log_loss'] + 0.06
        assert is_classifier(s) and s.classes_.tolist() == pipe.classes_.tolist()

@pytest.mark.parametrize('case', CASES)
def test_the_fast_path_gives_the_numbers_of_scikit_learn(made, case):
    X, _, _, students = made
    s = students[case]; z = s.encode(X)
    z = np.concatenate([z, np.full((2, z.shape[1]), np.nan), np.full((2, z.shape[1]), 7.)]).astype(np.float32)  # gaps everywhere, levels never seen
    want = s.model.predict(z) if s.classes is None else s.model.predict_proba(z)
    few = np.concatenate([s.predict_encoded(z[i:i + 20]) for i in range(0, len(z), 20)])
    np.testing.assert_allclose(few, want, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(s.predict_encoded(z), want, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(s.predict_encoded(z[3]), want[3:4], rtol=1e-3, atol=1e-4)

@pytest.mark.parametrize('case', ['mlp_four', 'trees_two', 'mlp_numbers', 'trees_numbers'])
def test_a_saved_student_answers_the_same(made, case, tmp_path):
    X, _, _, students = made
    again = Student.load(students[case].save(tmp_path/'folder'/'s.student'))
    np.testing.assert_array_equal(again.predict(X), students[case].predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict(X), again.predict(X))
    assert again.report == students[case].report

@pytest.mark.parametrize('n_classes', [2, 3, 14, 40])
def test_more_classes_take_no_more_trees(n_classes):
    "What trees cost when they predict does not grow with the classes; three gaps, a constant and an empty column."
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 5)).astype(np.float32); x[:, 3] = 1; x[:, 4] = np.nan; x[::7, 1] = np.nan
    targets = softmax(3 * np.sin(x[:, :1] + np.arange(n_classes)) + np.nan_to_num(x[:, 1:2]) * (np.arange(n_classes) == 1), axis=1)
    s = Student(None, fit_student('trees', x, targets, np.zeros(5, bool)), np.arange(n_classes))
    assert sum(map(len, s.model._predictors)) <= 280
    assert np.abs(s.predict_encoded(x) - targets).mean() < .1 / n_classes
    few = np.concatenate([s.predict_encoded(x[i:i + 25]) for i in range(0, 100, 25)])
    np.testing.assert_allclose(few, s.model.predict_proba(x[:100]), atol=1e-6)

def test_files_that_are_no_students_are_refused(made, tmp_path):
    X, _, pipes, students = made
    import skops.io
    (tmp_path/'pickle').write_bytes(pickle.dumps(students['mlp_two']))
    (tmp_path/'evil').write_bytes(skops.io.dumps(dict(format='tabtune-student', version=1, model=zipfile.main)))
    (tmp_path/'other').write_bytes(skops.io.dumps(dict(a=1)))
    for name, message in dict(pickle='no student', evil='could run code', other='no student').items():
        with pytest.raises(CheckpointError, match=message): Student.load(tmp_path/name)
    with pytest.raises(CheckpointError, match='a pipeline, not a student'): Student.load(pipes['two'].save(tmp_path/'p.tabtune'))

def test_the_report_tells_what_is_lost(made):
    report = made[3]['mlp_two'].report
    assert report['held_out_rows'] == 50 and set(report['fidelity']) == {'same_label', 'mean_difference'}, report
    assert report['fidelity']['same_label'] > 0.75 and report['fidelity']['mean_difference'] < 0.2, report
    assert abs(report['teacher']['accuracy'] - report['student']['accuracy']) < 0.2, report
    assert set(report['times']) == {'encoded_row_ms', 'seconds_100000'} and min(report['times'].values()) > 0, report
    json.dumps(report)

def test_wrong_settings_are_reported(made):
    X, _, pipes, students = made
    for wrong in (dict(student='forest'), dict(n_rows=10), dict(random_state=-1), dict(report='no')):
        with pytest.raises(ConfigError, match=next(iter(wrong))): pipes['two'].distill(**wrong)
    with pytest.raises(InputError, match='missing'): students['mlp_two'].predict(X.drop(columns='town'))
    with pytest.warns(UserWarning, match='one class'): one = TabularPipeline().fit(X[:9], ['a'] * 9)
    with pytest.raises(InputError, match='nothing to imitate'): one.distill()

def test_experts_processing_and_class_weights_are_taught():
    from sklearn.linear_model import LogisticRegression
    X, signal = table(500, seed=3)
    y = np.where(signal > 1, 'rare', 'usual')
    pipe = TabularPipeline(model_params=dict(pretrained='small', experts=[LogisticRegression()], class_weight='balanced'),
                           processor_params=dict(imputation_strategy='median', categorical_encoding='onehot', scaling_strategy='standard')).fit(X[:200], y[:200])
    s = pipe.distill(n_rows=3000)
    assert (s.predict(X[200:]) == pipe.predict(X[200:])).mean() > 0.85
    assert np.abs(s.predict_proba(X[200:]) - pipe.predict_proba(X[200:])).mean() < 0.1
    assert s.report['fidelity']['same_label'] > 0.8, s.report

def test_the_same_seed_gives_the_same_student(made):
    X, _, pipes, _ = made
    a, b, c = (pipes['two'].distill(n_rows=500, random_state=seed, report=False).predict_proba(X[:50]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4

@pytest.mark.parametrize('case', CASES)
def test_onnx_runtime_gives_the_same_numbers(made, case, tmp_path):
    pytest.importorskip('skl2onnx', reason='skl2onnx is not installed'); ort = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    X, _, _, students = made
    s = students[case]
    session = ort.InferenceSession(s.to_onnx(tmp_path/'s.onnx'), providers=['CPUExecutionProvider'])
    z = s.encode(X); z[:3] = np.nan
    out = session.run(None, dict(encoded=z))[-1]
    np.testing.assert_allclose(out.ravel() if s.classes is None else out, s.predict_encoded(z), rtol=1e-5 if s.classes is None else 0, atol=1e-5)
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta['classes']) == ([] if s.classes is None else s.classes.tolist())
    assert json.loads(meta['inputs']) == s.encoder.get_feature_names_out().tolist()

def test_onnx_asks_for_what_is_missing(made, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'skl2onnx', None)
    with pytest.raises(ConfigError, match='pip install skl2onnx'): made[3]['mlp_two'].to_onnx(tmp_path/'s.onnx')

def test_shap_explains_the_trees(made):
    shap = pytest.importorskip('shap', reason='shap is not installed')
    X, _, _, students = made
    s = students['trees_numbers']; z = s.encode(X)
    explained = shap.TreeExplainer(s.model)(z)
    np.testing.assert_allclose(explained.values.sum(1) + explained.base_values, s.predict_encoded(z), rtol=1e-3, atol=1e-2)
