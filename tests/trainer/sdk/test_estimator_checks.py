"""scikit-learn's own checks of an estimator, on `Classifier` and `Regressor`."""

import warnings
from functools import partial
from typing import Any

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

import genba

pytestmark = pytest.mark.timeout(600)

FEW = "a model is proven on rows that were held out: under 20 rows are refused"
EQUAL = "its rows are a few different ones, and equal rows are never both learned and held out"
#: Checks that do not apply, and why.
NOT_APPLICABLE = {
    "Classifier": {
        "check_n_features_in_after_fitting": FEW,
        "check_classifier_data_not_an_array": FEW,
        "check_pipeline_consistency": EQUAL,
    },
    "Regressor": {
        "check_n_features_in_after_fitting": FEW,
        "check_regressors_no_decision_function": FEW,
        "check_pipeline_consistency": EQUAL,
    },
}
#: Those that are run with every change; the others are slow, since each fits several models.
ALWAYS = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_complex_data",
    "check_estimator_sparse_array",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_supervised_y_no_nan",
    "check_fit2d_predict1d",
    "check_valid_tag_types",
}
#: Of the slow ones one in so many runs in CI.
SAMPLED = 3
ESTIMATORS = (genba.Classifier(trials=1, budget="30s", jobs=1), genba.Regressor(trials=1, budget="30s", jobs=1))


def name_of(check: Any) -> str:
    return str((check.func if isinstance(check, partial) else check).__name__)


def checks() -> list[Any]:
    found = []
    for kind in ESTIMATORS:
        each = list(estimator_checks_generator(kind, legacy=True))
        for place, (estimator, check) in enumerate(each):
            marks = [] if name_of(check) in ALWAYS else [pytest.mark.slow]
            marks += [pytest.mark.sample] if marks and place % SAMPLED == 0 else []
            reason = NOT_APPLICABLE[type(kind).__name__].get(name_of(check))
            marks += [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
            told = f"{type(kind).__name__}-{name_of(check)}-{place}"
            found.append(pytest.param(estimator, check, id=told, marks=marks))
    return found


@pytest.mark.parametrize(("estimator", "check"), checks())
def test_an_estimator_keeps_scikit_learns_conventions(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks themselves do what scikit-learn deprecates
        check(estimator)
