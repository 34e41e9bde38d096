"""What a dry run says of every method and ε before anything is spent: σ, H/σ, generator calls."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from workflow_scripts.configuration.methods import DpSgdMethod, PEMethod, RandomMethod
from workflow_scripts.evolution.selection import threshold_in_votes
from workflow_scripts.plan import Plan
from workflow_scripts.plan.runs import Run
from workflow_scripts.privacy.accountant import least_noise
from workflow_scripts.privacy.events import event_of
from workflow_scripts.stages import canonical

COLUMNS = ("data set", "method", "ε", "δ", "T", "σ", "H/σ", "samples", "images generated")


def generator_calls(method: PEMethod) -> int:
    """Images that a run of Private Evolution asks its generators for, kept or not."""
    drawn = method.selected(0) * method.copies(0)
    varied = sum(method.selected(t) * method.fold for t in range(1, method.rounds + 1))
    ahead = sum(
        method.selected(t) * method.copies(t) * method.lookahead for t in range(method.rounds)
    )
    return drawn + varied + ahead


@cache
def noise_of_text(budget: str) -> float | None:
    """σ of a run's budget (`Plan.budget`, in JSON), found once for all that are equal.

    None if there is none, because other releases alone cost too much.
    """
    fields = json.loads(budget)
    others = [event_of(other) for other in fields.pop("others")]
    return least_noise(**fields, others=others)


def budget_text(plan: Plan, run: Run) -> str:
    """A run's budget in JSON, by which its σ is known."""
    return json.dumps(plan.budget(run), sort_keys=True)


def preview(plan: Plan) -> str:
    """A table of all (data set, method, ε), with the noise multiplier.

    `calibrate` verifies it with the accountant, which may raise it a little. Where records are
    sampled only the accountant can find it, in seconds.
    """
    seeds = len(plan.experiment.seeds)
    first = [run for run in plan.runs if run.seed == plan.experiment.seeds[0] and not run.is_real]
    budgets = {budget_text(plan, run) for run in first if run.iterations}
    noise = {budget: noise_of_text(budget) for budget in budgets}
    head = f"{plan.experiment.experiment}: {len(plan.runs)} runs, {seeds} of each line"
    return "\n".join([head, table_of([COLUMNS, *rows_of(plan, first, noise)]), ""])


def table_of(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def rows_of(
    plan: Plan, runs: Iterable[Run], noise: Mapping[str, float | None]
) -> Iterable[Sequence[str]]:
    """A row of `COLUMNS` for each run.

    Parameters
    ----------
    plan : Plan
    runs : iterable of Run
    noise : mapping
        The run's budget, in JSON → σ, None if none is enough. A run that is not there is left to
        `calibrate`.
    """
    return [_row(plan, run, noise) for run in runs]


def _row(plan: Plan, run: Run, noise: Mapping[str, float | None]) -> Sequence[str]:
    method = run.settings
    names = (run.dataset.name, run.method.name)
    if isinstance(method, RandomMethod):
        samples = str(method.samples)
        return (*names, "0", "–", "0", "–", "–", samples, samples)
    trained = isinstance(method, DpSgdMethod)
    budget, sigma, threshold = budget_text(plan, run), "calibrated", "–"
    if budget in noise:
        found = noise[budget]
        sigma = "none is enough" if found is None else f"{found:.7g}"
        if found is not None and not trained:
            threshold = f"{threshold_in_votes(canonical(method.threshold), found) / found:.2f}"
    cost = (run.epsilon, f"{plan.delta(run):.3g}")
    if trained:
        steps, samples, images = method.steps, method.samples, method.samples
    else:
        steps, images = run.iterations, generator_calls(method)
        samples = method.selected(run.iterations) * method.copies(run.iterations)
    return (*names, *cost, str(steps), sigma, threshold, str(samples), f"{images:,}")
