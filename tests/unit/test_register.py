"""The register of a data set: every release once, whatever becomes of its files, and the cap."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from workflow_scripts.files import FileProblem
from workflow_scripts.privacy.accountant import calibrate, compose
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import DiscreteGaussianEvent
from workflow_scripts.privacy.journal import Entry
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.privacy.register import CapExceeded, Register
from workflow_scripts.privacy.total import published_together, total_of_register

DELTA = 1e-5
EVENT = DiscreteGaussianEvent(5.0, 1)


@pytest.fixture
def register(tmp_path):
    return Register(tmp_path / "accounts/digits/register.jsonl")


def draw(register, identity, event=EVENT, release_id=None):
    register.reserve(identity, event, "os")
    register.commit(identity, event, "os", release_id or f"id of {identity}")


def test_a_release_stands_there_once_however_often_it_is_said(register):
    register.reserve("run/iter1", EVENT, "os")
    (reserved,) = register.charges
    assert reserved.release_id is None
    for _ in range(3):
        register.commit("run/iter1", EVENT, "os", "a")
    (charge,) = register.charges
    assert (charge.identity, charge.event, charge.release_id) == ("run/iter1", EVENT, "a")


def test_a_release_that_failed_before_it_was_drawn_is_given_back(register):
    register.reserve("run/iter1", EVENT, "os")
    register.withdraw("run/iter1", EVENT, "os")
    assert register.charges == []
    draw(register, "run/iter1")
    register.withdraw("run/iter1", EVENT, "os")
    assert len(register.charges) == 1, "what was released cannot be given back"


def test_what_was_released_is_not_reserved_again(register):
    draw(register, "run/iter1")
    with pytest.raises(FileProblem, match="was released before"):
        register.reserve("run/iter1", EVENT, "os")


def test_a_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_not(register):
    draw(register, "run/iter1")
    whole = register.path.read_bytes()
    register.path.write_bytes(whole + b'{"identity": "run/it')
    assert len(register.charges) == 1
    draw(register, "run/iter2")
    assert [c.identity for c in register.charges] == ["run/iter1", "run/iter2"]
    register.path.write_bytes(b"{broken}\n" + whole)
    with pytest.raises(FileProblem, match=r"register\.jsonl, line 1: damaged"):
        register.charges  # noqa: B018


def test_a_cap_refuses_what_would_exceed_it_and_charges_nothing(register):
    """Four releases of a run of six are within the cap; the fifth is not."""
    cap = {"epsilon": compose([EVENT] * 4, DELTA).epsilon + 1e-3, "delta": DELTA}
    register.limit(cap)
    for t in range(4):
        draw(register, f"run/iter{t}")
    with pytest.raises(CapExceeded, match=r"all 5 of the data set would cost .* its cap"):
        register.reserve("run/iter5", EVENT, "os")
    assert len(register.charges) == 4
    # A larger cap, or none, lets it through; a smaller one than was spent, nothing.
    register.limit(None)
    draw(register, "run/iter5")
    register.limit({"epsilon": 0.01, "delta": DELTA})
    with pytest.raises(CapExceeded):
        register.reserve("run/iter6", DiscreteGaussianEvent(1e5, 1), "os")


def test_a_reservation_takes_room_so_that_two_jobs_do_not_both_fit(register):
    register.limit({"epsilon": compose([EVENT], DELTA).epsilon + 1e-3, "delta": DELTA})
    register.reserve("one/iter1", EVENT, "os")
    with pytest.raises(CapExceeded):
        register.reserve("two/iter1", EVENT, "os")
    register.withdraw("one/iter1", EVENT, "os")
    register.reserve("two/iter1", EVENT, "os")


def race(path, name):
    mechanism = DiscreteGaussianMechanism(EVENT.scale, EVENT.counts)
    entry = Entry(path / f"{name}.safetensors", path / "register.jsonl", name, "os")
    zeros = np.zeros(3, dtype=np.int64)
    try:
        entry.release_once(EVENT, {}, lambda: (*mechanism.release(zeros, noise_of("os")), {}))
    except CapExceeded:
        return 0
    return 1


def test_jobs_that_race_for_what_is_left_of_a_cap_do_not_overspend_it(tmp_path):
    """Six at once, each with a file descriptor and so a lock of its own; there is room for two."""
    cap = {"epsilon": compose([EVENT] * 2, DELTA).epsilon + 1e-3, "delta": DELTA}
    Register(tmp_path / "register.jsonl").limit(cap)
    with ThreadPoolExecutor(6) as pool:
        drawn = sum(pool.map(lambda i: race(tmp_path, f"run{i}/iter1"), range(6)))
    charges = Register(tmp_path / "register.jsonl").charges
    assert drawn == 2 == len(charges)
    assert compose([c.event for c in charges], DELTA).epsilon <= cap["epsilon"]


def test_the_total_counts_every_release_once_and_what_may_have_been_drawn(register):
    for t in range(3):
        draw(register, f"run/iter{t}")
    register.reserve("other/iter1", EVENT, "seeded")
    total = total_of_register(register.charges, register.cap, DELTA)
    assert total["releases"] == 4 and total["unfinished"] == ["other/iter1"]
    assert total["epsilon"] == pytest.approx(compose([EVENT] * 4, DELTA).epsilon, rel=1e-6)
    assert total["is_private"] is False


def stated(*release_ids, event=EVENT):
    fields = {"scale": event.scale, "counts": event.counts, "type": event.type}
    releases = [{"release_id": name, "event": fields} for name in release_ids]
    return {"noise_source": "os", "releases": releases}


def test_runs_that_share_a_release_pay_for_it_once_together():
    sigma, _ = calibrate(1.0, DELTA, 2, {"type": "discrete-gaussian", "counts": 1})
    event = DiscreteGaussianEvent(sigma, 1)
    runs = [("pe ε=1", stated("query", "a", event=event)), ("pe ε=1", stated("query", "b"))]
    runs[1] = ("pe ε=1", stated("query", "b", event=event))
    total = published_together([*runs, ("random ε=0", stated())], DELTA)
    assert (total["runs"], total["releases"]) == (3, 3)
    assert total["epsilon"] == pytest.approx(compose([event] * 3, DELTA).epsilon)
    assert total["each"]["pe ε=1"] == {"runs": 2, "epsilon": total["epsilon"]}
    assert total["each"]["random ε=0"]["epsilon"] == 0
    # Publishing two runs of ε = 1 costs more than one and less than ε = 2.
    alone = published_together(runs[:1], DELTA)["epsilon"]
    assert alone == pytest.approx(1.0, rel=1e-5) and 1.0 < total["epsilon"] < 2.0
