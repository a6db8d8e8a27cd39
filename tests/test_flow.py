"A fit and a first prediction stay short: how many functions of the library they call, and how often they change the module."
import operator
import sys

import pytest
from fastcore.test import test as holds
from sklearn.datasets import load_breast_cancer

from tabtune import TabularPipeline

AT_MOST = dict(fit=(689, 95), first_prediction=(997, 25))  # calls, changes of module

def counted(f):
    "Calls of functions in tabtune while `f` runs, and changes from one module of it to another."
    modules = []
    def profiler(frame, event, arg):
        name = frame.f_globals.get('__name__', '')
        if event == 'call' and name.split('.')[0] == 'tabtune': modules.append(name)
    before = sys.getprofile()
    sys.setprofile(profiler)
    try: f()
    finally: sys.setprofile(before)
    return len(modules), sum(a != b for a, b in zip(modules, modules[1:]))

@pytest.fixture(scope='module')
def counts():
    X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    TabularPipeline().fit(X[:100], y[:100]).predict_proba(X[:5])  # what only the first of a process does is not counted
    pipe = TabularPipeline()
    return dict(fit=counted(lambda: pipe.fit(X[:400], y[:400])), first_prediction=counted(lambda: pipe.predict_proba(X[400:405])))

@pytest.mark.parametrize('what', AT_MOST)
def test_few_calls_and_changes_of_module(counts, what):
    for have, most in zip(counts[what], AT_MOST[what]):
        holds(have, 0, operator.gt)
        holds(have, most, operator.le)
