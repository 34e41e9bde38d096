"""The settings of the steps that train with DP-SGD: a part of `workflow_scripts.settings`."""

from dataclasses import asdict

from workflow_scripts.plan import Plan
from workflow_scripts.plan.runs import Query, Run
from workflow_scripts.semantic.selection import classes_per_label


def entry_of(plan: Plan, register: str, identity: str, journal: str) -> dict:
    """What a mechanism needs to release once: `privacy.journal.Entry`."""
    source = plan.experiment.noise_source
    return {
        "entry": {
            "journal": journal,
            "register": register,
            "identity": identity,
            "noise_source": source,
        }
    }


def released(plan: Plan, run: Run, release: str) -> dict:
    """The entry of one release of a run: `iter{t}`, `class_counts`, `choice` or `finetuned`."""
    identity = f"{run.identity}/{release}"
    return entry_of(plan, run.register, identity, run.journal(release))


def _asked(plan: Plan, wildcards) -> tuple[Run, Query]:
    """The query that a path's wildcards name, and a run that uses it."""
    return plan.queries[f"{wildcards.dataset}/queries/{wildcards.query}/seed{wildcards.seed}"]


def _released(plan: Plan, run: Run, query: Query) -> dict:
    return {
        **entry_of(plan, run.register, query.identity(run), query.journal(run)),
        "event": asdict(query.event),
        "stage": query.stage.description,
        "classes": len(_classes(run)),
    }


def _classes(run: Run) -> list[str]:
    return run.dataset.settings["dataset"]["classes"]


def _image(run: Run) -> dict:
    return run.dataset.settings["dataset"]["image"]


def _query_classes(plan: Plan, wildcards) -> dict:
    run, query = _asked(plan, wildcards)
    _, classifier = query.stage.parents
    own = query.stage.settings
    return {
        **_released(plan, run, query),
        "classifier": classifier.settings["encoder"],
        "public_classes": len(own["public_classes"]),
        "image": own["image"],
    }


def _select_classes(plan: Plan, wildcards) -> dict:
    run, query = _asked(plan, wildcards)
    public = query.stage.settings["public_classes"]
    ratio = plan.stages[wildcards.pretraining].settings["selection_ratio"]
    return {
        "classes": _classes(run),
        "public_classes": public,
        "votes": query.stage.settings["votes"],
        "noise_multiplier": query.event.noise_multiplier,
        "classes_per_label": classes_per_label(ratio, len(public), len(_classes(run))),
    }


def _release_central_images(plan: Plan, wildcards) -> dict:
    run, query = _asked(plan, wildcards)
    return {
        **_released(plan, run, query),
        "centre": query.stage.settings["centre"],
        "size": _image(run)["size"] // 2,
        "train_size": run.dataset.settings["dataset"]["train_size"],
    }


def _pretrain(plan: Plan, wildcards) -> dict:
    run, _ = _asked(plan, wildcards)
    stage = plan.stages[wildcards.pretraining]
    own = stage.settings
    return {
        "stage": stage.description,
        "classes": _classes(run),
        "network": own["network"],
        "training": own["training"],
        "seed": [own["seed"], stage.key, int(wildcards.seed)],
        "size": _image(run)["size"],
        "copies": own.get("copies"),
    }


def _finetune(plan: Plan, wildcards) -> dict:
    run = plan.run(wildcards.dataset, wildcards.method, wildcards.epsilon, wildcards.seed)
    own, method = run.method.settings, run.settings
    train = method.train
    return {
        **plan.budget(run),
        **released(plan, run, "finetuned"),
        "train_size": own["train_size"],
        "classes": _classes(run),
        "image": _image(run),
        "network": own["network"],
        "train": train if isinstance(train, str) else "adapters",
        "rank": getattr(train, "rank", None),
        "seed": [run.method.key, run.seed],
        "training": {
            "learning_rate": method.learning_rate,
            "ema": method.ema,
            "noise_multiplicity": method.noise_multiplicity,
            "augmentation_multiplicity": method.augmentation_multiplicity,
            "augmentation": method.augmentation,
            "label_dropout": own["label_dropout"],
            "precision": method.precision,
        },
        "operation": {
            "physical_batch": method.physical_batch,
            "checkpoint_every": method.checkpoint_every,
        },
    }


def _sample(plan: Plan, wildcards) -> dict:
    run = plan.run(wildcards.dataset, wildcards.method, wildcards.epsilon, wildcards.seed)
    generator = plan.configuration.generators[run.settings.model]
    used = {"kind", "sampling", "sampling_steps", "guidance", "precision", "image"}
    settings = generator.model_dump(include=used)
    if generator.kind == "diffusers":
        # Whatever the start knew, the trained model knows the sensitive classes.
        settings |= {"conditions": "class", "batch_size": generator.batch_size}
    return {
        "generator": settings,
        "classes": _classes(run),
        "samples_per_class": plan.trainings[run.method.label].samples_per_class,
        "fold": 0,
        "degree": {},
        "block_size": generator.block_size,
        "identity": [run.identity, "sample"],
    }


TRAINING_STEPS = {
    "query_classes": _query_classes,
    "select_classes": _select_classes,
    "release_central_images": _release_central_images,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "sample": _sample,
}
