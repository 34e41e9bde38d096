"""What a training with DP-SGD starts from: random weights, public data, or a query's answer."""

from dataclasses import asdict

from workflow_scripts.configuration import ConfigurationProblem
from workflow_scripts.configuration.datasets import SensitiveDataset
from workflow_scripts.configuration.encoders import CnnEncoder, TorchScriptEncoder
from workflow_scripts.configuration.generators import (
    DiffusersGenerator,
    EdmGenerator,
    TrainedDiffusion,
)
from workflow_scripts.configuration.methods import CentralImages, DpSgdMethod, SemanticQuery
from workflow_scripts.configuration.model import ImageShape
from workflow_scripts.plan.catalogue import Catalogue, unknown
from workflow_scripts.plan.runs import Query, TrainingStages
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.events import Event, SampledGaussianEvent
from workflow_scripts.semantic.central_images import sensitivity_of
from workflow_scripts.semantic.selection import classes_per_label
from workflow_scripts.stages import VERSIONS, Stage

# What a training does not depend on: its start is a parent's, the rest is how the model is used.
NOT_TRAINED = {"model", "start", "samples", "class_fractions"}
# Models that can be a start as they are, beside those of kind `edm`.
PRETRAINED = (TrainedDiffusion, DiffusersGenerator)
# The mechanism → the name of what it releases, in paths.
NAMES = {"query_classes": "semantic-query", "release_central_images": "central-images"}


def training_stages(
    catalogue: Catalogue,
    name: str,
    settings: DpSgdMethod,
    dataset: str,
    samples_per_class: tuple[int, ...],
    noise_source: str,
    delta: float | str,
) -> TrainingStages:
    """The stages up to the trained model, with all that can be checked beforehand.

    Parameters
    ----------
    catalogue : Catalogue
    name : str
        Of the method.
    settings : DpSgdMethod
    dataset : str
        Name of the sensitive data set.
    samples_per_class : tuple of int
        That the trained model will be asked for.
    noise_source : str
    delta : float or str
        Or the rule that gives it.
    """
    where = catalogue.where("methods", name)
    start, query = _start(catalogue, settings, dataset, noise_source, where)
    model = catalogue.generator(settings.model, where)
    is_edm = isinstance(model, EdmGenerator)
    own = settings.model_dump(exclude=NOT_TRAINED | settings.operational)
    own |= {
        "version": VERSIONS["dp_sgd"],
        # A start of another kind brings its network, and knows no label dropout.
        "network": model.network.model_dump() if is_edm else None,
        "label_dropout": model.training.label_dropout if is_edm else 0.0,
        "delta": delta,
        "train_size": catalogue.sensitive(dataset).train_size,
        "noise_source": noise_source,
    }
    parents = (catalogue.sensitive_stage(dataset), *([start] if start else []))
    return TrainingStages(samples_per_class, Stage(name, own, parents), start, query)


def _start(
    catalogue: Catalogue, settings: DpSgdMethod, dataset: str, noise_source: str, where: str
) -> tuple[Stage | None, Query | None]:
    """The model that the training starts from, and what the sensitive data are asked for it."""
    declared = catalogue.sensitive(dataset)
    if settings.start == "pretrained":
        _model(catalogue, settings.model, (EdmGenerator, *PRETRAINED), where)
        stage = catalogue.generator_stage(settings.model, f"{where}.model")
        _check_image(catalogue.image_of(stage), settings.model, declared, where)
        return stage, None
    model = _model(catalogue, settings.model, (EdmGenerator,), where)
    catalogue.check_network(
        model.network, declared.image, catalogue.where("generators", settings.model)
    )
    match settings.start:
        case "random":
            return None, None
        case SemanticQuery() as start:
            public = catalogue.public_stage(model.dataset, f"{where}.model")
            image = catalogue.public(model.dataset, where).image
            _check_image(image, settings.model, declared, where)
            query = _semantic_query(catalogue, start, model, dataset, noise_source, where)
            own = {"training": model.training, "selection_ratio": start.selection_ratio}
            parents: tuple[Stage, ...] = (query.stage, public)
        case CentralImages() as start:
            if (start.training.label_dropout > 0) != (model.training.label_dropout > 0):
                raise ConfigurationProblem(
                    f"{where}.start.training.label_dropout: found {start.training.label_dropout}, "
                    f"{settings.model} has {model.training.label_dropout}; allowed: 0 for both or "
                    "for none, as one network has a class that stands for none or has not"
                )
            query = _central_images(catalogue, start, dataset, noise_source)
            own = {"training": start.training, "copies": start.copies}
            parents = (query.stage,)
    own |= {
        "version": VERSIONS["pretraining"],
        "network": model.network,
        "seed": model.seed,
    }
    return catalogue.stage("pretraining", settings.model, own, parents), query


def _model(
    catalogue: Catalogue, name: str, kinds: tuple[type, ...], where: str
) -> EdmGenerator | TrainedDiffusion | DiffusersGenerator:
    model = catalogue.generator(name, f"{where}.model")
    if not isinstance(model, kinds):
        known = catalogue.configuration.generators.items()
        raise unknown(f"{where}.model", name, [n for n, other in known if isinstance(other, kinds)])
    return model


def _check_image(image: ImageShape, model: str, declared: SensitiveDataset, where: str) -> None:
    if image != declared.image:
        raise ConfigurationProblem(
            f"{where}.model: found {model!r}, a model of images of {image}; allowed: one of "
            f"{declared.image}, as the sensitive data set has"
        )


def _semantic_query(
    catalogue: Catalogue,
    start: SemanticQuery,
    model: EdmGenerator,
    dataset: str,
    noise_source: str,
    where: str,
) -> Query:
    public = catalogue.public(model.dataset, f"{where}.model")
    sensitive = catalogue.sensitive(dataset)
    place = f"{where}.start"
    classifier = catalogue.encoder(start.classifier, f"{place}.classifier")
    if not isinstance(classifier, (CnnEncoder, TorchScriptEncoder)):
        raise ConfigurationProblem(
            f"{place}.classifier: found {start.classifier!r} of kind {classifier.kind}; allowed: "
            "kinds cnn and torchscript, which can give a number for every public class"
        )
    if isinstance(classifier, CnnEncoder) and classifier.dataset != model.dataset:
        raise ConfigurationProblem(
            f"{place}.classifier: found {start.classifier!r}, trained on {classifier.dataset!r}; "
            f"allowed: one that was trained on {model.dataset!r}, the model's public data"
        )
    if start.votes >= len(public.classes):
        raise ConfigurationProblem(
            f"{place}.votes: found {start.votes}; allowed: fewer than the {len(public.classes)} "
            f"classes of {model.dataset!r}"
        )
    each = classes_per_label(start.selection_ratio, len(public.classes), len(sensitive.classes))
    if each * len(sensitive.classes) > len(public.classes):
        raise ConfigurationProblem(
            f"{place}.selection_ratio: found {start.selection_ratio}; {model.dataset!r} has "
            f"{len(public.classes)} classes, too few for {len(sensitive.classes)} sensitive ones"
        )
    encoder = catalogue.encoder_stage(start.classifier, f"{place}.classifier")
    own = {"votes": start.votes, "public_classes": public.classes, "image": public.image}
    event = DiscreteGaussianMechanism.of(start.noise_multiplier, start.votes).event
    return _query(catalogue, "query_classes", own, event, noise_source, dataset, encoder)


def _central_images(
    catalogue: Catalogue, start: CentralImages, dataset: str, noise_source: str
) -> Query:
    image = catalogue.sensitive(dataset).image
    event = SampledGaussianEvent(
        start.noise_multiplier,
        # Released at half the size, as in DP-FETA.
        sensitivity_of((image.size // 2, image.size // 2, image.channels)),
        start.sampling_probability,
        start.images_per_class,
    )
    own = {"centre": start.centre}
    return _query(catalogue, "release_central_images", own, event, noise_source, dataset)


def _query(
    catalogue: Catalogue,
    mechanism: str,
    own: dict,
    event: Event,
    noise_source: str,
    dataset: str,
    *encoder: Stage,
) -> Query:
    settings = {
        **own,
        "version": VERSIONS[mechanism],
        "mechanism": mechanism,
        "event": asdict(event),
        "noise_source": noise_source,
    }
    parents = (catalogue.sensitive_stage(dataset), *encoder)
    return Query(catalogue.stage("query", NAMES[mechanism], settings, parents), event)
