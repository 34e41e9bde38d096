"""What a dry run says of every method and ε before anything is spent: σ, H/σ, generator calls."""

from collections.abc import Iterable

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


def preview(plan: Plan) -> str:
    """A table of all (data set, method, ε), with the noise multiplier.

    `calibrate` verifies it with the accountant, which may raise it a little. Where records are
    sampled only the accountant can find it, in seconds.
    """
    seeds = len(plan.experiment.seeds)
    first = [run for run in plan.runs if run.seed == plan.experiment.seeds[0] and not run.is_real]
    rows = [COLUMNS, *(_row(plan, run) for run in first)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    head = f"{plan.experiment.experiment}: {len(plan.runs)} runs, {seeds} of each line"
    return "\n".join([head, *lines, ""])


def _row(plan: Plan, run: Run) -> Iterable[str]:
    method = run.settings
    if isinstance(method, RandomMethod):
        samples = str(method.samples)
        return (run.dataset.name, run.method.name, "0", "–", "0", "–", "–", samples, samples)
    delta = plan.delta(run)
    if isinstance(method, DpSgdMethod):
        cost = (run.epsilon, f"{delta:.3g}", str(method.steps), "calibrated", "–")
        return (
            run.dataset.name,
            run.method.name,
            *cost,
            str(method.samples),
            f"{method.samples:,}",
        )
    budget = plan.budget(run)
    others = [event_of(other) for other in budget.pop("others")]
    sigma = least_noise(**budget, others=others)
    if sigma is None:
        noise = ("none is enough", "–")
    else:
        threshold = threshold_in_votes(canonical(method.threshold), sigma)
        noise = (f"{sigma:.7g}", f"{threshold / sigma:.2f}")
    samples = method.selected(run.iterations) * method.copies(run.iterations)
    return (
        run.dataset.name,
        run.method.name,
        run.epsilon,
        f"{delta:.3g}",
        str(run.iterations),
        *noise,
        str(samples),
        f"{generator_calls(method):,}",
    )
