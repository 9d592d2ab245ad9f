import pytest

from probes.measuring.plan import Plan
from probes.metrics import METRICS, OF_CALLS, Metric
from probes.schedule import at
from probes.schema import Column

KNOWN = {**METRICS, **{metric.name: metric for metric in OF_CALLS}}


def due(plan, step):
    return {metric.name for metric in plan.due(step)}


def test_without_a_word_everything_is_recorded_dear_metrics_more_rarely():
    plan = Plan()
    assert due(plan, 0) == set(KNOWN)
    cheap = {name for name, metric in KNOWN.items() if metric.every_nth_record == 1 and metric.min_steps_between <= 100}
    assert due(plan, 100) == cheap
    assert due(plan, 50) == due(plan, 101) == set()
    assert "operator_norm" not in cheap
    assert "spectrum" in due(plan, 1000)


@pytest.mark.parametrize(("cadence", "steps"), [(1, 200), (6, 204), (50, 200), (300, 300)])
def test_a_dear_metric_keeps_its_distance_in_steps_not_in_records(cadence, steps):
    plan = Plan(["operator_norm"], cadence)
    assert [step for step in range(0, 3 * steps, cadence) if due(plan, step)] == [0, steps, 2 * steps]


def test_one_schedule_holds_for_all_metrics_dear_or_not():
    assert due(Plan(cadence=at([3])), 3) == set(KNOWN)


def test_a_mapping_is_exact_for_what_it_names_and_the_rest_keeps_the_default():
    plan = Plan(cadence={"weights": 7, "spectrum": 1})
    assert due(plan, 7) >= {"weight_moments", "spectrum"}
    assert "grad_moments" not in due(plan, 7)
    assert "grad_moments" in due(plan, 100)
    assert "weight_moments" not in due(plan, 100)


def test_groups_and_metrics_are_chosen_by_name():
    assert due(Plan(["gradients", "spectrum"], 1), 0) == {
        "grad_moments",
        "grad_sparsities",
        "gradient_histogram",
        "parameter_grad_moments",
        "carried_gradient",
        "spectrum",
    }


@pytest.mark.parametrize("cadence", [0, -1, {"weights": 0}])
def test_a_step_count_that_is_none_is_refused(cadence):
    with pytest.raises(ValueError, match="expected a whole number of steps, 1 or more"):
        Plan(cadence=cadence)


def test_a_schedule_for_a_metric_that_was_not_chosen_is_refused():
    with pytest.raises(ValueError, match="every: unknown metric or group 'spectra'; groups are weights"):
        Plan(["weights"], {"spectra": 5})


def test_a_metric_may_not_fill_a_key_column():
    own = Metric("mine", "user", "weight", len, (Column("step", "1", "x"),))
    with pytest.raises(ValueError, match="metrics 'the key' and 'mine' both fill column 'step': rename one"):
        Plan([own])


def test_a_bare_function_is_no_metric_and_the_message_says_how_to_make_one():
    with pytest.raises(ValueError, match=r"neither a name nor a metric: make one with probes.metrics.metric"):
        Plan([len])
