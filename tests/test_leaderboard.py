"The leaderboard beyond one process and one run; nbs/leaderboard/04_leaderboard.ipynb explains it."
import gzip, json, logging, os, shutil, signal, subprocess, sys, time

import numpy as np
import pandas as pd
import pytest
from joblib import register_parallel_backend
from joblib._parallel_backends import ThreadingBackend
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris

from tabtune import TabularLeaderboard
from tabtune.leaderboard.compare import main
from tabtune.leaderboard.evaluation import score_names
from tabtune.core.shapes import ConfigError, InputError, TabTuneError

SCORES = ['name', *score_names(), 'runs', 'status', 'error']

class Fails(ClassifierMixin, BaseEstimator):
    def fit(self, X, y): raise RuntimeError('no <b>luck</b>')

class Dies(ClassifierMixin, BaseEstimator):
    "Takes its process with it."
    def fit(self, X, y): os._exit(3)

@pytest.fixture(scope='module')
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    return X.iloc[::2].reset_index(drop=True), y.iloc[::2].map({0: 'a', 1: 'b', 2: 'c'}).reset_index(drop=True)

def board(iris, **options):
    lb = TabularLeaderboard(iris[0], y_train=iris[1], cv=2, show_progress=False, **options)
    for name in ('Mitra', 'KNeighbors', 'LogisticRegression', 'OrionMSP'): lb.add_model(name)
    return lb

@pytest.fixture(scope='module')
def serial(iris): return board(iris).run('log_loss')

def test_processes_give_the_serial_table(iris, serial):
    lb = board(iris, n_jobs=2)
    pd.testing.assert_frame_equal(lb.run('log_loss')[SCORES], serial[SCORES], check_exact=True)

class AllAtOnce(ThreadingBackend):
    supports_return_generator = False  # as Ray's

def test_a_backend_that_forks_is_refused(iris):
    with pytest.raises(ConfigError, match='forks'): board(iris, backend='multiprocessing').run()

def test_backends_without_a_stream_of_results_come_in_batches(iris, serial):
    register_parallel_backend('all at once', AllAtOnce)
    seen, lb = [], board(iris, n_jobs=2, backend='all at once')
    t = lb.run('log_loss', callback=lambda t: seen.append(int(t.runs.sum())))
    assert seen == [1, 2, 3, 4, 5, 6]
    pd.testing.assert_frame_equal(t[SCORES], serial[SCORES], check_exact=True)

def test_a_dask_cluster_of_two_workers_gives_the_serial_table(iris, serial):
    distributed = pytest.importorskip('dask.distributed')
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with distributed.Client(cluster):
            lb = board(iris, backend='dask')
            pd.testing.assert_frame_equal(lb.run('log_loss')[SCORES], serial[SCORES], check_exact=True)
            where = set(lb.runs_['where'].dropna())
            assert len(where) == 2 and not any(w.endswith(f':{os.getpid()}') for w in where)  # both have worked, and nobody else

@pytest.mark.slow
def test_ray_gives_the_serial_table(iris, serial):
    ray = pytest.importorskip('ray')
    try: ray.init(num_cpus=2, include_dashboard=False)
    except Exception as e: pytest.skip(f'no Ray cluster starts here: {e}')
    try: pd.testing.assert_frame_equal(board(iris, backend='ray', n_jobs=2).run('log_loss')[SCORES], serial[SCORES], check_exact=True)
    finally: ray.shutdown()

def test_without_a_cluster_every_row_has_the_reason(iris):
    pytest.importorskip('dask.distributed')
    t = board(iris, backend='dask').run()
    assert set(t.status) == {'error'} and t.error.str.contains('Client').sum() == 3

def board_with_a_killer(iris, killer):
    lb = TabularLeaderboard(iris[0], y_train=iris[1], cv=2, n_jobs=2, show_progress=False)
    for m in ('KNeighbors', killer, 'LogisticRegression'): lb.add_model(m)
    return lb

def test_when_the_pool_breaks_the_others_go_on(iris, serial, monkeypatch):
    import tabtune.leaderboard.execution as execution
    tried, run_job = [], execution.run_job
    def lost(job):
        if job.candidate.name != 'Fails': return run_job(job)
        tried.append(job.key)
        raise BrokenPipeError('worker lost\nand more')
    monkeypatch.setattr(execution, 'run_job', lost)
    t = board_with_a_killer(iris, Fails()).run('log_loss', backend='threading')
    assert (t.name.iloc[-1], t.error.iloc[-1]) == ('Fails', 'no result from its process (BrokenPipeError: worker lost)')
    assert 2 <= len(tried) <= 3  # with the others, and once alone
    want = serial[serial.name.isin(t.name)]
    pd.testing.assert_frame_equal(t[SCORES][:-1].set_index('name'), want[SCORES].set_index('name'), check_exact=True)

@pytest.mark.slow
def test_a_candidate_that_kills_its_process_is_one_failed_row(iris):
    X, y = iris
    lb = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2], n_jobs=2, show_progress=False)
    for m in ('KNeighbors', 'LogisticRegression', Dies()): lb.add_model(m)
    t = lb.run()
    assert (t.name.iloc[-1], t.status.tolist()) == ('Dies', ['ok', 'ok', 'error'])
    assert 'no result from its process (TerminatedWorkerError' in t.error.iloc[-1]

def test_a_hub_that_is_offline_is_tried_once(iris):
    from tabtune.estimators.registry import MODELS, peer_spec, register_model
    attempts = []
    class Offline(BaseEstimator):
        def __init__(self, random_state=None): self.random_state = random_state
        def fit(self, X, y): attempts.append(1); raise OSError('no answer')
    register_model(peer_spec('Offline', Offline, 'classification', 'offline', 'MIT', 'nobody/away'))
    try: t = board(iris, seeds=2).add_model('Offline').run()
    finally: del MODELS['classification', 'Offline']
    row = t[t.name == 'Offline'].iloc[0]
    assert len(attempts) == 1 and row.status == 'error' and "come from 'nobody/away'" in row.error
    assert t.runs[t.status == 'ok'].tolist() == [4] * 3

def test_a_killed_run_goes_on(tmp_path, iris):
    iris[0].assign(y=iris[1]).to_csv(tmp_path/'t.csv', index=False)
    options = dict(target='y', models='RandomForest', cv=5, seeds=2, results_dir=str(tmp_path/'r'))
    code = f'from tabtune.leaderboard.compare import main; main({str(tmp_path/"t.csv")!r}, out={str(tmp_path/"o")!r}, **{options!r})'
    p = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stored = lambda: {f.name: f.stat().st_mtime_ns for f in (tmp_path/'r').glob('*.json')}
    while len(stored()) < 2 and p.poll() is None: time.sleep(.01)
    p.kill(); p.wait()
    first = stored()
    assert p.returncode == -signal.SIGKILL and 2 <= len(first) < 10
    main(str(tmp_path/'t.csv'), out=str(tmp_path/'o'), **options)
    assert len(stored()) == 10 and first.items() <= stored().items()
    whole = {n: json.loads((tmp_path/'r'/n).read_text())['log_loss'] for n in stored()}
    main(str(tmp_path/'t.csv'), out=str(tmp_path/'o'), **options | dict(results_dir=str(tmp_path/'again')))
    assert whole == {f.name: json.loads(f.read_text())['log_loss'] for f in (tmp_path/'again').glob('*.json')}

def test_a_stopped_parallel_run_goes_on(iris, tmp_path, serial):
    lb = board(iris, n_jobs=2, results_dir=tmp_path)
    lb.run('log_loss', callback=lambda t: lb.stop())
    assert 1 <= len(list(tmp_path.glob('*.json'))) < 6
    first = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*.json')}
    t = board(iris, results_dir=tmp_path).run('log_loss')
    pd.testing.assert_frame_equal(t[SCORES], serial[SCORES], check_exact=True)
    assert all((tmp_path/n).stat().st_mtime_ns == m for n, m in first.items())

def test_a_broken_result_on_disk_is_done_again(iris, tmp_path, serial):
    board(iris, results_dir=tmp_path).run()
    for p in sorted(tmp_path.glob('*.json'))[:2]: p.write_text('{"half')
    pd.testing.assert_frame_equal(board(iris, results_dir=tmp_path).run('log_loss')[SCORES], serial[SCORES], check_exact=True)
    assert all(json.loads(p.read_text()) for p in tmp_path.glob('*.json'))

def test_an_interrupt_keeps_what_is_there(iris, tmp_path):
    def interrupt(table):
        if table.runs.sum() == 3: raise KeyboardInterrupt
    lb = board(iris, results_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt): lb.run(callback=interrupt)
    assert lb.results_.runs.sum() == 3 and len(list(tmp_path.glob('*.json'))) == 3

def test_a_failing_callback_is_not_taken_for_a_lost_worker(iris):
    def bad(table): raise ValueError('mine')
    with pytest.raises(ValueError, match='mine'): board(iris).run(callback=bad)

def test_failures_come_last_and_are_escaped(iris):
    lb = board(iris).add_model(Fails())
    t = lb.run()
    assert t.status.tolist() == ['ok'] * 3 + ['error'] * 2
    assert 'RuntimeError: no <b>luck</b>' in t.error.tolist()
    assert '&lt;b&gt;luck' in lb.to_html() and '<b>luck' not in lb.to_html()
    assert 'Traceback' in lb.runs_.traceback.dropna().iloc[0]

def test_all_fail(iris):
    lb = TabularLeaderboard(iris[0], iris[0], iris[1], iris[1], show_progress=False)
    t = lb.add_model(Fails()).run()
    assert t.status.tolist() == ['error'] and t.accuracy.isna().all()
    assert 'RuntimeError' in lb.to_html()

def test_why_a_model_will_not_run_is_logged_when_it_is_added(iris, caplog):
    lb = TabularLeaderboard(iris[0], y_train=iris[1])
    with caplog.at_level(logging.INFO, 'tabtune'): lb.add_model('OrionBix').add_model('RandomForest')
    assert 'make peers PEERS=Orion' in caplog.messages[0] and 'licence BSD-3-Clause' in caplog.messages[1]

@pytest.mark.parametrize('kind', ['array', 'categorical', 'bool', 'int'])
def test_tables_and_labels_of_all_kinds(iris, kind):
    X, y = iris
    y = {'array': y, 'categorical': y.astype('category'), 'bool': y == 'a', 'int': y.map({'a': 3, 'b': 7, 'c': 9})}[kind]
    X = X.to_numpy() if kind == 'array' else X.set_index(pd.Index(range(100, 100 + len(X))))
    lb = TabularLeaderboard(X[::2], X[1::2], y[::2], np.asarray(y[1::2]), show_progress=False)
    t = lb.add_model('Mitra').add_model('RandomForest').add_model('KNeighbors').run()
    assert t.status.tolist() == ['ok'] * 3 and t.accuracy.min() > 0.75

def test_a_class_that_one_fold_lacks(iris):
    y = iris[1].copy()
    y[0] = 'rare'
    with pytest.warns(UserWarning, match='least populated class'):
        t = TabularLeaderboard(iris[0], y_train=y, cv=2, show_progress=False).add_model('Mitra').add_model('KNeighbors').run()
    assert t.status.tolist() == ['ok'] * 2 and t.accuracy.notna().all()

def test_wrong_input(iris):
    X, y = iris
    with pytest.raises(InputError, match='y_test is missing'): TabularLeaderboard(X, X, y)
    with pytest.raises(InputError, match='10 rows'): TabularLeaderboard(X, X, y[:10], y)
    with pytest.raises(InputError, match='missing'): TabularLeaderboard(X, X.drop(columns=X.columns[0]), y, y)
    with pytest.raises(ConfigError, match='cv=1'): TabularLeaderboard(X, y_train=y, cv=1).add_model('Mitra').run()
    with pytest.raises(ConfigError, match='no models'): TabularLeaderboard(X, y_train=y, cv=2).run()
    with pytest.raises(ConfigError, match='seeds'): TabularLeaderboard(X, y_train=y, cv=2, seeds=[1, 1]).add_model('Mitra').run()

def test_command_line_reports_what_is_wrong(tmp_path, iris):
    iris[0].assign(y=iris[1]).to_csv(tmp_path/'t.csv', index=False)
    with pytest.raises(TabTuneError, match="no file"): main(str(tmp_path/'none.csv'), target='y')
    with pytest.raises(TabTuneError, match="'z' is no column"): main(str(tmp_path/'t.csv'), target='z')
    with pytest.raises(TabTuneError, match="did you mean 'Mitra'"): main(str(tmp_path/'t.csv'), target='y', models='Mitar')
    with pytest.raises(TabTuneError, match='n_jobs=0'): main(str(tmp_path/'t.csv'), target='y', models='KNeighbors', n_jobs=0)
    with pytest.raises(TabTuneError, match='results_dir=.*is no folder'): main(str(tmp_path/'t.csv'), target='y', results_dir=str(tmp_path/'t.csv'))
    with pytest.raises(TabTuneError, match='folder can\'t be made'): main(str(tmp_path/'t.csv'), target='y', out=str(tmp_path/'t.csv'/'o'))
    with pytest.raises(TabTuneError, match='add --task regression'): main(str(tmp_path/'t.csv'), target=iris[0].columns[0], task='classification')

# name of a file: what it holds, and what the message says
UNREADABLE = {'empty.csv': (lambda: b'', 'it is empty'),
              'ragged.csv': (lambda: b'x,y\n1,2,3\n1,2,3,4\n', 'line 2 has 3 cells'), 'half.json': (lambda: b'{"half', 'JSONDecodeError'),
              'text.parquet': (lambda: b'no', 'Arrow'), 'text.csv.gz': (lambda: b'no', 'BadGzipFile'),
              'truncated.csv.gz': (lambda: gzip.compress(b'x,y\n' + b'1,2\n' * 99, mtime=0)[:-9], 'EOFError'),
              'text.csv.zip': (lambda: b'no', 'BadZipFile')}

@pytest.mark.parametrize('name', UNREADABLE)
def test_command_line_and_files_that_are_not_what_they_seem(tmp_path, name):
    content, message = UNREADABLE[name]
    (tmp_path/name).write_bytes(content())
    with pytest.raises(TabTuneError, match=f"can't be read as .*{message}"): main(str(tmp_path/name), target='y')

def test_mitra_from_a_public_checkpoint_and_from_a_hub_that_is_offline(iris, tmp_path, monkeypatch):
    import huggingface_hub.constants
    import torch
    from tabtune import Mitra, save_checkpoint
    from tabtune.core.config import config_from_json
    public = config_from_json(dict(dim=32, dim_output=10, n_layers=1, n_heads=2, task='CLASSIFICATION'))
    with torch.random.fork_rng(devices=[]): save_checkpoint(Mitra(public), tmp_path/'public')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    X, y = iris
    lb = TabularLeaderboard(X, X, y, y, show_progress=False).add_model('Mitra', name='local', model_params=dict(pretrained=str(tmp_path/'public')))
    for v in ('', '-1.1', '-2'): lb.add_model('Mitra', name=f'hub{v}', model_params=dict(pretrained=f'autogluon/mitra-classifier{v}'))
    t = lb.run().set_index('name')
    assert t.status['local'] == 'ok' and t.parameters['local'] > 0
    assert all(t.status[f'hub{v}'] == 'error' and f"'autogluon/mitra-classifier{v}'" in t.error[f'hub{v}'] for v in ('', '-1.1', '-2'))

def test_other_weights_under_the_same_path_are_not_mistaken_for_the_old_ones(iris, tmp_path):
    from tabtune import load_checkpoint, save_checkpoint
    import torch
    model, (X, y) = load_checkpoint('small'), iris
    def score(): return TabularLeaderboard(X, X, y, y, results_dir=tmp_path/'r', show_progress=False).add_model(
        'Mitra', model_checkpoint_path=tmp_path/'w').run().log_loss[1]
    save_checkpoint(model, tmp_path/'w')
    first = score()
    assert score() == first and len(list((tmp_path/'r').glob('*.json'))) == 1
    with torch.no_grad():
        for p in model.parameters(): p.mul_(1.1)
    save_checkpoint(model, tmp_path/'w')
    assert score() != first and len(list((tmp_path/'r').glob('*.json'))) == 2

def test_tuned_rows(iris):
    X, y = iris
    lb = TabularLeaderboard(X[::2], X[1::2], y[::2], y[1::2], show_progress=False)
    lb.add_model('Mitra', 'base-ft', name='tuned', model_params=dict(d_model=32, num_layers=1),
                 tuning_params=dict(epochs=1, steps_per_epoch=2, batch_size=1, support_size=16, query_size=8, keep='tuned'))
    lb.add_model('Mitra', 'finetune', name='typo', tuning_params=dict(epoch=1)).add_model('Mitra', 'magic', name='unknown')
    t = lb.run().set_index('name')
    assert t.status.to_dict() == dict(tuned='ok', typo='error', unknown='error')
    assert t.trainable_parameters['tuned'] == t.parameters['tuned'] > 0
    assert (t.kept['tuned'], t.kept['typo']) == ('tuned', '') and '>tuned<' in lb.to_html()
    assert "did you mean 'epochs'" in t.error['typo'] and 'tuning_strategy' in t.error['unknown']

def test_a_regression_board_with_an_adapter(iris):
    X = iris[0]
    rows, target = X.iloc[:, :3], X.iloc[:, 3]
    lb = TabularLeaderboard(rows[::2], rows[1::2], target[::2], target[1::2], task_type='regression', show_progress=False).add_model('Ridge').add_model('Mitra')
    lb.add_model('Mitra', 'peft', name='peft', tuning_params=dict(epochs=1, steps_per_epoch=2, batch_size=1, support_size=16, query_size=8))
    t = lb.run('rmse')
    assert set(t.status) == {'ok'} and t.rmse.is_monotonic_increasing and {'r2', 'mae'} <= set(t)
    t = t.set_index('name')
    assert 0 < t.trainable_parameters['peft'] < t.parameters['peft'] and t.trainable_parameters['Mitra'] == 0
    with pytest.raises(ConfigError, match='Valid: r2, rmse, mae'): lb.run('log_loss')

def test_command_line_as_installed(tmp_path, iris):
    iris[0].to_csv(tmp_path/'t.csv', index=False)
    command = shutil.which('tabtune', path=os.path.dirname(sys.executable))
    if command is None: pytest.skip('the package is not installed')
    options = [command, 'compare', tmp_path/'t.csv', '--target', iris[0].columns[3], '--task', 'regression', '--models', 'Mitra,Ridge', '--out', tmp_path/'out'/'r']
    done = subprocess.run(options, capture_output=True, text=True)
    assert done.returncode == 0 and 'rmse' in done.stdout and 'Ridge' in done.stdout, done.stderr
    assert sorted(p.name for p in (tmp_path/'out').iterdir()) == ['r.csv', 'r.html', 'r.png']
    assert set(pd.read_csv(tmp_path/'out'/'r.csv').name) == {'Mitra', 'Ridge'}
    for size in ('2', '0', '1', '-0.2'):
        with pytest.raises(TabTuneError, match='--test-size.* must lie between 0 and 1'): main(str(tmp_path/'t.csv'), target=iris[0].columns[3], task='regression', test_size=float(size))

def test_command_line_with_more_classes_than_test_rows(tmp_path):
    pd.DataFrame(dict(a=range(24), y=[f'c{i % 12}' for i in range(24)])).to_csv(tmp_path/'t.csv', index=False)
    main(str(tmp_path/'t.csv'), target='y', models='KNeighbors', out=str(tmp_path/'r'))
    assert (tmp_path/'r.csv').exists()
