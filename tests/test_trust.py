"What people rely on: files, repeatable predictions, calibrated probabilities, steps that are saved, settings in the wrong place."
import importlib.util
import io, json, os, pickle, runpy, warnings, zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from tabtune import MitraClassifier, MitraRegressor, TabularPipeline, load_checkpoint
from tabtune.estimators.metrics import calibration_metrics
from tabtune.data.processing import PROCESSING_CHOICES
from tabtune.core.shapes import CheckpointError, InputError, TabTuneError

SMALL = dict(pretrained='small')

def people(n=120, seed=0):
    r = np.random.default_rng(seed)
    X = pd.DataFrame(dict(age=r.normal(45, 15, n).round(), town=r.choice(['Oslo', 'Rome', 'Lima'], n), member=r.random(n) < .5,
        since=pd.Timestamp('2024') + pd.to_timedelta(r.integers(0, 400, n), 'D'), flat=3))
    y = pd.Series(np.where((X.age > 55) | ((X.town == 'Rome') & X.member), 'yes', 'no'))
    for c in ('age', 'town', 'since'): X.loc[r.random(n) < .1, c] = None
    return X, y

STEPS = dict(imputation_strategy='knn', categorical_encoding='target', scaling_strategy='power', feature_selection_strategy='mutual_info', n_features=5)

@pytest.fixture(scope='module')
def stepped():
    X, y = people()
    return TabularPipeline(model_params=SMALL, processor_params=STEPS).fit(X, y)

# --- steps before the model

def test_steps_are_saved_and_predict_the_same_bits_in_a_fresh_process(stepped, tmp_path, fresh):
    X, _ = people(30, seed=1)
    stepped.save(tmp_path/'p.tabtune'); X.to_pickle(tmp_path/'X.pkl')
    code = ('import sys, numpy as np, pandas as pd; from tabtune import TabularPipeline; '
            'np.save(sys.argv[3], TabularPipeline.load(sys.argv[1]).predict_proba(pd.read_pickle(sys.argv[2])))')
    done = fresh(code, tmp_path/'p.tabtune', tmp_path/'X.pkl', tmp_path/'p.npy')
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path/'p.npy'), stepped.predict_proba(X))

def test_every_choice_of_every_step_predicts_and_is_saved(tmp_path):
    X, y = people(60)
    for key, values in PROCESSING_CHOICES.items():
        if key == 'resampling_strategy': pytest.importorskip('imblearn')
        for v in values:
            pipe = TabularPipeline(model_params=SMALL, processor_params={key: v} | ({'imputation_strategy': 'median'} if v == 'smote' else {})).fit(X, y)
            again = TabularPipeline.load(pipe.save(tmp_path/'p.tabtune'))
            assert np.array_equal(again.predict_proba(X), pipe.predict_proba(X)), (key, v)
            assert again.show_processing_summary().equals(pipe.show_processing_summary())

@pytest.mark.parametrize('n', [1, 2, 3, 6])
def test_few_rows_with_every_choice_of_every_step(n):
    "A prediction, or where a step needs more rows our error: for one row per class, for one class, and for numbers."
    r = np.random.default_rng(0)
    X = pd.DataFrame(dict(a=r.normal(size=n), b=list('xyxyxy')[:n]))
    resamplers = set(PROCESSING_CHOICES['resampling_strategy'])
    each_alone = {'target', 'mutual_info'} | ({'smote'} if n > 1 else set())  # one row has one class, and nothing to balance
    one_class = {'target', 'mutual_info'} if n == 1 else set()
    numbers = resamplers | ({'target'} if n < 2 else set()) | ({'mutual_info'} if n < 4 else set())
    for Model, y, fail in ((MitraClassifier, np.arange(n), each_alone), (MitraClassifier, np.zeros(n), one_class), (MitraRegressor, r.normal(size=n), numbers)):
        for key, values in PROCESSING_CHOICES.items():
            if key == 'resampling_strategy' and importlib.util.find_spec('imblearn') is None: continue
            for v in values:
                est = Model(processor_params={key: v})
                with warnings.catch_warnings(action='ignore'):
                    if v in fail:
                        with pytest.raises(TabTuneError, match='not for numbers' if Model is MitraRegressor and v in resamplers else f'{key}=.{v}. needs'): est.fit(X, y)
                    else: assert len(est.fit(X, y).predict(X)) == n, (Model, key, v)

def test_steps_that_learn_from_labels_say_how_many_they_need():
    for key, v in (('categorical_encoding', 'target'), ('feature_selection_strategy', 'mutual_info')):
        with pytest.raises(InputError, match=f'{key}=.{v}. needs 2 rows of one class'): MitraClassifier('small', processor_params={key: v}).fit(pd.DataFrame(dict(b=list('xyz'))), [0, 1, 2])

def test_only_training_rows_are_resampled():
    pytest.importorskip('imblearn')
    X, y = people(200)
    pipe = TabularPipeline(model_params=SMALL, processor_params=dict(resampling_strategy='over')).fit(X, y)
    assert np.ptp(np.bincount(pipe.estimator_.y_support_)) == 0 and len(pipe.estimator_.x_support_) > 200
    assert len(pipe.predict(X)) == 200
    assert pipe.predict(X[::-1]).tolist() == pipe.predict(X)[::-1].tolist()

def test_the_summary_is_a_table_for_people(stepped):
    t = stepped.show_processing_summary().set_index('column')
    assert list(t.index) == ['age', 'town', 'member', 'since', 'flat'] and t.inputs.sum() == 5
    assert t.done['age'] == 'knn for missing cells, power scaling'
    assert t.done['flat'] == 'dropped by mutual_info selection' and t.note['flat'] == 'constant'
    every = TabularPipeline(model_params=SMALL, processor_params={k: STEPS[k] for k in ('imputation_strategy', 'categorical_encoding')}).fit(*people())
    assert every.show_processing_summary().set_index('column').done['town'] == 'levels as codes, most frequent level for missing cells, mean target by level'
    plain = TabularPipeline(model_params=SMALL).fit(*people(40)).show_processing_summary()
    assert plain.done.tolist() == ['kept as it is', 'levels as codes', '0 and 1', 'seconds and calendar parts', 'kept as it is']

def test_steps_work_in_a_grid_search_and_can_be_cloned(stepped):
    X, y = people()
    grid = dict(processor_params=[None, dict(scaling_strategy='power')])
    search = GridSearchCV(MitraClassifier('small'), grid, cv=2).fit(X, y)
    assert len(search.cv_results_['params']) == 2 and np.isfinite(search.cv_results_['mean_test_score']).all()
    assert clone(stepped).get_params() == stepped.get_params()

def test_scikit_learns_checks_with_steps():
    with warnings.catch_warnings(action='ignore'):
        check_estimator(MitraClassifier('small', processor_params=dict(imputation_strategy='median', scaling_strategy='robust', feature_selection_strategy='variance')))

# --- repeatable

def test_the_global_generators_are_neither_used_nor_touched():
    X, y = people(150)
    y15 = np.arange(150) % 15
    def run():
        out = [MitraClassifier('small', n_estimators=2, max_support=60, support_strategy='nearest', calibrate=True).fit(X, y).predict_proba(X),
               MitraClassifier('small', processor_params=dict(imputation_strategy='iterative', categorical_encoding='target')).fit(X, y).predict_proba(X),
               MitraClassifier('small').fit(X, y15).predict_proba(X)]
        return np.concatenate([p.ravel() for p in out])
    np.random.seed(1); torch.manual_seed(1)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    a = run()
    assert np.array_equal(np.random.get_state()[1], states[0]) and torch.equal(torch.get_rng_state(), states[1])
    np.random.seed(2); torch.manual_seed(2); np.random.rand(7)
    assert np.array_equal(run(), a)

# --- calibration

def test_a_temperature_mends_an_overconfident_model():
    model = load_checkpoint('small')
    model.final_layer.register_forward_hook(lambda module, args, logits: logits * 4)
    X, y = load_breast_cancer(return_X_y=True)
    y = y ^ (np.random.default_rng(0).random(len(y)) < .2)  # a fifth of the labels are wrong: nobody can be certain
    Xa, Xb, ya, yb = train_test_split(X, y, train_size=300, random_state=0, stratify=y)
    raw, mended = (MitraClassifier(model, device='cpu', calibrate=c).fit(Xa, ya) for c in (False, True))
    ece = lambda clf: calibration_metrics(yb, clf.predict_proba(Xb), clf.classes_)['ece']
    assert raw.temperature_ == 1 and mended.temperature_ > 1.5
    assert ece(mended) < 0.8 * ece(raw) and log_loss(yb, mended.predict_proba(Xb)) < log_loss(yb, raw.predict_proba(Xb))
    assert np.array_equal(raw.predict(Xb), mended.predict(Xb))  # the order of the classes stays

def test_more_than_ten_classes_beat_nearest_neighbours():
    "A real table of 12 classes: two diagnoses, each in six grades of one measurement, which is left out."
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    y = 6 * y + pd.qcut(X['mean texture'], 6, labels=False)
    Xa, Xb, ya, yb = train_test_split(X.drop(columns='mean texture'), y, train_size=379, random_state=0, stratify=y)
    clf = MitraClassifier('medium', device='cpu').fit(Xa, ya)
    p, smooth = clf.predict_proba(Xb), lambda p: (p + .01) / (p + .01).sum(1, keepdims=True)
    assert np.allclose(p.sum(1), 1)
    knn = [make_pipeline(StandardScaler(), KNeighborsClassifier(k)).fit(Xa, ya) for k in (1, 5, 10, 20)]
    assert clf.score(Xb, yb) > max(m.score(Xb, yb) for m in knn)
    assert log_loss(yb, p) < min(log_loss(yb, smooth(m.predict_proba(Xb))) for m in knn)
    assert calibration_metrics(yb, p, clf.classes_)['ece'] < 0.15

# --- files

def parts(path):
    with zipfile.ZipFile(path) as z: return {n: z.read(n) for n in z.namelist()}

def rezip(path, contents):
    with zipfile.ZipFile(path, 'w') as z:
        for n, d in contents.items(): z.writestr(n, d)

class Bomb:
    def __reduce__(self): return (os.system, ('touch executed',))

@pytest.fixture
def saved(stepped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return stepped.save('p.tabtune')

def test_a_pickle_in_any_place_is_refused_unread(saved):
    bomb, whole = pickle.dumps(Bomb()), parts(saved)
    for name in whole:
        rezip('bad.tabtune', whole | {name: bomb})
        with pytest.raises(CheckpointError): TabularPipeline.load('bad.tabtune')
    saved.write_bytes(bomb)
    with pytest.raises(CheckpointError, match='not a complete TabTune pipeline'): TabularPipeline.load(saved)
    assert not os.path.exists('executed')

@pytest.mark.parametrize('name', ['../evil', 'adapters/../../evil', '/tmp/evil', 'adapters\\..\\evil', 'C:evil', 'adapters//evil', 'model/./evil'])
def test_names_that_lead_elsewhere_are_refused(saved, name):
    rezip('bad.tabtune', parts(saved) | {name: b'x'})
    with pytest.raises(CheckpointError, match='leads elsewhere'): TabularPipeline.load('bad.tabtune')

def repack(data, **parts_of_it):
    "A state with other parts, stored as they are."
    b = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as z: inner = {n: z.read(n) for n in z.namelist()} | parts_of_it
    with zipfile.ZipFile(b, 'w', parts_of_it.get('how', zipfile.ZIP_STORED)) as z:
        for n, d in inner.items(): z.writestr(n, str(d) if n == 'how' else d)
    return b.getvalue()

def test_sizes_that_the_file_can_not_hold_are_refused(saved):
    whole = parts(saved)
    with zipfile.ZipFile('bad.tabtune', 'w', zipfile.ZIP_DEFLATED) as z:
        for n, d in (whole | {'manifest.json': b' ' * 10 ** 7 + whole['manifest.json']}).items(): z.writestr(n, d)
    with pytest.raises(CheckpointError, match='packed'): TabularPipeline.load('bad.tabtune')
    rezip('bad.tabtune', whole | {'state.skops': repack(whole['state.skops'], how=zipfile.ZIP_DEFLATED)})
    with pytest.raises(CheckpointError, match='packed'): TabularPipeline.load('bad.tabtune')
    for key in ('dim', 'd_ff', 'n_layers', 'dim_output'):
        rezip('bad.tabtune', whole | {'model/config.json': json.dumps(json.loads(whole['model/config.json']) | {key: 2 ** 20})})
        with pytest.raises(CheckpointError, match='fewer numbers'): TabularPipeline.load('bad.tabtune')
    array = next(n for n in zipfile.ZipFile(io.BytesIO(whole['state.skops'])).namelist() if n.endswith('.npy'))
    for shape in ((10 ** 13,), (2 ** 62, 2 ** 62)):
        np.lib.format.write_array_header_1_0(h := io.BytesIO(), dict(descr='<f8', fortran_order=False, shape=shape))
        rezip('bad.tabtune', whole | {'state.skops': repack(whole['state.skops'], **{array: h.getvalue() + bytes(72)})})
        with pytest.raises(CheckpointError, match='not a complete'): TabularPipeline.load('bad.tabtune')

def test_nested_without_end_is_refused(saved):
    rezip('bad.tabtune', parts(saved) | {'manifest.json': '[' * 200_000})
    with pytest.raises(CheckpointError, match='not a complete'): TabularPipeline.load('bad.tabtune')

def test_a_support_whose_parts_do_not_belong_together_is_refused(stepped):
    from tabtune.estimators.saving import check_support, state_of
    good, check = state_of(stepped.estimator_)['support'], lambda support: check_support(support, 'classification', 'p')
    check(good)
    for change in (dict(y_support=good['y_support'][:-1]), dict(member_rows=[np.array([10 ** 6])]), dict(selected_columns=np.array([99])), dict(classes=good['classes'][:1]), dict(region_rows=[np.array([-1])])):
        with pytest.raises(CheckpointError, match='belong together'): check(good | change)
    with pytest.raises(CheckpointError, match=r"lacks \['seed'\]"): check({k: v for k, v in good.items() if k != 'seed'})
    with pytest.raises(CheckpointError, match=r"holds \['weights'\], which is unknown"): check(good | dict(weights=1))

def test_saving_into_a_folder_is_an_error_in_words(stepped, tmp_path):
    with pytest.raises(InputError, match='is a folder: give the name of a file in it'): stepped.save(tmp_path)

def test_a_missing_part_is_named(saved):
    whole = parts(saved)
    for name in whole:
        rezip('bad.tabtune', {k: v for k, v in whole.items() if k != name})
        with pytest.raises(CheckpointError, match=name.split('/')[-1]): TabularPipeline.load('bad.tabtune')

def test_truncated_or_flipped_files_are_refused(saved):
    whole = saved.read_bytes()
    for n in [0, 1, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1]:
        saved.write_bytes(whole[:n])
        with pytest.raises(CheckpointError): TabularPipeline.load(saved)
    for at in np.random.default_rng(0).integers(100, len(whole) * 3 // 4, 8):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1:])
        with pytest.raises(CheckpointError): TabularPipeline.load(saved)

@pytest.mark.parametrize('change, words', [
    pytest.param(dict(format_version=99, tabtune_version='9.9'), r'written by TabTune 9\.9 in format version 99; this TabTune reads up to \d+: upgrade', id='newer version'),
    pytest.param(dict(format_version=0), 'must be 1 or more', id='version 0'),
    pytest.param(dict(format_version=None, schema=2, version='0.1.0'), r'saved by TabTune 0\.1\.0 before .* fit the pipeline again', id='before versions'),
    pytest.param(dict(format='other'), "format 'other'", id='other format'),
    pytest.param(dict(estimator=dict(unknown=1)), 'unknown', id='unknown setting'),
    pytest.param(dict(estimator=None), 'not a complete', id='no estimator'), pytest.param(dict(pipeline=[1]), 'not a complete', id='list for a dict')])
def test_odd_manifests_are_refused(saved, change, words):
    whole = parts(saved)
    rezip('bad.tabtune', whole | {'manifest.json': json.dumps(json.loads(whole['manifest.json']) | change)})
    with pytest.raises(CheckpointError, match=words): TabularPipeline.load('bad.tabtune')

@pytest.mark.parametrize('task', ['classification', 'regression'])
def test_a_file_of_version_1_still_loads(root, task):
    dir = root/'tests'/'fixtures'/'pipeline_v1'
    table = runpy.run_path(str(root/'tests'/'fixtures'/'make_pipeline_v1.py'))['table']
    pipe, want = TabularPipeline.load(dir/f'{task}.tabtune'), json.loads((dir/'expected.json').read_text())[task]
    assert json.loads(parts(dir/f'{task}.tabtune')['manifest.json'])['format_version'] == 1
    got = (pipe.predict_proba if task == 'classification' else pipe.predict)(table(40)[30:])
    np.testing.assert_allclose(got, want, rtol=1e-4)
    assert len(pipe.estimator_.member_rows_) == 2 and len(pipe.estimator_.member_rows_[0]) == 20

def test_old_versions_are_migrated_step_by_step(saved, monkeypatch):
    from tabtune.estimators import saving
    versions = []
    def step(manifest, state): versions.append(manifest['format_version']); return manifest | dict(format_version=manifest['format_version'] + 1), state
    monkeypatch.setattr(saving, 'FORMAT_VERSION', saving.FORMAT_VERSION + 2)
    monkeypatch.setattr(saving, 'MIGRATIONS', saving.MIGRATIONS | {saving.FORMAT_VERSION - 2: step, saving.FORMAT_VERSION - 1: step})
    assert TabularPipeline.load(saved).predict(people(9)[0]).shape == (9,)
    assert versions == [saving.FORMAT_VERSION - 2, saving.FORMAT_VERSION - 1]

def test_every_earlier_version_has_a_migration():
    from tabtune.estimators.saving import FORMAT_VERSION, MIGRATIONS
    assert set(MIGRATIONS) == set(range(1, FORMAT_VERSION))

def test_weights_of_another_architecture_are_refused(saved):
    whole = parts(saved)
    config = json.loads(whole['model/config.json']) | dict(n_layers=3)
    rezip('bad.tabtune', whole | {'model/config.json': json.dumps(config)})
    with pytest.raises(CheckpointError, match='lacks'): TabularPipeline.load('bad.tabtune')

def test_a_crash_while_saving_leaves_the_old_file_whole(stepped, saved, monkeypatch):
    before = saved.read_bytes()
    def crash(self, *a, **kw): raise OSError('disk full')
    monkeypatch.setattr(zipfile.ZipFile, 'write', crash)
    with pytest.raises(OSError, match='disk full'): stepped.save(saved)
    assert saved.read_bytes() == before and [p.name for p in saved.resolve().parent.iterdir()] == ['p.tabtune']

def test_trained_on_a_gpu_loads_on_a_cpu(stepped, saved):
    if torch.cuda.is_available(): pytest.skip('this machine has CUDA')
    whole, X = parts(saved), people(9, seed=2)[0]
    m = json.loads(whole['manifest.json'])
    m['estimator']['device'], m['device_missing'] = 'cuda', False
    rezip('gpu.tabtune', whole | {'manifest.json': json.dumps(m)})
    with pytest.warns(UserWarning, match='not available'): loaded = TabularPipeline.load('gpu.tabtune')
    assert np.array_equal(loaded.predict_proba(X), stepped.predict_proba(X))

def test_a_pickle_finds_its_device_where_it_is_loaded(stepped):
    state = stepped.estimator_.__getstate__() | dict(device='cuda', device_=torch.device('cuda'))
    again = MitraClassifier.__new__(MitraClassifier)
    with warnings.catch_warnings(action='ignore'): again.__setstate__(state)
    assert again.device_.type == ('cuda' if torch.cuda.is_available() else 'cpu') and again.caches_ == {}

def test_joblib_warns_that_it_must_be_trusted(stepped, saved, caplog):
    stepped.save('p.joblib')
    with caplog.at_level('WARNING', 'tabtune'): again = TabularPipeline.load('p.joblib')
    assert 'load only what you trust' in caplog.text and again.get_params() == stepped.get_params()

# --- settings

@pytest.mark.parametrize('kw, words', [
    pytest.param(dict(model_params=dict(device='cpu')), "'device' belongs in tuning_params, not in model_params", id='device'),
    pytest.param(dict(tuning_params=dict(d_model=64)), "'d_model' belongs in model_params, not in tuning_params", id='d_model'),
    pytest.param(dict(tuning_params=dict(scaling_strategy='power')), "'scaling_strategy' belongs in processor_params", id='scaling_strategy'),
    pytest.param(dict(processor_params=dict(epochs=3)), "'epochs' belongs in tuning_params", id='epochs'),
    pytest.param(dict(processor_params=dict(scaling_strategy='pover')), "did you mean 'power'", id='misspelled scaling_strategy'),
    pytest.param(dict(processor_params=dict(feature_selection_strategy='anova', n_features=0)), r'n_features=0 must lie in 1', id='n_features=0'),
    pytest.param(dict(processor_params=dict(n_features=3)), 'needs a feature_selection_strategy', id='n_features alone'),
    pytest.param(dict(model_params=dict(support_strategy='close')), "support_strategy='close' is unknown", id='unknown support_strategy'),
    pytest.param(dict(model_params=dict(pretrained=3)), 'pretrained=3 must be a bundled name', id='pretrained=3'),
])
def test_a_setting_in_the_wrong_place_is_reported_with_the_right_one(kw, words):
    X, y = people(20)
    with pytest.raises(TabTuneError, match=words): TabularPipeline(**kw).fit(X, y)

def test_smote_with_missing_cells_says_what_to_do():
    pytest.importorskip('imblearn')
    with pytest.raises(InputError, match='imputation_strategy'): TabularPipeline(model_params=SMALL, processor_params=dict(resampling_strategy='smote')).fit(*people(60))

def test_pipeline_reaches_the_estimators_settings():
    X, y = people(200)
    pipe = TabularPipeline(model_params=SMALL | dict(max_support=50, support_strategy='nearest', calibrate=True, max_features=4)).fit(X, y)
    e = pipe.estimator_
    assert len(e.region_rows_) > 1 and e.temperature_ != 1 and len(e.selected_columns_) == 4 and pipe.predict(X).shape == (200,)
