"""Every mistake in a configuration is found before a job, in one message that helps."""

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from workflow_scripts.configuration import ConfigurationProblem, load_configuration, read_yaml
from workflow_scripts.plan import Plan
from workflow_scripts.proportions import divide

ROOT = Path(__file__).parents[2]
CATALOGUE = ("datasets", "generators", "encoders", "methods", "evaluation")


@pytest.fixture
def catalogue(tmp_path):
    """The shipped catalogue, to be edited: file → content."""
    return {name: yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in CATALOGUE}


def plan(tmp_path, catalogue, **experiment) -> Plan:
    for name, content in catalogue.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    whole = {**yaml.safe_load((ROOT / "config/config.yaml").read_text()), **experiment}
    return Plan(load_configuration(tmp_path, whole, "my.yaml"), tmp_path)


def message(tmp_path, catalogue, **experiment) -> str:
    with pytest.raises(ConfigurationProblem) as problem:
        raise ConfigurationProblem("\n".join(plan(tmp_path, catalogue, **experiment).absent()))
    return str(problem.value)


@pytest.mark.parametrize(
    ("experiment", "parts"),
    [
        ({"epsilon": 3}, ["my.yaml", "epsilon", "allowed: experiment", "did you mean epsilons?"]),
        ({"epsilons": [0]}, ["my.yaml, epsilons.0", "found 0", "greater than 0"]),
        ({"epsilons": [-1]}, ["my.yaml, epsilons.0", "found -1", "greater than 0"]),
        ({"epsilons": ["1"]}, ["my.yaml, epsilons.0", "found '1'", "a valid number"]),
        ({"epsilons": [float("nan")]}, ["my.yaml, epsilons.0", "nan"]),
        ({"epsilons": [float("inf")]}, ["my.yaml, epsilons.0", "inf"]),
        ({"epsilons": []}, ["my.yaml, epsilons", "found []", "at least one"]),
        ({"epsilons": [1, 1.0000001]}, ["my.yaml", "epsilons", "print alike"]),
        ({"epsilons": 1}, ["my.yaml, epsilons", "found 1", "a list"]),
        ({"delta": 0}, ["my.yaml, delta", "found 0", "greater than or equal to 0.000000000001"]),
        ({"delta": 1}, ["my.yaml, delta", "found 1", "less than 1"]),
        ({"delta": -1e-5}, ["my.yaml, delta", "greater than"]),
        ({"epsilons": [1.9999999]}, ["my.yaml", "1.9999999", "at most 6 digits"]),
        (
            {"overrides": {"sim-pe": {"encoder": "vgg"}}},
            ["my.yaml, overrides.sim-pe.encoder", "'vgg'", "pixels"],
        ),
        (
            {"overrides": {"sim-pe": {"class_names": {"0": "日"}}}},
            ["my.yaml, overrides.sim-pe.class_names", "fonts can draw"],
        ),
        ({"seeds": [0, 0]}, ["my.yaml", "seeds", "twice"]),
        ({"seeds": [-1]}, ["my.yaml, seeds.0", "found -1"]),
        ({"seeds": [True]}, ["my.yaml, seeds.0", "found True"]),
        ({"noise_source": "none"}, ["my.yaml, noise_source", "found 'none'", "'os' or 'seeded'"]),
        ({"methods": ["sim-pee"]}, ["my.yaml, methods", "found 'sim-pee'", "sim-pe"]),
        ({"datasets": ["svhn"]}, ["my.yaml, datasets", "found 'svhn'", "digits"]),
        ({"datasets": ["glyphs"]}, ["my.yaml, datasets", "found 'glyphs'", "digits"]),
        ({"classifiers": ["svm"]}, ["my.yaml, classifiers", "found 'svm'", "logistic"]),
        ({"fidelity_encoders": ["vgg"]}, ["my.yaml, fidelity_encoders", "found 'vgg'", "pixels"]),
        (
            {"overrides": {"sim-pe": {"samples": [100, 100]}}},
            ["my.yaml, overrides.sim-pe.samples", "found 2 entries", "6 entries, for t = 0 … T"],
        ),
        (
            {"overrides": {"sim-pe": {"neighbours": 101}}},
            ["my.yaml, overrides.sim-pe.neighbours", "found 101", "at most 100"],
        ),
        (
            {"overrides": {"sim-pe": {"class_fractions": "noised"}}},
            ["sim-pe", "class_count_noise: goes with class_fractions: noised"],
        ),
        (
            {
                "overrides": {
                    "sim-pe": {
                        "class_fractions": "noised",
                        "class_count_noise": 20,
                        "histogram": "joint",
                    }
                }
            },
            ["class_fractions", "joint histogram"],
        ),
        ({"overrides": {"sim-pe": {"metric": "l1"}}}, ["overrides.sim-pe.metric", "'l1'", "'l2'"]),
        (
            {"overrides": {"sim-pe": {"initial_fold": 2}}},
            ["sim-pe.initial_variation.font", "missing; one number"],
        ),
        (
            {"overrides": {"sim-pe": {"initial_variation": {"font": 1}}}},
            ["initial_variation", "while initial_fold is 0"],
        ),
        (
            {"overrides": {"sim-pe": {"phases": [{"generator": "text", "iterations": 1}]}}},
            ["phases", "either phases, or generator, iterations and variation"],
        ),
        ({"keep_populations": "some"}, ["my.yaml, keep_populations", "'all' or 'none'"]),
        ({"keep_populations": {"every": 0}}, ["my.yaml, keep_populations.every", "found 0"]),
        ({"experiment": "a/b"}, ["my.yaml, experiment", "found 'a/b'"]),
        ({"overrides": {"pee": {}}}, ["my.yaml, overrides", "found 'pee'", "digits/sim-pe"]),
        (
            {"overrides": {"sim-pe": {"treshold": 2}}},
            ["methods.yaml, sim-pe", "unknown key 'treshold'", "did you mean threshold?"],
        ),
        (
            {"overrides": {"sim-pe": {"samples": -5}}},
            ["my.yaml, overrides.sim-pe.samples", "found -5"],
        ),
        (
            {"overrides": {"digits/sim-pe": {"threshold": -1}}},
            ["my.yaml, overrides.digits/sim-pe.threshold", "found -1"],
        ),
        (
            {"overrides": {"sim-pe": {"iterations": 7}}},
            ["sim-pe.variation.font", "found 5 entries", "7 entries, one per iteration"],
        ),
    ],
)
def test_a_wrong_experiment_is_explained(tmp_path, catalogue, experiment, parts):
    found = message(tmp_path, catalogue, **experiment)
    for part in parts:
        assert part in found, found


@pytest.mark.parametrize(
    ("file", "path", "value", "parts"),
    [
        ("methods", ["sim-pe", "family"], "pee", ["sim-pe.family", "'pee'", "'random', 'pe'"]),
        ("methods", ["sim-pe", "generator"], "gan", ["sim-pe.generator", "'gan'", "text"]),
        ("methods", ["sim-pe", "encoder"], "vgg", ["sim-pe.encoder", "'vgg'", "pixels"]),
        ("methods", ["sim-pe", "selection"], "best", ["sim-pe.selection", "'sample' or 'rank'"]),
        ("methods", ["sim-pe", "threshold"], {"sigma": 2}, ["sim-pe.threshold", "sigmas"]),
        ("methods", ["sim-pe", "iterations"], 0, ["sim-pe.iterations", "found 0"]),
        ("methods", ["sim-pe", "samples"], 9, ["sim-pe.samples", "at least 10"]),
        ("methods", ["sim-pe", "samples"], "many", ["sim-pe.samples", "found 'many'"]),
        ("methods", ["sim-pe"], "text", ["methods.yaml, sim-pe", "a mapping of settings"]),
        ("methods", ["sim-pe", "extends"], "nobody", ["sim-pe.extends", "'nobody'"]),
        ("methods", ["sim-pe", "extends"], "sim-pe", ["sim-pe.extends", "circle"]),
        (
            "methods",
            ["sim-pe", "variation", "size"],
            [1, 2],
            ["sim-pe.variation.size", "found 2 entries", "5 entries"],
        ),
        ("methods", ["sim-pe", "variation", "size"], 1.5, ["variation.size", "whole numbers"]),
        ("methods", ["sim-pe", "variation", "font"], 1.5, ["variation.font", "at most 1"]),
        ("methods", ["sim-pe", "variation", "strength"], 1, ["sim-pe.variation", "'strength'"]),
        ("methods", ["pe", "variation", "strength"], 0, ["variation.strength", "above 0"]),
        ("methods", ["pe", "variation"], {}, ["pe.variation.strength", "missing"]),
        (
            "methods",
            ["sim-pe", "class_names"],
            {"ten": "1"},
            ["sim-pe.class_names", "'ten'", "0, 1, 2"],
        ),
        ("methods", ["pe", "class_names"], {"0": "ß"}, ["pe.class_names", "'ß'", "A, B, C"]),
        (
            "methods",
            ["sim-pe", "class_fractions"],
            {"0": 0.5, "1": 0.5},
            ["sim-pe.class_fractions.2", "missing"],
        ),
        (
            "methods",
            ["sim-pe", "class_fractions"],
            {**dict.fromkeys("0123456789", 1.0), "7": 1e-9},
            ["sim-pe.class_fractions.7", "rounds to no image"],
        ),
        ("generators", ["text", "fonts"], "/no/such", ["text.fonts", "/no/such"]),
        ("generators", ["text", "size"], [30, 20], ["generators.yaml, text", "smallest (30)"]),
        ("generators", ["text", "shift"], 16, ["generators.yaml, text", "shift", "less than half"]),
        ("generators", ["glyph-diffusion", "channels"], [12], ["channels", "multiples of 8"]),
        ("generators", ["text", "kind"], "gan", ["text.kind", "'text', 'avatar', 'pool'"]),
        ("generators", ["glyph-diffusion", "dataset"], "x", ["glyph-diffusion.dataset", "glyphs"]),
        (
            "generators",
            ["glyph-diffusion", "sampling_steps"],
            2000,
            ["sampling_steps (2000) exceeds timesteps (1000)"],
        ),
        ("encoders", ["glyph-cnn", "width"], 0, ["encoders.yaml, glyph-cnn.width", "found 0"]),
        ("datasets", ["sensitive", "digits", "classes"], ["0", "0"], ["classes", "twice"]),
        ("datasets", ["sensitive", "digits", "classes"], ["0"], ["classes", "at least 2"]),
        ("datasets", ["sensitive", "digits", "classes"], ["a/b", "c"], ["classes", "'a/b'"]),
        ("generators", ["glyph-diffusion", "channels"], [8] * 5, ["channels", "halve images"]),
        (
            "datasets",
            ["sensitive", "digits", "train_size"],
            1,
            ["sensitive.digits.train_size", "found 1"],
        ),
        (
            "datasets",
            ["sensitive", "digits", "split", "test_fraction"],
            1,
            ["split.test_fraction", "found 1", "less than 1"],
        ),
        ("datasets", ["sensitive", "digits", "split"], None, ["sensitive.digits", "give split"]),
        (
            "datasets",
            ["sensitive", "digits", "source"],
            {"kind": "npz", "path": "mine.npz"},
            ["digits.source.path", "'mine.npz'", "no such file"],
        ),
        ("datasets", ["sensitive", "digits", "image", "channels"], 2, ["image.channels", "1 or 3"]),
        (
            "datasets",
            ["public", "glyphs", "source", "generator"],
            "glyph-diffusion",
            ["glyphs.source.generator", "'glyph-diffusion'", "glyph-text"],
        ),
        ("evaluation", ["classifiers", "cnn", "epochs"], 0, ["classifiers.cnn.epochs", "found 0"]),
    ],
)
def test_a_wrong_catalogue_is_explained(tmp_path, catalogue, file, path, value, parts):
    entry = catalogue[file]
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    found = message(tmp_path, catalogue)
    for part in [f"{file}.yaml", *parts]:
        assert part in found, found


def test_a_simulator_of_another_image_size_is_refused(tmp_path, catalogue):
    catalogue["generators"]["text"]["image_size"] = 16
    found = message(tmp_path, catalogue)
    assert "methods.yaml, random.generator: found 'text'" in found
    assert "16×16×1" in found and "8×8×1" in found


def test_an_encoder_of_another_image_shape_is_refused(tmp_path, catalogue):
    catalogue["datasets"]["public"]["glyphs"]["image"]["size"] = 16
    catalogue["generators"]["glyph-text"]["image_size"] = 16
    found = message(tmp_path, catalogue, methods=["sim-pe"])
    assert "my.yaml, fidelity_encoders: found 'glyph-cnn'" in found and "16×16×1" in found


def test_a_missing_key_and_a_missing_file_are_named(tmp_path, catalogue):
    del catalogue["methods"]["sim-pe"]["encoder"]
    assert "methods.yaml, sim-pe.encoder: missing" in message(tmp_path, catalogue)
    (tmp_path / "methods.yaml").unlink()
    with pytest.raises(ConfigurationProblem, match=r"methods\.yaml: no such file"):
        load_configuration(tmp_path, {}, "my.yaml")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: [1, 2\nb: 3\n", ["line 2", "not valid YAML"]),
        ("a: 1\na: 2\n", ["line 2", "'a' stands there twice"]),
        ("a:\n  b: 1\n  b: 2\n", ["line 3", "'b' stands there twice"]),
        ("- 1\n- 2\n", ["found list", "keys and values"]),
        ("", ["found NoneType"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["not valid YAML"]),
    ],
)
def test_malformed_yaml_is_located(tmp_path, text, parts):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationProblem) as problem:
        read_yaml(path)
    for part in ["broken.yaml", *parts]:
        assert part in str(problem.value)


def test_a_variant_extends_another_and_overrides_go_on_top(tmp_path, catalogue):
    catalogue["methods"]["sim-pe-h2"] = {"extends": "sim-pe", "threshold": 2}
    overrides = {"sim-pe-h2": {"samples": 50}, "digits/sim-pe-h2": {"samples": 70}}
    (run, *_) = plan(tmp_path, catalogue, methods=["sim-pe-h2"], overrides=overrides).runs
    assert run.settings.threshold == 2 and run.settings.samples == 70
    assert run.settings.iterations == catalogue["methods"]["sim-pe"]["iterations"]


def keys_after(tmp_path, catalogue, **experiment):
    return {
        run.method.name: run.method.label for run in plan(tmp_path, catalogue, **experiment).runs
    }


@pytest.mark.parametrize(
    ("file", "path", "value", "changed"),
    [
        ("methods", ["sim-pe", "threshold"], 3, {"sim-pe"}),
        ("methods", ["sim-pe", "selection"], "rank", {"sim-pe"}),
        ("methods", ["sim-pe", "neighbours"], 2, {"sim-pe"}),
        ("methods", ["sim-pe", "metric"], "cosine", {"sim-pe"}),
        ("methods", ["sim-pe", "fold"], 2, {"sim-pe"}),
        ("methods", ["sim-pe", "lookahead"], 0, {"sim-pe"}),
        ("generators", ["text", "rotation"], 31, {"sim-pe", "random"}),
        # What the public data are rendered with reaches the diffusion model trained on them.
        ("generators", ["glyph-text", "rotation"], 21, {"pe"}),
        ("encoders", ["pixels"], {"kind": "pixels"}, set()),
        (
            "datasets",
            ["sensitive", "digits", "version"],
            2,
            {"sim-pe", "pe", "real"},
        ),
        ("datasets", ["public", "glyphs", "source", "samples"], 6300, {"pe"}),
        ("evaluation", ["classifiers", "cnn", "epochs"], 3, set()),
    ],
)
def test_a_setting_changes_the_keys_of_what_depends_on_it(
    tmp_path, catalogue, file, path, value, changed
):
    before = keys_after(tmp_path, catalogue)
    edited = copy.deepcopy(catalogue)
    entry = edited[file]
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    after = keys_after(tmp_path, edited)
    assert {name for name in before if before[name] != after[name]} == changed


def test_epsilon_seeds_and_other_methods_are_in_no_key(tmp_path, catalogue):
    before = keys_after(tmp_path, catalogue)
    after = keys_after(tmp_path, catalogue, epsilons=[0.5], seeds=[7], classifiers=["cnn"])
    assert before == after
    assert keys_after(tmp_path, catalogue, noise_source="seeded")["sim-pe"] != before["sim-pe"]
    assert keys_after(tmp_path, catalogue, delta=1e-5)["sim-pe"] != before["sim-pe"]


PHASES = [
    {"generator": "text", "iterations": 2, "variation": {
        "font": [0.5, 0.2], "size": 2, "rotation": 5, "stroke": 0, "shift": 1}},
    {"generator": "glyph-diffusion", "iterations": 1, "variation": {"strength": 0.4}},
]  # fmt: skip


def phased(catalogue, phases, **options):
    method = {**catalogue["methods"]["sim-pe"], "phases": phases, **options}
    for key in ("generator", "iterations", "variation"):
        del method[key]
    catalogue["methods"]["phased"] = method
    return {"methods": ["phased"]}


def test_a_schedule_of_generators_is_indexed_by_phase(tmp_path, catalogue):
    found = plan(tmp_path, catalogue, **phased(catalogue, PHASES))
    (run, *_) = found.runs
    assert run.iterations == 3
    assert [run.settings.degree(t).get("font") for t in (1, 2, 3)] == [0.5, 0.2, None]
    assert run.settings.degree(3) == {"strength": 0.4}
    generators = found.methods[run.method.label].generators
    assert [g.name for g in generators] == ["text", "text", "text", "glyph-diffusion"]


def test_the_order_of_phases_is_part_of_the_key(tmp_path, catalogue):
    third = {"generator": "glyph-diffusion", "iterations": 1, "variation": {"strength": 0.5}}
    one = plan(tmp_path, catalogue, **phased(catalogue, [*PHASES, third]))
    two = plan(tmp_path, catalogue, **phased(catalogue, [PHASES[0], third, PHASES[1]]))
    assert one.runs[0].method.key != two.runs[0].method.key


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda p: p[0]["variation"].update(font=[1, 1, 1]), ["phases.0.variation.font", "2 ent"]),
        (lambda p: p[1].update(generator="text"), ["phases.1.variation", "'strength'"]),
        (lambda p: p.reverse(), ["phases.1.generator", "'text'", "cannot continue"]),
        (lambda p: p[1].update(generator="gan"), ["phases.1.generator", "'gan'"]),
        (lambda p: p[1].pop("iterations"), ["phases.1.iterations", "missing"]),
    ],
)
def test_a_schedule_of_generators_that_cannot_work_is_explained(tmp_path, catalogue, change, parts):
    phases = copy.deepcopy(PHASES)
    change(phases)
    found = message(tmp_path, catalogue, **phased(catalogue, phases))
    for part in parts:
        assert part in found, found


def test_files_that_are_absent_are_named_and_do_not_hide_the_plan(tmp_path, catalogue):
    catalogue["generators"]["text"]["fonts"] = "no/fonts"
    found = plan(tmp_path, catalogue, methods=["sim-pe"], datasets=["digits"])
    (line,) = found.absent()
    assert "generators.yaml, text.fonts: found 'no/fonts'" in line and found.runs


def test_how_a_remote_model_is_reached_is_in_no_key(tmp_path, catalogue):
    catalogue["generators"]["remote"] = {
        "kind": "api",
        "base_url": "https://example.org/v1",
        "model": "m",
        "image": {"size": 32, "channels": 3},
        "prompt": "a {class}",
    }
    catalogue["methods"]["remote"] = {"family": "random", "generator": "remote", "samples": 10}
    before = keys_after(tmp_path, catalogue, methods=["remote"])
    catalogue["generators"]["remote"]["concurrency"] = 3
    assert keys_after(tmp_path, catalogue, methods=["remote"]) == before
    catalogue["generators"]["remote"]["model"] = "other"
    assert keys_after(tmp_path, catalogue, methods=["remote"]) != before


def test_private_data_under_a_public_name_are_refused(tmp_path, catalogue):
    shape = {"image": {"size": 8, "channels": 1}, "classes": [str(i) for i in range(10)]}
    catalogue["datasets"]["public"]["leak"] = {"source": {"kind": "sklearn-digits"}, **shape}
    catalogue["generators"]["leak"] = {"kind": "pool", "dataset": "leak", "encoder": "pixels"}
    catalogue["methods"]["leak"] = {"family": "random", "generator": "leak", "samples": 10}
    found = message(tmp_path, catalogue, methods=["leak"])
    assert "methods.yaml, leak: uses the public data set 'leak'" in found and "'digits'" in found
    catalogue["encoders"]["leak"] = {**catalogue["encoders"]["glyph-cnn"], "dataset": "leak"}
    found = message(tmp_path, catalogue, fidelity_encoders=["leak"])
    assert "fidelity_encoders: uses the public data set 'leak'" in found


@pytest.mark.parametrize("fonts", ["results/sensitive/fonts", ".", "results", "/"])
def test_files_of_the_workflow_itself_are_no_sources(tmp_path, catalogue, fonts):
    catalogue["generators"]["text"]["fonts"] = fonts
    assert "outside of the workflow's own results" in message(tmp_path, catalogue)


def test_a_path_that_hides_where_it_leads_is_refused(tmp_path, catalogue):
    catalogue["generators"]["text"]["fonts"] = "../fonts"
    found = message(tmp_path, catalogue)
    assert "generators.yaml, text.fonts: found '../fonts'; allowed: a path without '..'" in found


def test_a_private_file_behind_a_url_is_private(tmp_path, catalogue):
    shape = {"image": {"size": 8, "channels": 1}, "classes": [str(i) for i in range(10)]}
    url = {"url": f"file://{tmp_path}/private.npz", "hash": f"sha256:{64 * '0'}"}
    digits = catalogue["datasets"]["sensitive"]["digits"]
    digits["source"] = {"kind": "npz", "path": f"{tmp_path}/private.npz"}
    catalogue["datasets"]["public"]["leak"] = {"source": {"kind": "npz", "path": url}, **shape}
    catalogue["generators"]["leak"] = {"kind": "pool", "dataset": "leak", "encoder": "pixels"}
    catalogue["methods"]["leak"] = {"family": "random", "generator": "leak", "samples": 10}
    found = message(tmp_path, catalogue, methods=["leak"])
    assert "uses the public data set 'leak', whose files are those of the sensitive" in found
    url["url"] = "file:///proc/self/cwd/results/sensitive/journal/x.npz"
    assert "outside of the workflow's own results" in message(tmp_path, catalogue, methods=["leak"])


def test_two_downloads_of_one_name_are_refused(tmp_path, catalogue):
    hashes = ["md5:" + digit * 32 for digit in "ab"]
    urls = [f"https://example.org/{part}/data.npz" for part in ("train", "test")]
    path, test = ({"url": u, "hash": h} for u, h in zip(urls, hashes, strict=True))
    digits = catalogue["datasets"]["sensitive"]["digits"]
    digits.update(source={"kind": "npz", "path": path, "test_path": test}, split=None)
    assert "two downloads are called 'data.npz'" in message(tmp_path, catalogue)


def test_where_weights_come_from_is_in_no_key(tmp_path, catalogue):
    def key(**place):
        weights = {"sha256": "0" * 64, **place}
        catalogue["encoders"]["inception"]["weights"] = weights
        found = plan(tmp_path, catalogue, fidelity_encoders=["inception"])
        return found.fidelity["inception"].key

    assert key(url="https://example.org/a.pt") == key(path="a.pt")


def test_every_shipped_experiment_is_valid():
    for path in [ROOT / "config/config.yaml", *(ROOT / "config/experiments").glob("*.yaml")]:
        configuration = load_configuration(ROOT / "config", read_yaml(path), str(path))
        assert Plan(configuration, ROOT).runs


def test_degrees_count_from_the_first_iteration(tmp_path, catalogue):
    found = plan(tmp_path, catalogue, methods=["sim-pe"])
    variation = catalogue["methods"]["sim-pe"]["variation"]
    (run, *_) = found.runs
    for t in range(1, run.iterations + 1):
        assert run.settings.degree(t)["size"] == variation["size"][t - 1]


def test_division_by_largest_remainders_is_exact():
    assert divide(10, [1.0] * 3) == (4, 3, 3)
    assert divide(100, [0.5, 0.25, 0.25]) == (50, 25, 25)
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights = rng.random(rng.integers(1, 12)).tolist()
        counts = divide(1000, weights)
        assert sum(counts) == 1000
        shares = 1000 * np.array(weights) / sum(weights)
        assert np.all(np.abs(counts - shares) < 1)
