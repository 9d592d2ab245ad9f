import math

import pytest

from probes.schedule import as_schedule, at, every, log_spaced, never


def test_every_counts_from_its_start():
    assert [step for step in range(12) if every(5, start=1)(step)] == [1, 6, 11]


@pytest.mark.parametrize("n", [0, -5, 2.0, True, "3"])
def test_every_refuses_what_is_no_step_count(n):
    with pytest.raises(ValueError, match=r"every=.*: expected a whole number of steps, 1 or more"):
        every(n)


def test_at_and_never_do_as_they_say():
    assert [step for step in range(9) if at([7, 2])(step)] == [2, 7]
    assert not any(never(step) for step in range(9))


@pytest.mark.parametrize("per_decade", [1, 4, 10])
def test_log_spaced_steps_are_where_the_logarithm_passes_a_mark(per_decade):
    found = [step for step in range(20_000) if log_spaced(per_decade=per_decade)(step)]
    marks = {math.ceil(10 ** (k / per_decade) - 1e-9) for k in range(5 * per_decade)}
    assert found == sorted({0, *(step for step in marks if step < 20_000)})


@pytest.mark.parametrize("per_decade", [0, 101, 1.5])
def test_log_spaced_refuses_what_is_no_density(per_decade):
    with pytest.raises(ValueError, match="expected a whole number of records a decade, 1 to 100"):
        log_spaced(per_decade=per_decade)


def test_a_number_means_every_and_a_function_itself():
    schedule = as_schedule(3)
    assert schedule(6)
    assert not schedule(7)
    assert as_schedule(never) is never
